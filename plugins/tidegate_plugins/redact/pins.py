"""Pins: which rule set each session began with, so that a change of rules rolls with conversations.

The name of the rule set is kept in memory and in a small file per session, which all
workers of one state directory share: whoever sees a session first decides for all. The
rule sets themselves are kept by the process, the last few of them: after a restart only
the current one is there.
"""

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from tidegate_plugins.redact.scan import Scanner
from tidegate_plugins.redact.verdict import Rulebook

MOST_RULE_SETS = 4
"""That one process keeps. Those with the same patterns share an engine."""
DIRECTORY = "redact-pins"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All that the redaction of a string depends on, and what is done about it."""

    name: str
    scanner: Scanner
    book: Rulebook


_loaded: OrderedDict[tuple[Path, str], RuleSet] = OrderedDict()
"""By state directory and name, the oldest first. A reload opens the next configuration in
the same process, so this outlives the plugin that put it there."""


class Pins:
    """The sessions that one opened configuration knows. `find` may be called in any thread."""

    def __init__(self, state_dir: Path, current: RuleSet, size: int) -> None:
        self._current = current
        self._state_dir = state_dir
        self._directory = state_dir / DIRECTORY
        self._size = size
        self._names: OrderedDict[str, str] = OrderedDict()
        self._written = 0
        self._lock = threading.Lock()
        _keep(state_dir, current)
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._prune()

    def find(self, session: str) -> RuleSet:
        """Return the rule set of a session: that of its first request, if it is still there."""
        if not session:
            return self._current
        digest = hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        with self._lock:
            name = self._names.pop(digest, "") or self._shared(digest)
            self._names[digest] = name
            if len(self._names) > self._size:
                self._names.popitem(last=False)
        return _loaded.get((self._state_dir, name), self._current)

    def _shared(self, digest: str) -> str:
        """Return what the workers have agreed on; where that cannot be kept, the current one."""
        path = self._directory / digest
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError):
            pass
        fresh = path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            fresh.write_text(self._current.name)
            try:
                os.link(fresh, path)  # whoever is first decides
            finally:
                fresh.unlink()
            self._written += 1
            if self._written % max(self._size // 4, 1) == 0:
                self._prune()
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return path.read_text()
        return self._current.name

    def _prune(self) -> None:
        """Forget the sessions that began first."""
        known = sorted(os.scandir(self._directory), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in known[: max(len(known) - self._size, 0)]:
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()


def _keep(state_dir: Path, rules: RuleSet) -> None:
    _loaded[state_dir, rules.name] = rules
    _loaded.move_to_end((state_dir, rules.name))
    while len(_loaded) > MOST_RULE_SETS:
        _loaded.popitem(last=False)
