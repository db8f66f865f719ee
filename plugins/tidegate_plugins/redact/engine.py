"""The engine, behind one method: bytes in, findings out."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from tidegate.errors import PluginError
from tidegate_plugins.redact.ruleset import RuleSet

CATALOGUE = "catalogue"
"""The group of the rules that the engine brings along."""
RANKS = {"tokens": 0, "pii": 1, "services": 2, CATALOGUE: 3, "context": 4}


class Finding(NamedTuple):
    """Where a rule found something: `data[start:end]`."""

    start: int
    end: int
    rule: str
    rank: int = 0
    """How much the rule knows: where several find the same, the lowest rank names it."""


class EngineTimeout(Exception):
    """The engine did not finish in time; nothing is known about the data."""


class Engine(Protocol):
    """Finds secrets in bytes."""

    def find(self, data: bytes, timeout_s: float) -> list[Finding]:
        """Return all findings, in no order, overlapping ones too.

        Raises:
            EngineTimeout: it took longer than `timeout_s`.
        """
        ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Kingfisher:
    """The `kingfisher-secret-scanner` package: its own catalogue and our rules.

    One scanner for all threads; a scan holds no lock and never uses the network.
    """

    scanner: Any
    names: dict[str, tuple[str, int]]
    """Our names of the engine's rules, and their ranks. What is missing is not used."""
    whys: Mapping[str, str] = field(default_factory=dict)
    """What the engine says of its rules, by its names."""

    def find(self, data: bytes, timeout_s: float) -> list[Finding]:
        try:
            found = self.scanner.scan(data, timeout=timeout_s)
        except TimeoutError:
            raise EngineTimeout from None
        return [
            _finding(item.location, *self.names[item.rule_id])
            for item in found
            if item.rule_id in self.names
        ]

    def described(self) -> Iterator[tuple[str, str]]:
        """The rules in use, by our names, and what the engine says of each."""
        for rule_id, (name, _) in self.names.items():
            yield name, self.whys.get(rule_id, "")


def _finding(location: dict[str, int], name: str, rank: int) -> Finding:
    return Finding(location["start_offset"], location["end_offset"], name, rank)


_open: WeakValueDictionary[tuple[str, Path], Kingfisher] = WeakValueDictionary()
"""By rules: a reload that leaves them alone loads nothing again."""


def shared_kingfisher(rules: RuleSet, cache_dir: Path) -> Kingfisher:
    """Return the engine for these rules, the one in use if there is one.

    Raises:
        PluginError: as `open_kingfisher` does.
    """
    name = rules.version(), cache_dir
    engine = _open.get(name)
    if engine is None:
        engine = _open[name] = open_kingfisher(rules, cache_dir)
    return engine


def open_kingfisher(rules: RuleSet, cache_dir: Path) -> Kingfisher:
    """Compile the rules, or load them compiled from `cache_dir`, and warm the engine up.

    Raises:
        PluginError: the engine is not installed, or does not take the rules.
    """
    try:
        from kingfisher_sdk import Rules, Scanner  # noqa: PLC0415 - 36 MB: only when opened
    except ImportError as error:
        raise PluginError(
            "redact needs the package kingfisher-secret-scanner 1.5 "
            f"(pip install 'kingfisher-secret-scanner==1.5.*'): {error}"
        ) from None
    with _files(rules) as paths:
        try:
            compiled = Rules(paths, cache_dir=_usable(cache_dir))
        except (ValueError, RuntimeError, OSError) as error:
            raise PluginError(f"the engine does not take the rules: {error}") from None
    metadata = compiled.metadata()
    whys = {item["id"]: item["name"] for item in metadata}
    engine = Kingfisher(Scanner(compiled, base64=False), _names(metadata, rules), whys)
    engine.find(b"password = 'warm-" + b"Up7x" * 4 + b"'", 60)  # loads tables, once
    return engine


def _usable(cache_dir: Path) -> Path | None:
    """Make the directory for our eyes only; the engine copes with what cannot be written."""
    with contextlib.suppress(OSError):
        cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache_dir


@contextlib.contextmanager
def _files(rules: RuleSet) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-redact-") as folder:
        texts = {"rules.toml": rules.toml(), "rules.yml": rules.yaml()}
        paths = [os.path.join(folder, name) for name, text in texts.items() if text]  # noqa: PTH118
        for path in paths:
            Path(path).write_text(texts[Path(path).name])
        yield paths


def _names(metadata: list[dict[str, Any]], rules: RuleSet) -> dict[str, tuple[str, int]]:
    """Map the engine's ids of the rules in use to ours, the catalogue's made plain."""
    ids = [item["id"] for item in metadata]
    groups = rules.groups()
    used = [name for name in ids if _ours(name) or not rules.drop.match(name)]
    return {name: (plain(name), RANKS[groups.get(plain(name), CATALOGUE)]) for name in used}


def _ours(rule_id: str) -> bool:
    return rule_id.startswith(("custom.", "pii."))


def plain(rule_id: str) -> str:
    """Return `aikido-token` for `betterleaks.aikido-token.1`."""
    for prefix in ("custom.", "betterleaks.", "veles.secrets/", "pii."):
        rule_id = rule_id.removeprefix(prefix)
    head, dot, tail = rule_id.rpartition(".")
    return head if dot and tail.isdigit() else rule_id
