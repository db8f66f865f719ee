"""The rules as read from the package's data, and the files that the engine reads."""

import fnmatch
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import msgspec

FILES = ("tokens.toml", "services.toml", "context.toml", "pii.toml")
PII = "pii"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of secret. `rules/README.md` says what each field means."""

    name: str
    group: str
    why: str
    regex: str
    entropy: float = 0
    ignore: tuple[str, ...] = ("placeholders", "specimens")
    needs: tuple[str, ...] = ()
    random: bool = False
    checksum: str = ""
    match: tuple[str, ...] = ()
    no_match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of ours in use, what they share, and what is dropped of the catalogue."""

    rules: tuple[Rule, ...]
    pieces: Mapping[str, str]
    ignore: Mapping[str, Mapping[str, Any]]
    drop: re.Pattern[str]

    def groups(self) -> dict[str, str]:
        """The group of each rule of ours, by its name."""
        return {rule.name: rule.group for rule in self.rules}

    def toml(self) -> str:
        """The secret rules in the engine's format."""
        rules = [rule for rule in self.rules if rule.group != PII]
        return "\n".join(_engine_rule(rule, self) for rule in rules)

    def yaml(self) -> str:
        """The personal data rules in the engine's other format, which has checksums."""
        rules = [_engine_pii(rule) for rule in self.rules if rule.group == PII]
        return json.dumps({"rules": rules}) if rules else ""

    def version(self) -> str:
        """A short digest: equal means equal results, given the same engine."""
        text = f"{self.toml()}\n{self.yaml()}\n{self.drop.pattern}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def load(pii: Iterable[str] = ()) -> RuleSet:
    """Return the package's rules, with the named rules for personal data."""
    wanted = set(pii)
    shared = _read("shared.toml")
    rules = [rule for name in FILES for rule in _rules(_read(name))]
    return RuleSet(
        rules=tuple(rule for rule in rules if rule.group != PII or rule.name in wanted),
        pieces=shared["pieces"],
        ignore=shared["ignore"],
        drop=_wildcards(name for drop in _read("catalogue.toml")["drop"] for name in drop["rules"]),
    )


def _read(name: str) -> dict[str, Any]:
    data = resources.files("tidegate_plugins.redact").joinpath("rules", name)
    return tomllib.loads(data.read_text())


def _rules(data: dict[str, Any]) -> list[Rule]:
    return [msgspec.convert({"group": data["group"], **rule}, Rule) for rule in data["rule"]]


def _wildcards(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(name) for name in names))


_VALUE = 'finding["secret"]'


def _engine_rule(rule: Rule, rules: RuleSet) -> str:
    """One rule as the engine reads it; its `filter` says when a finding is *not* one."""
    regex = re.sub(r"\{\{(\w+)\}\}", lambda piece: rules.pieces[piece[1]], rule.regex)
    return "\n".join(
        (
            "[[rules]]",
            f"id = {json.dumps(rule.name)}",
            f"description = {json.dumps(rule.why)}",
            f"regex = '''{regex}'''",
            f"filter = '''{' || '.join(_conditions(rule, rules))}'''",
        )
    )


def _conditions(rule: Rule, rules: RuleSet) -> list[str]:
    found = [f"entropy({_VALUE}) <= {rule.entropy}"]
    for name in rule.ignore:
        ignore = rules.ignore[name]
        if "contains" in ignore:
            found.append(f"containsAny({_VALUE}, {json.dumps(ignore['contains'])})")
        if "patterns" in ignore:
            found.append(_matches(ignore["patterns"]))
        if "around" in ignore:
            found.append(_matches(ignore["around"], 'finding["match"]'))
    if rule.random:
        found.append(f"failsTokenEfficiency({_VALUE})")
    found += [f"not {_matches([need])}" for need in rule.needs]
    return found


def _matches(patterns: Iterable[str], subject: str = _VALUE) -> str:
    return f"matchesAny({subject}, [{', '.join(f'`{pattern}`' for pattern in patterns)}])"


def _engine_pii(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": rule.why,
        "id": f"pii.{rule.name}",
        "confidence": "medium",
        "pattern": rule.regex,
    }
    if rule.checksum:
        actual = {"template": f"{{{{ MATCH | {rule.checksum} }}}}"}
        found["pattern_requirements"] = {"checksum": {"actual": actual, "expected": "true"}}
    return found
