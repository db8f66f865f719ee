"""Model ids as policies compare them: one normalization, and patterns over it.

The normalization is for matching only; what leaves is what the caller wrote:

- One `[1m]` suffix is taken off. Claude Code uses it in its own settings, and a client
  that lets it slip onto the wire means the same model.
- What is left must look like a model id: ASCII letters, digits and `. _ : @ / -`. Anything
  else (a space, a NUL, a letter from another alphabet) matches nothing, not even `*`.
- An id without a `*` also stands for its dated snapshots: `claude-haiku-4-5` allows
  `claude-haiku-4-5-20251001`.
"""

import fnmatch
import re
from dataclasses import dataclass

from tidegate.errors import PluginError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}")
_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:@/*-]{0,199}")
_DATE = re.compile(r"-[0-9]{8}")


def canonical(model: object) -> str | None:
    """Return what to match rules against, or None if no model id is written like this."""
    if type(model) is not str:
        return None
    plain = model.removesuffix("[1m]")
    return plain if _ID.fullmatch(plain) else None


def undated(model: str) -> str:
    """Return the id without the date of its snapshot, if it has one."""
    return model[:-9] if _DATE.fullmatch(model[-9:]) else model


@dataclass(frozen=True, slots=True)
class Pattern:
    """An exact id, or a glob in which `*` stands for any characters."""

    text: str
    glob: re.Pattern[str] | None = None
    """None: an exact id."""

    def allows(self, model: str) -> bool:
        """Whether the canonical id is this id, a dated snapshot of it, or fits the glob."""
        if self.glob is not None:
            return self.glob.fullmatch(model) is not None
        return self.text in (model, undated(model))

    def denies(self, model: str) -> bool:
        """Like `allows`, but wider, so that no other spelling of a model gets past a rule.

        Case does not count, and a denied snapshot takes its dateless alias with it, which
        may well resolve to that snapshot.
        """
        model = model.lower()
        if self.glob is not None:
            return self.glob.fullmatch(model) is not None
        text = self.text.lower()
        return text in (model, undated(model)) or undated(text) == model

    def rank(self, model: str) -> tuple[bool, bool, int, int]:
        """How specific the pattern is for a model that it allows; the greatest wins."""
        prefix = len(self.text.partition("*")[0])
        return self.text == model, self.glob is None, prefix, len(self.text)


def pattern(text: str, where: str, *, ignore_case: bool = False) -> Pattern:
    """Return the pattern that a configuration writes at `where`.

    Raises:
        PluginError: no model id can look like that.
    """
    if not _PATTERN.fullmatch(text):
        raise PluginError(f"{where}: {text[:80]!a} is not a model id or glob; {_advice(text)}")
    if "*" not in text:
        return Pattern(text)
    if ignore_case:
        text = text.lower()
    return Pattern(text, re.compile(fnmatch.translate(text)))


def _advice(text: str) -> str:
    if text.endswith("[1m]"):
        return "leave [1m] away, it is ignored when ids are compared"
    return "use letters, digits, `. _ : @ / -`, and `*` for any characters"


def shown(model: object) -> str:
    """Return an id as it may stand in an error message: short, ASCII, quoted if it is odd."""
    if type(model) is not str:
        return "(not a string)"
    if canonical(model) is not None:
        return model
    return ascii(model if len(model) <= 64 else model[:64] + "...")
