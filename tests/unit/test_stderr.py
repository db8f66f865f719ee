"""What is said on standard error can be read by machines, and holds what an operator looks for."""

import asyncio
import io
import json
import logging
import sys

import pytest

from observed import AT, StandingClock, exchange, host
from tidegate import stderr
from tidegate.record import PrincipalRecord, RefusedBy
from tidegate.stderr import ExchangeLines, JsonLines


def line(message: str, *args: object, **more: object) -> dict:
    record = logging.LogRecord("tidegate.x", logging.ERROR, "", 1, message, args, None)
    record.__dict__ |= more
    text = JsonLines("worker-3").format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_who_and_what() -> None:
    found = line("policy %s: %s\nsecond line", "redact", "ValueError", created=1_800_000_000.25)
    assert found.pop("pid") > 0
    assert found == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "error",
        "logger": "tidegate.x",
        "process": "worker-3",
        "message": "policy redact: ValueError\nsecond line",
    }


def test_the_exchange_that_a_message_names_is_a_field_of_its_own() -> None:
    assert line("policy %s: %s (%s)", "p", "E", "tg_01")["exchange"] == "tg_01"
    assert "exchange" not in line("nothing")
    assert "exchange" not in line("%(a)s", {"a": "tg_01"})


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        assert "ValueError: why" in line("failed", exc_info=sys.exc_info())["error"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("observatory"))
    monkeypatch.setattr(stderr.exchanges, "handlers", [handler])
    monkeypatch.setattr(stderr.exchanges, "level", logging.INFO)
    return stream


def test_an_exchange_is_one_flat_line(said: io.StringIO) -> None:
    record = exchange(
        7,
        principal=PrincipalRecord("ci", "search"),
        refused_by=RefusedBy("limits", "max_tokens"),
        usage=None,
    )
    asyncio.run(ExchangeLines(host("lines")).on_record(record))
    found = json.loads(said.getvalue())
    assert found["exchange"] == record.id
    assert found["message"].split("  ")[1] == record.id
    assert (found["team"], found["refused_by"]) == ("search", "limits:max_tokens")
    assert found["duration_ms"] == record.timing_ms.total
    assert "output_tokens" not in found
    assert not any(isinstance(value, dict | list) for value in found.values())


@pytest.mark.parametrize(("state", "count"), [(b"", 1), (b"begun", 2)])
def test_what_was_over_before_it_first_began_is_not_said(
    said: io.StringIO, state: bytes, count: int
) -> None:
    clock = StandingClock(AT + 60)
    lines = ExchangeLines(host("lines", clock=clock, state=state))
    for number in (1, 61):
        asyncio.run(lines.on_record(exchange(number)))
    assert len(said.getvalue().splitlines()) == count
