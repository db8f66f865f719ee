"""Model ids as policies compare them: one normalization, and patterns over it.

The normalization is for matching only; what leaves is what the caller wrote, but for aliases:

- One `[1m]` suffix is taken off. Claude Code uses it in its own settings, and a client
  that lets it slip onto the wire means the same model.
- What is left must look like a model id: ASCII letters, digits and `. _ : @ / -`. Anything
  else (a space, a NUL, a letter from another alphabet) matches nothing, not even `*`.
- An exact id also stands for its snapshots: `claude-haiku-4-5` allows
  `claude-haiku-4-5-20251001`, `claude-haiku-4-5@20251001` and `claude-haiku-4-5-latest`.
- Case counts where something is allowed, as it does for the API; it does not where
  something is denied.
- `family:haiku` is every version of a family: `claude-haiku-4-5`, `claude-3-5-haiku-latest`.
"""

import fnmatch
import re
from dataclasses import dataclass

from tidegate.errors import PluginError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,199}")
_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:@/*-]{0,199}")
_SNAPSHOT = re.compile(r"(?:[-@][0-9]{8}|-latest)\Z")
_FAMILY = re.compile(r"claude(?:-[0-9]{1,2}){0,2}-([a-z]+)(?:-[0-9]{1,2}){0,2}(?:-preview)?")
_FAMILY_PATTERN = re.compile(r"family:[a-z]+")
_WORDS = re.compile(r"[a-z]+")


def canonical(model: object) -> str | None:
    """Return what to match rules against, or None if no model id is written like this."""
    if type(model) is not str:
        return None
    plain = model.removesuffix("[1m]")
    return plain if _ID.fullmatch(plain) else None


def undated(model: str) -> str:
    """Return the id without the date of its snapshot, or `-latest`, if it has one."""
    return _SNAPSHOT.sub("", model)


def family(model: str) -> str:
    """Return the family of an id, such as `haiku`; empty if it is not written like one."""
    match = _FAMILY.fullmatch(undated(model))
    return "" if match is None else match[1]


@dataclass(frozen=True, slots=True)
class Pattern:
    """An exact id, a family, or a glob in which `*` stands for any characters."""

    text: str
    glob: re.Pattern[str] | None = None
    """None: an exact id, or a family."""
    family: str = ""

    def allows(self, model: str) -> bool:
        """Whether the canonical id is this id, a snapshot of it, of the family, or fits."""
        if self.family:
            return family(model) == self.family
        if self.glob is not None:
            return self.glob.fullmatch(model) is not None
        return self.text in (model, undated(model))

    def denies(self, model: str) -> bool:
        """Like `allows`, but wider, so that no other spelling of a model gets past a rule.

        Case does not count, and a denied snapshot takes its dateless alias and `-latest`
        with it, which may well resolve to that snapshot.
        """
        model = model.lower()
        if self.family:
            return self.family in _WORDS.findall(model)
        if self.glob is not None:
            return self.glob.fullmatch(model) is not None
        text = self.text.lower()
        moving = model.removesuffix("-latest")
        return text in (model, undated(model)) or undated(text) == moving

    def rank(self, model: str) -> tuple[bool, bool, int, int]:
        """How specific the pattern is for a model that it allows; the greatest wins."""
        prefix = len(self.text.partition("*")[0])
        exact = self.glob is None and not self.family
        return self.text == model, exact, prefix, len(self.text)


def pattern(text: str, where: str, *, ignore_case: bool = False) -> Pattern:
    """Return the pattern that a configuration writes at `where`.

    Raises:
        PluginError: no model id can look like that.
    """
    if _FAMILY_PATTERN.fullmatch(text):
        return Pattern(text, family=text.removeprefix("family:"))
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
