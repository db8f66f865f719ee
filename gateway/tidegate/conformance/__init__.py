"""Plays the contract of Claude Code and the SDKs against any gateway, and keeps score.

A scripted upstream on loopback stands behind the gateway, a client of ours in front: what
goes in is held against what comes out, byte for byte, both ways. `run.py` begins.
"""
