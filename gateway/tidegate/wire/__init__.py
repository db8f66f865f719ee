"""Knowledge of the wire: pure functions over bytes. No I/O, no asyncio, no logging."""
