"""For authors of plugins: values to test with, and the contract as a check."""

from tidegate.testing.fakes import (
    Background,
    FakeClock,
    make_exchange,
    make_host,
    make_request,
    open_plugin,
)

__all__ = [
    "Background",
    "FakeClock",
    "make_exchange",
    "make_host",
    "make_request",
    "open_plugin",
]
