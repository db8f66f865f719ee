"""The observer where nobody wants the signal."""

from tidegate.record import Record


class Off:
    """Takes no notice."""

    async def on_record(self, record: Record) -> None:
        """Take no notice."""

    async def flush(self) -> bytes:
        """Return that there is nothing to keep."""
        return b""
