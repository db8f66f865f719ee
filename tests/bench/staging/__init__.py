"""Where the time of a request goes inside the worker; see stages.py."""
