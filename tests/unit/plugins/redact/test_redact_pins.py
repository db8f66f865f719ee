"""A conversation keeps the rule set that its session began with, over reloads and workers."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redacting import EXCHANGE, conversation, dumps, github, host, request, rules_dir
from tidegate.exchange import Client, Exchange
from tidegate.plugin import Admit
from tidegate.wire.body import splice
from tidegate_plugins.redact import Redact, pins, plugin
from tidegate_plugins.redact.config import RedactConfig

TOKEN = github("pins")
ASKED = dumps(conversation(f"use {TOKEN} now"))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLD_KEY", "the key that was there before")
    monkeypatch.setenv("NEW_KEY", "another key, of at least 16 bytes")
    monkeypatch.setattr(pins, "_loaded", type(pins._loaded)())


def config(key: str = "OLD_KEY", **fields: Any) -> RedactConfig:
    values = {"pin": "session", "key": {"env": key}, "cache_dir": str(rules_dir()), **fields}
    return msgspec.convert(values, RedactConfig)


def of(session: str) -> Exchange:
    return msgspec.structs.replace(EXCHANGE, client=Client(session=session))


async def left(policy: Redact, session: str) -> str:
    """What leaves of the conversation's first message."""
    decision = await policy.admit(of(session), request(ASKED))
    assert isinstance(decision, Admit)
    text: str = json.loads(splice(ASKED, decision.edits))["messages"][0]["content"]
    return text


async def test_a_session_keeps_its_rules_over_a_reload_and_new_ones_get_the_new(
    tmp_path: Path,
) -> None:
    async with plugin.open(config(), host(tmp_path)) as old:
        before = await left(old, "a")
        async with plugin.open(config("NEW_KEY"), host(tmp_path)) as new:
            assert await left(new, "a") == before
            fresh = await left(new, "b")
            assert fresh not in (before, ASKED)
            assert await left(new, "") == fresh
    assert TOKEN not in before + fresh


async def test_the_record_names_the_rules_that_were_used(tmp_path: Path) -> None:
    async with plugin.open(config(), host(tmp_path)) as old:
        first = await old.admit(of("a"), request(ASKED))
        async with plugin.open(config("NEW_KEY"), host(tmp_path)) as new:
            second = await new.admit(of("a"), request(ASKED))
            other = await new.admit(of("b"), request(ASKED))
    assert first.rule == second.rule != other.rule


async def test_workers_agree_although_they_reload_one_after_the_other(tmp_path: Path) -> None:
    async with (
        plugin.open(config(), host(tmp_path)) as slow,
        plugin.open(config("NEW_KEY"), host(tmp_path)) as quick,
    ):
        began_before = await left(slow, "a")
        began_after = await left(quick, "b")
        assert await left(quick, "a") == began_before
        assert await left(slow, "b") == began_after


async def test_what_is_not_loaded_any_more_is_replaced_by_the_current_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plugin.open(config(), host(tmp_path)) as old:
        before = await left(old, "a")
    pins._loaded.clear()  # as in a process that was started anew
    async with plugin.open(config("NEW_KEY"), host(tmp_path)) as new:
        assert await left(new, "a") not in (before, ASKED)


async def test_memory_and_files_are_bounded(tmp_path: Path) -> None:
    async with plugin.open(config(pin_sessions=8), host(tmp_path)) as policy:
        for number in range(50):
            await left(policy, str(number))
        assert isinstance(policy, Redact)
        assert policy.pins is not None
        assert len(policy.pins._names) <= 8
    assert len(list((tmp_path / pins.DIRECTORY).iterdir())) <= 10
    for number in range(10):
        async with plugin.open(config(deadline_ms=5000 + number), host(tmp_path)):
            pass
    assert len(pins._loaded) <= pins.MOST_RULE_SETS


async def test_without_a_place_for_files_it_is_the_memory_that_counts(tmp_path: Path) -> None:
    (tmp_path / pins.DIRECTORY).write_text("in the way")
    async with plugin.open(config(), host(tmp_path)) as policy:
        assert await left(policy, "a") == await left(policy, "a")
