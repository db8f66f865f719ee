"""Other gateways beside tidegate; see peers.py."""
