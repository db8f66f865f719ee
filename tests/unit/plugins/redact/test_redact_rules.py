"""The rules are data: every one is tried on the examples it brings along."""

import hashlib
import re

import pytest

from redacting import ALL_PII, engine
from tidegate_plugins.redact import ruleset
from tidegate_plugins.redact.engine import RANKS, plain
from tidegate_plugins.redact.examples import expand

RULES = ruleset.load(ALL_PII)
MATCHES = [(rule, i) for rule in RULES.rules for i in range(len(rule.match))]
OTHERS = [(rule, i) for rule in RULES.rules for i in range(len(rule.no_match))]


def _id(value: object) -> str:
    return value.name if isinstance(value, ruleset.Rule) else str(value)


@pytest.mark.parametrize(("rule", "i"), MATCHES, ids=_id)
def test_finds_exactly_the_marked_part(rule: ruleset.Rule, i: int) -> None:
    example = expand(rule.match[i], f"{rule.name} {i}")
    data = example.text.encode()
    found = [
        data[f.start : f.end].decode()
        for f in engine(*ALL_PII).find(data, 5)
        if f.rule == rule.name
    ]
    assert set(found) == {example.secret}


@pytest.mark.parametrize(("rule", "i"), OTHERS, ids=_id)
def test_finds_nothing_in_what_only_looks_alike(rule: ruleset.Rule, i: int) -> None:
    data = expand(rule.no_match[i], f"{rule.name} {i}").text.encode()
    assert rule.name not in {finding.rule for finding in engine(*ALL_PII).find(data, 5)}


@pytest.mark.parametrize("rule", RULES.rules, ids=_id)
def test_says_what_it_is_for(rule: ruleset.Rule) -> None:
    assert len(rule.why) > 10
    assert rule.why.endswith(".")
    assert re.fullmatch(r"[a-z0-9-]{3,40}", rule.name)
    assert rule.match
    assert rule.no_match
    assert rule.group in RANKS


def test_names_are_unique() -> None:
    names = [rule.name for rule in RULES.rules]
    assert len(names) == len(set(names))


def test_personal_data_is_off_unless_named() -> None:
    assert {rule.group for rule in ruleset.load().rules} == {"tokens", "services", "context"}
    assert [rule.name for rule in ruleset.load(["iban"]).rules if rule.group == "pii"] == ["iban"]


def test_the_version_changes_with_the_rules() -> None:
    assert ruleset.load().version() == ruleset.load().version()
    assert ruleset.load(["card"]).version() != ruleset.load().version()


def test_the_catalogue_is_the_one_that_was_measured() -> None:
    """Another catalogue is another rule set: measure again, then change this digest."""
    ids = sorted(item["id"] for item in engine().scanner.rules.metadata())
    catalogue = [i for i in ids if not i.startswith("custom.")]
    digest = hashlib.sha256("\n".join(catalogue).encode()).hexdigest()
    assert (len(catalogue), digest[:12]) == (488, "85b94e8a5aaa")


def test_drops_what_the_catalogue_holds_and_nothing_of_ours() -> None:
    names = {name for name, _ in engine().names.values()}
    assert {rule.name for rule in ruleset.load().rules} <= names
    assert "github-pat" in names
    assert not names & {"generic-credential-uri", "auth0-domain", "azure-tenant-id"}


@pytest.mark.parametrize(
    ("engine_id", "name"),
    [
        ("custom.jwt", "jwt"),
        ("pii.card", "card"),
        ("betterleaks.fal-api-key.1", "fal-api-key"),
        ("veles.secrets/sendgrid", "sendgrid"),
    ],
)
def test_plain_names(engine_id: str, name: str) -> None:
    assert plain(engine_id) == name
