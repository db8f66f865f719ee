"""The plugin as the gateway calls it: decisions, places, time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redacting import (
    EXCHANGE,
    KEY,
    conversation,
    decide,
    dumps,
    github,
    host,
    policy,
    redacted,
    request,
    rules_dir,
    secret,
)
from tidegate.errors import PluginError
from tidegate.exchange import ANONYMOUS, Request
from tidegate.plugin import ADMIT, Admit, Note, Policy, Refuse
from tidegate.wire.body import EMPTY
from tidegate.wire.messages import EMPTY_VIEW
from tidegate_plugins.redact import cache_dir, plugin
from tidegate_plugins.redact.config import Allow, Key, RedactConfig, Team
from tidegate_plugins.redact.engine import EngineTimeout, Finding
from tidegate_plugins.redact.placeholder import digest

TOKEN = github()
NAME = digest(KEY, TOKEN.encode())
STAND_IN = f"[REDACTED:github-token:{NAME[:10]}]"
ASKED = conversation(f"use {TOKEN} now")
SIGNED = conversation("hi", f"I saw {TOKEN}", "go on")
URL = conversation([{"type": "image", "source": {"type": "url", "url": f"https://h/?t={TOKEN}"}}])


async def test_without_a_body_there_is_nothing_to_do() -> None:
    empty = Request(body=EMPTY, view=EMPTY_VIEW, principal=ANONYMOUS, credential=None)
    assert await policy().admit(EXCHANGE, empty) is ADMIT


async def test_masks_in_place() -> None:
    decision = await decide(ASKED)
    assert isinstance(decision, Admit)
    (edit,) = decision.edits
    assert dumps(ASKED)[edit.start : edit.end] == TOKEN.encode()
    assert (edit.pointer, edit.rule, edit.replacement) == (
        "/messages/0/content",
        "github-token",
        STAND_IN.encode(),
    )
    assert decision.rule == "rules-test.key-test"
    assert decision.notes == ()


async def test_clean_bodies_are_left_alone() -> None:
    decision = await decide(conversation("hello", "world"))
    assert decision == Admit(rule="rules-test.key-test")


async def test_block_names_rule_and_place_but_not_the_value() -> None:
    decision = await decide(ASKED, RedactConfig(action="block"))
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type) == (400, "invalid_request_error")
    assert (decision.rule, decision.pointer) == ("github-token", "/messages/0/content")
    assert decision.notes == (Note("github-token", "blocked", "/messages/0/content"),)
    assert "github-token" in decision.message
    assert "/messages/0/content" in decision.message
    assert TOKEN not in repr(decision)


async def test_detect_only_notes() -> None:
    decision = await decide(ASKED, RedactConfig(action="detect"))
    assert decision == Admit(
        notes=(Note("github-token", "found", "/messages/0/content"),), rule="rules-test.key-test"
    )


@pytest.mark.parametrize("document", [SIGNED, URL])
async def test_what_cannot_be_edited_is_noted(document: dict[str, Any]) -> None:
    decision = await decide(document)
    assert isinstance(decision, Admit)
    assert decision.edits == ()
    assert [note.verdict for note in decision.notes] == ["found"]


@pytest.mark.parametrize(
    ("document", "config"),
    [
        (SIGNED, RedactConfig(assistant="refuse")),
        (SIGNED, RedactConfig(teams={"none": Team(assistant="refuse")})),
        (URL, RedactConfig(fixed="refuse")),
        (URL, RedactConfig(action="block")),
    ],
)
async def test_or_refused(document: dict[str, Any], config: RedactConfig) -> None:
    decision = await decide(document, config)
    assert isinstance(decision, Refuse)
    assert decision.status == 400


async def test_block_does_not_end_a_conversation_over_the_models_words() -> None:
    assert isinstance(await decide(SIGNED, RedactConfig(action="block")), Admit)


@pytest.mark.parametrize(
    ("config", "team", "outcome"),
    [
        (RedactConfig(actions={"github-token": "detect"}), "a", "found"),
        (RedactConfig(actions={"tokens": "detect"}), "a", "found"),
        (RedactConfig(actions={"tokens": "block", "github-token": "detect"}), "a", "found"),
        (RedactConfig(actions={"github-token": "off"}), "a", ""),
        (RedactConfig(action="block", teams={"a": Team(action="detect")}), "a", "found"),
        (RedactConfig(action="block", teams={"a": Team(action="detect")}), "b", "refused"),
        (RedactConfig(teams={"a": Team(actions={"tokens": "block"})}), "a", "refused"),
        (
            RedactConfig(actions={"tokens": "block"}, teams={"a": Team(action="detect")}),
            "a",
            "refused",
        ),
        (RedactConfig(allow=Allow(digests=(NAME[:10],))), "a", "allowed"),
        (RedactConfig(allow=Allow(digests=(NAME,))), "a", "allowed"),
        (RedactConfig(allow=Allow(digests=("0" * 10,))), "a", "masked"),
        (RedactConfig(allow=Allow(rules=("github-token",))), "a", "allowed"),
        (RedactConfig(allow=Allow(pointers=("/messages/*/content",))), "a", "allowed"),
        (RedactConfig(allow=Allow(pointers=("/messages/**",))), "a", "allowed"),
        (RedactConfig(allow=Allow(pointers=("/messages/*",))), "a", "masked"),
    ],
)
async def test_the_most_particular_word_counts(
    config: RedactConfig, team: str, outcome: str
) -> None:
    decision = await decide(ASKED, config, team)
    if isinstance(decision, Refuse):
        assert outcome == "refused"
    elif decision.edits:
        assert outcome == "masked"
    else:
        assert [note.verdict for note in decision.notes] == ([outcome] if outcome else [])


async def test_keys_that_hold_secrets_are_not_written_down() -> None:
    """A pointer names keys, and pointers go to the record and to the caller."""
    tool = {"name": "t", "input_schema": {}, "input_examples": [{TOKEN: f"password {TOKEN}"}]}
    document = conversation("hi", tools=[tool])
    for config in (RedactConfig(), RedactConfig(action="block"), RedactConfig(action="detect")):
        decision = await decide(document, config)
        assert TOKEN not in repr(decision)
        assert "github-token" in repr(decision)


async def test_escapes_do_not_hide_and_survive() -> None:
    key = secret("AKIA{base32:16}")
    raw = (
        dumps(conversation(f"é\n{key}\ud800/x"))
        .replace(b"AKIA", b"\\u0041KIA")
        .replace(b"/x", b"\\/x")
    )
    decision = await decide(raw)
    assert isinstance(decision, Admit)
    (edit,) = decision.edits
    left, right = raw[: edit.start], raw[edit.end :]
    assert left.endswith(b"\\u00e9\\n")
    assert right.startswith(b"\\ud800\\/x")
    text = (await redacted(raw))["messages"][0]["content"]
    assert text == f"é\n[REDACTED:aws-access-key-id:{digest(KEY, key.encode())[:10]}]\ud800/x"


@pytest.mark.parametrize("size", [100, 200_000])
async def test_a_thread_decides_like_the_loop(size: int) -> None:
    found = await redacted(conversation("word " * (size // 5) + TOKEN))
    assert found["messages"][0]["content"].endswith(STAND_IN)


class Slow:
    """An engine that never finishes."""

    def find(self, data: bytes, timeout_s: float) -> list[Finding]:
        raise EngineTimeout


@pytest.mark.parametrize("size", [100, 200_000])
async def test_late_is_refused_and_said(size: int) -> None:
    body = request(dumps(conversation("x" * size)))
    decision = await policy(RedactConfig(deadline_ms=5), Slow()).admit(EXCHANGE, body)
    assert isinstance(decision, Refuse)
    assert (decision.status, decision.error_type, decision.rule) == (503, "api_error", "deadline")
    assert "5 ms" in decision.message
    assert decision.notes == (Note("deadline", "not_evaluated"),)


async def test_late_is_let_through_only_if_asked_for() -> None:
    config = RedactConfig(on_timeout="admit")
    decision = await policy(config, Slow()).admit(EXCHANGE, request(dumps(ASKED)))
    assert decision == Admit(notes=(Note("deadline", "not_evaluated"),), rule="deadline")


async def test_notes_are_bounded() -> None:
    document = conversation([{"type": "text", "text": github(i)} for i in range(300)])
    decision = await decide(document, RedactConfig(action="detect"))
    assert len(decision.notes) == 201
    assert decision.notes[-1] == Note("more", "found")


async def test_the_memory_changes_nothing_and_holds_no_secret() -> None:
    one = policy()
    body = request(dumps(conversation(f"{'a long text, ' * 30} {TOKEN}", TOKEN)))
    assert await one.admit(EXCHANGE, body) == await one.admit(EXCHANGE, body)
    assert len(one.scanner.memo) == 2
    assert TOKEN not in repr(one.scanner.memo.__dict__)
    assert TOKEN not in repr(one.scanner.parts.__dict__)


async def test_what_was_sent_before_is_not_even_walked_through() -> None:
    one = policy()
    turns = [f"turn {i} of the conversation: x={i} " * 180 for i in range(21)]
    await one.admit(EXCHANGE, request(dumps(conversation(*turns))))
    await one.admit(EXCHANGE, request(dumps(conversation(*turns, TOKEN))))
    assert len(one.scanner.parts) == 20  # all but the first and the last of the second body
    assert len(one.scanner.memo) == 3  # of each body, the first and the last


@pytest.mark.parametrize("at", range(12))
async def test_a_secret_in_a_long_conversation_is_replaced_where_it_stands(at: int) -> None:
    turns: list[Any] = [f"turn {i} " * 400 for i in range(12)]
    turns[at] = [{"type": "text", "text": f"it is {TOKEN}"}]
    one = policy()
    body = request(dumps(conversation(*turns)))
    for _ in range(2):
        decision = await one.admit(EXCHANGE, body)
        assert isinstance(decision, Admit)
        places = [edit.pointer for edit in decision.edits] + [n.pointer for n in decision.notes]
        assert places == [f"/messages/{at}/content/0/text"]


@pytest.mark.parametrize("pii", [(), ("card",)])
async def test_personal_data_only_if_asked_for(pii: Any) -> None:
    card = secret("{card}")
    text = (await redacted(conversation(f"pay with {card}"), RedactConfig(pii=pii)))["messages"][0][
        "content"
    ]
    assert (card in text) is not bool(pii)


async def test_opens_as_configured(tmp_path: Path) -> None:
    config = RedactConfig(cache_dir=str(rules_dir()))
    async with plugin.open(config, host(tmp_path)) as opened:
        assert isinstance(opened, Policy)
        decision = await opened.admit(EXCHANGE, request(dumps(ASKED)))
        assert isinstance(decision, Admit)
        assert decision.edits
        assert decision.rule.startswith("rules-")
    assert (tmp_path / "redact.key").exists()


@pytest.mark.parametrize(
    "config",
    [
        RedactConfig(actions={"no-such-rule": "off"}),
        RedactConfig(teams={"a": Team(actions={"no-such-rule": "off"})}),
        RedactConfig(allow=Allow(rules=("tokens",))),
        RedactConfig(key=Key(env="NOT_SET_ANYWHERE")),
    ],
)
async def test_wrong_names_are_refused_at_start(config: RedactConfig, tmp_path: Path) -> None:
    with pytest.raises(PluginError):
        async with plugin.open(config_with_cache(config), host(tmp_path)):
            pass


def config_with_cache(config: RedactConfig) -> RedactConfig:
    fields = {name: getattr(config, name) for name in config.__struct_fields__}
    return RedactConfig(**{**fields, "cache_dir": str(rules_dir())})


@pytest.mark.parametrize("brought", [True, False])
def test_a_cache_that_can_only_be_read_is_used_if_it_holds_rules(
    brought: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, state = tmp_path / "tidegate/redact-rules", tmp_path / "state"
    shared.mkdir(parents=True)
    if brought:
        (shared / "0.vscdb").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Root, who may run this, can write anywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_dir(RedactConfig(), state) == (shared if brought else state / "redact-rules")


async def test_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)
    with pytest.raises(PluginError, match="kingfisher-secret-scanner"):
        async with plugin.open(RedactConfig(), host(tmp_path)):
            pass


def test_importing_the_configuration_loads_no_engine() -> None:
    code = "import sys, tidegate_plugins.redact; print('kingfisher_sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_structure_of_a_whole_conversation() -> None:
    """One secret in every place that may be edited, and in every place that may not."""
    document = conversation(
        [
            {"type": "text", "text": TOKEN},
            {"type": "document", "source": {"type": "text", "data": TOKEN}},
        ],
        [
            {"type": "thinking", "thinking": TOKEN, "signature": TOKEN},
            {"type": "tool_use", "id": TOKEN, "name": "read", "input": {"path": TOKEN}},
        ],
        [
            {
                "type": "tool_result",
                "tool_use_id": TOKEN,
                "content": [{"type": "text", "text": TOKEN}],
            }
        ],
        system=[
            {"type": "text", "text": f"x-anthropic-billing-header: {TOKEN}"},
            {"type": "text", "text": TOKEN},
        ],
        metadata={"user_id": TOKEN},
    )
    raw = json.dumps(document)
    out = json.dumps(await redacted(document))
    assert raw.count(TOKEN) == 11
    assert out.count(STAND_IN) == 4
    assert out.count(TOKEN) == 7
