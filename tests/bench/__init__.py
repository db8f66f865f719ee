"""The project's own measurements; see README.md."""
