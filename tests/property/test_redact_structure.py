"""Whatever the body: only secrets change, and nothing but the secrets' bytes."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from redacting import KEY, dumps, engine, secret
from tidegate.wire.body import Body, parse, splice
from tidegate_plugins.redact import scanner
from tidegate_plugins.redact.config import RedactConfig
from tidegate_plugins.redact.scan import Deadline
from tidegate_plugins.redact.verdict import Rulebook, decide
from tidegate_plugins.redact.walk import Place, leaves, pointer

SECRETS = [
    secret("ghp_{alnum:36}"), secret("AKIA{base32:16}"), secret("sk-ant-api03-{b64url:93}AA"),
    secret("password = '{alnum:18}'"), secret("https://u:{alnum:20}@h.example/"), secret("eyJ{alnum:30}.eyJ{alnum:60}.{alnum:43}"),
]  # fmt: skip


class Never:
    """A clock that stands still."""

    def now(self) -> float:
        return 0.0

    def monotonic_ns(self) -> int:
        return 0


BOOK = Rulebook(RedactConfig(), KEY, {}, "v")


def edits(body: Body, memo: int = 0) -> tuple[Any, ...]:
    found = scanner(engine(), KEY, memo).scan(body.document, Deadline(Never(), 10**12, 10))
    decision = decide(BOOK, body, found, "none")
    return decision.edits  # type: ignore[union-attr]


def written(document: Any, style: int) -> bytes:
    """The same document in several handwritings."""
    raw = json.dumps(document, ensure_ascii=style % 2 == 0, indent=style % 3 or None)
    if style % 5 == 1:
        raw = raw.replace("/", "\\/").replace("A", "\\u0041")
    return raw.encode("utf-8", "surrogatepass")


words = st.sampled_from(
    [
        *SECRETS,
        "the ",
        "\n",
        '"',
        "\\",
        "/",
        "é",
        "😀",
        "=",
        ": ",
        "token ",
        "[REDACTED:x:0123456789]",
        "\t",
        "key",
        ",",
    ]
)
texts = st.lists(words, max_size=8).map("".join) | st.text(max_size=12)
values = st.recursive(
    texts | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": text}, texts),
    st.builds(lambda value: {"type": "tool_use", "id": "toolu_1", "name": "n", "input": {"v": value}}, values),
    st.builds(lambda value: {"type": "tool_result", "tool_use_id": "toolu_1", "content": value}, values),
    st.builds(lambda text: {"type": "image", "source": {"type": "base64", "data": text}}, texts),
    st.builds(lambda value: {"type": "unheard_of", "value": value}, values),
)  # fmt: skip
messages = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant"]),
    texts | st.lists(blocks, max_size=4),
)
documents = st.builds(
    lambda turns, system, extra: {
        "model": "m",
        "system": system,
        "messages": turns,
        "extra": extra,
    },
    st.lists(messages, max_size=4),
    texts,
    values,
)
bodies = st.builds(written, documents, st.integers(0, 29)).map(parse)


@given(bodies)
@settings(max_examples=150, deadline=None)
def test_only_strings_that_may_be_edited_change(body: Body) -> None:
    made = edits(body)
    after = parse(splice(body.raw, made)).document
    for before, now in zip(leaves(body.document), leaves(after), strict=True):
        if before.text != now.text:
            assert before.place is Place.TEXT
            assert pointer(before.path) == pointer(now.path)
        assert before.path == now.path
    assert _blank(body.document) == _blank(after)


def _blank(value: Any) -> Any:
    """The document with every string that may be edited left out."""
    blank = value
    for leaf in leaves(value):
        if leaf.place is Place.TEXT:
            blank = _without(blank, _tokens(leaf.path))
    return blank


def _tokens(path: Any) -> list[Any]:
    return [] if path is None else [*_tokens(path[0]), path[1]]


def _without(value: Any, tokens: list[Any]) -> Any:
    if not tokens:
        return "…" if isinstance(value, str) else value
    found = dict(value) if isinstance(value, dict) else list(value)
    found[tokens[0]] = _without(found[tokens[0]], tokens[1:])
    return found


@given(bodies)
@settings(max_examples=100, deadline=None)
def test_edits_hold_secrets_and_nothing_beside_them(body: Body) -> None:
    for edit in edits(body):
        text = json.loads(b'"' + body.raw[edit.start : edit.end] + b'"')
        assert any(text in known or known in text for known in SECRETS) or len(text) >= 4


@given(bodies)
@settings(max_examples=150, deadline=None)
def test_what_is_redacted_stays_as_it_is(body: Body) -> None:
    once = splice(body.raw, edits(body))
    assert edits(parse(once)) == ()


@given(bodies)
@settings(max_examples=60, deadline=None)
def test_the_memory_changes_nothing(body: Body) -> None:
    one = scanner(engine(), KEY, 64)
    far = Deadline(Never(), 10**12, 10)
    first = one.scan(body.document, far)
    assert one.scan(body.document, far) == first
    assert scanner(engine(), KEY, 0).scan(body.document, far) == first


@given(st.lists(messages, min_size=6, max_size=18), st.integers(0, 17), messages)
@settings(max_examples=40, deadline=None)
def test_nor_does_that_of_whole_runs_of_messages(turns: list[Any], at: int, other: Any) -> None:
    one = scanner(engine(), KEY, 1024)
    far = Deadline(Never(), 10**12, 10)
    changed = [*turns[:at], other, *turns[at + 1 :]]
    for sent in (turns, turns, changed, [other, *turns], [*turns, other]):
        document = {"system": "s", "messages": sent, "tools": [{"description": turns[0]}]}
        assert one.scan(document, far) == scanner(engine(), KEY, 0).scan(document, far)


@given(st.lists(messages, min_size=1, max_size=6), texts)
@settings(max_examples=80, deadline=None)
def test_a_growing_conversation_keeps_what_was_sent(turns: list[Any], system: str) -> None:
    sent: list[Any] = []
    for count in range(1, len(turns) + 1):
        raw = dumps({"model": "m", "system": system, "messages": turns[:count]})
        body = parse(raw)
        now = json.loads(splice(raw, edits(body)))["messages"]
        assert now[: len(sent)] == sent
        sent = now
