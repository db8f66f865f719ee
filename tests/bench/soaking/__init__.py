"""The soak: hours of traffic in minutes, with everything going wrong that may; see soak.py."""
