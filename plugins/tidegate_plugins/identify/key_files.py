"""Files of gateway keys: one for each team, if need be, each changed by whom it belongs to.

A file holds `keys`, as the configuration does, and perhaps `team`: then all of its keys are
of that team, and need not say so.
"""

import glob
import stat
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tidegate_plugins.identify.config import Config, Key
from tidegate_plugins.identify.keyring import Placed

MAX_BYTES = 16 * 1024 * 1024


def keys_of(config: Config) -> tuple[list[Placed], list[str]]:
    """Return the keys of a configuration and its files, and what is wrong with the files."""
    found = [Placed(key, f"keys[{index}]") for index, key in enumerate(config.keys)]
    problems: list[str] = []
    for path in paths_of(config.key_files, problems):
        placed, more = read(path)
        found += placed
        problems += more
    return found, problems


def paths_of(written: Iterable[str], problems: list[str]) -> list[Path]:
    """Return the files that are meant, each once; `problems` gets what means none."""
    found: dict[Path, None] = {}
    for pattern in written:
        matches = _matches(pattern)
        if not matches:
            problems.append(
                f"key_files: {pattern[:200]!a} is no file, and matches none{_in(pattern)}"
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def _in(pattern: str) -> str:
    if Path(pattern).is_absolute():
        return ""
    return f" in {Path.cwd()}: paths are relative to where tidegate runs, not to this file"


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return sorted(p for p in path.glob("*.toml") if p.is_file() and p.name[0] != ".")
    if path.is_file():
        return [path]
    return sorted(Path(name) for name in glob.glob(pattern) if Path(name).is_file())  # noqa: PTH207 - Path.glob takes no absolute pattern


def read(path: Path) -> tuple[list[Placed], list[str]]:
    """Return the keys of one file, and what is wrong with it."""
    try:
        status = path.stat()
        if status.st_mode & stat.S_IWOTH:
            return [], [f"{path}: everybody can write it, and so let themselves in; chmod o-w"]
        if status.st_size > MAX_BYTES:
            return [], [f"{path}: is larger than {MAX_BYTES} bytes"]
        text = path.read_text()
        document = tomllib.loads(text)
    except OSError as error:
        return [], [f"{path}: {error.strerror}"]
    except ValueError as error:  # no TOML, or no UTF-8
        return [], [f"{path}: {error}"]
    return _entries(path, text, document)


def _entries(path: Path, text: str, document: dict[str, Any]) -> tuple[list[Placed], list[str]]:
    problems = [
        f"{path}: unknown key {key[:40]!a}; known are `keys` and `team`"
        for key in document
        if key not in ("keys", "team")
    ]
    team, entries = document.get("team"), document.get("keys", [])
    if not isinstance(entries, list) or not isinstance(team, str | None):
        return [], [*problems, f"{path}: `keys` must be a list, and `team` a name"]
    found: list[Placed] = []
    seen: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        line = _line(text, entry, seen)
        place = f"{path}:{line}" if line else f"{path}: keys[{index}]"
        try:
            key = msgspec.convert(_with_team(entry, team), Key)
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(f"{place}: {error}")
        else:
            found.append(Placed(key, place, str(path), line))
    return found, problems


def _with_team(entry: Any, team: str | None) -> Any:
    if team is None or not isinstance(entry, dict):
        return entry
    if entry.get("team", team) != team:
        raise ValueError(f"team: this file is for keys of {team[:40]!a}")
    return {"team": team} | entry


def _line(text: str, entry: Any, seen: Counter[str]) -> int:
    """Return the line that an entry's digest stands in; 0 if it has none."""
    sha256 = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(sha256, str) or not sha256:
        return 0
    at = -1
    for _ in range(seen[sha256] + 1):
        at = text.find(sha256, at + 1)
    seen[sha256] += 1
    return 0 if at < 0 else text.count("\n", 0, at) + 1
