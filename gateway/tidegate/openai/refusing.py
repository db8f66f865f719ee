"""What has no counterpart in Messages: refused by name, or, where a request is only read, kept."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tidegate.wire.body import BodyError, escape

Json = dict[str, Any]
LEAVE = "leave it away"
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Place:
    """A value of the request and where it stands. `lenient`: what is unknown is kept."""

    pointer: str = ""
    lenient: bool = False

    def at(self, token: str | int) -> "Place":
        """Return the place of what this holds under a key or an index."""
        return Place(f"{self.pointer}/{escape(str(token))}", self.lenient)

    def bad(self, what: str) -> BodyError:
        """Return the error of this value: its dotted name, and what is wrong with it."""
        return BodyError(f"{dotted(self.pointer)}: {what}", self.pointer)

    def unknown(self, fix: str = LEAVE) -> BodyError:
        """Return the error of a value that cannot be said in Messages."""
        return self.bad(f"cannot be converted to the Messages API; {fix}")

    def rest(
        self, holder: Json, known: Collection[str], fixes: dict[str, str] | None = None
    ) -> Json:
        """Return what an object holds beside the known keys, to be kept.

        Raises:
            BodyError: there is something, and this is no lenient reading.
        """
        rest = {k: v for k, v in holder.items() if k not in known and v is not None}
        for key in rest if not self.lenient else ():
            raise self.named(key).unknown((fixes or {}).get(key, LEAVE))
        return rest

    def named(self, key: str) -> "Place":
        """Return the place of a field that nobody knows: one that is no word may be content."""
        return self.at(key if _WORD.fullmatch(key) else "…")

    def merged(self, rest: Json, made: Json) -> Json:
        """Return both together.

        Raises:
            BodyError: what is kept would hide behind what was made.
        """
        for key in rest.keys() & made.keys():
            raise self.named(key).unknown()
        return {**rest, **made}


def dotted(pointer: str) -> str:
    """Return a JSON pointer as OpenAI's messages write it: `messages[0].content`."""
    found = ""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        found += f"[{name}]" if name.isdecimal() else f".{name}"
    return found.removeprefix(".") or "the body"


def typed(value: Any, kind: type, wanted: str, place: Place) -> Any:
    """Return the value if it is of that type.

    Raises:
        BodyError: it is not.
    """
    if type(value) is not kind:
        raise place.bad(f"must be {wanted}")
    return value
