"""Append-only segments on disk: written, read, recovered and verified."""
