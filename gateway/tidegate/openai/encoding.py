"""JSON as bytes, also of what UTF-8 cannot say."""

import json
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def encoded(value: Any) -> bytes:
    """Return a value as JSON; half surrogate pairs and huge integers stay what they are."""
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        return json.dumps(value, separators=(",", ":")).encode()
