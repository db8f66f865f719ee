"""One load through several gateways in turn; see the README one folder up."""
