"""All rules there are, ours and the engine's, described for people."""

from collections.abc import Collection
from pathlib import Path

import msgspec

from tidegate_plugins.redact import ruleset
from tidegate_plugins.redact.config import Pii
from tidegate_plugins.redact.engine import CATALOGUE, open_kingfisher
from tidegate_plugins.redact.examples import expand
from tidegate_plugins.redact.ruleset import PII, Rule

ALL_PII: tuple[Pii, ...] = ("card", "iban", "ssn", "email", "phone")


class Described(msgspec.Struct, frozen=True):
    """One rule."""

    name: str
    group: str
    why: str
    on: bool
    """Whether it is looked for, as configured."""
    match: tuple[str, ...] = ()
    """Texts with made-up secrets; what is found stands in «…»."""
    no_match: tuple[str, ...] = ()


def described(pii: Collection[str], cache_dir: Path) -> list[Described]:
    """Return the rules, ours first, group by group; of the engine's own those in use."""
    rules = ruleset.load(ALL_PII).rules
    ours = [_ours(rule, on=rule.group != PII or rule.name in pii) for rule in rules]
    engine = open_kingfisher(ruleset.load(), cache_dir)
    known = {rule.name for rule in ours}
    theirs = {name: why for name, why in engine.described() if name not in known}
    return [*ours, *(Described(name, CATALOGUE, theirs[name], on=True) for name in sorted(theirs))]


def _ours(rule: Rule, *, on: bool) -> Described:
    match, no_match = (
        tuple(_shown(template, f"{rule.name} {i}") for i, template in enumerate(templates))
        for templates in (rule.match, rule.no_match)
    )
    return Described(rule.name, rule.group, rule.why, on, match, no_match)


def _shown(template: str, seed: str) -> str:
    example = expand(template, seed)
    if not example.secret:
        return example.text
    return example.text.replace(example.secret, f"«{example.secret}»", 1)
