"""What authors test with behaves like what the gateway gives."""

import asyncio
from pathlib import Path

import pytest

from tidegate.record import decode, encode
from tidegate.testing import (
    Background,
    FakeClock,
    make_exchange,
    make_host,
    make_intent,
    make_record,
    make_request,
    sample_records,
)
from tidegate.testing.cases import make_cases
from tidegate.testing.fakes import EPOCH
from tidegate.testing.records import OUTCOMES
from tidegate.wire.body import BodyError
from tidegate.wire.routes import Kind


def test_the_clock_goes_when_told():
    clock = FakeClock()
    assert (clock.now(), clock.monotonic_ns()) == (EPOCH, 0)

    clock.advance(1.5)
    assert (clock.now(), clock.monotonic_ns()) == (EPOCH + 1.5, 1_500_000_000)


@pytest.mark.parametrize("kind", Kind)
def test_an_exchange_of_each_kind(kind: Kind):
    exchange = make_exchange(kind, headers={"X-Mixed": "1"})

    assert exchange.route.kind is kind
    assert exchange.headers["x-MIXED"] == "1"
    assert "x-other" not in exchange.headers


def test_a_request_keeps_its_bytes():
    raw = b'{ "model":"m" ,"max_tokens":1.0e0,"messages":[]}'
    with pytest.raises(BodyError, match="max_tokens: must be an integer"):
        make_request(raw)

    request = make_request(raw.replace(b"1.0e0", b"1"), credential="x")
    assert request.body.raw.startswith(b'{ "model":"m" ,')
    assert request.view.max_tokens == 1
    assert request.credential is not None
    assert "'x'" not in repr(request)


@pytest.mark.parametrize("kind", [Kind.MODELS, Kind.MODEL, Kind.PROBE])
def test_requests_without_a_body(kind: Kind):
    request = make_request({"ignored": 1}, kind=kind)

    assert request.body.raw == b""
    assert request.view.model is None


async def test_what_was_spawned_ends_with_its_background(tmp_path: Path):
    background = Background()
    host = make_host(tmp_path, background=background)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise ValueError

    host.spawn(work(), "work")
    host.spawn(fail(), "fail")
    await asyncio.sleep(0)
    failed = await background.close()

    assert ended.is_set()
    assert [type(error) for error in failed] == [ValueError]


def test_sample_records_are_what_a_journal_can_hold():
    records = sample_records()

    assert [decode(encode(record)) for record in records] == list(records)
    assert {type(record).__name__ for record in records} == {
        "SegmentStart",
        "Intent",
        "ExchangeRecord",
        "Inspection",
        "ShadowDifference",
        "Vitals",
        "WriterEnd",
    }
    assert set(OUTCOMES) <= {getattr(record, "outcome", "") for record in records}


def test_an_intent_agrees_with_its_record():
    record = make_record(id="tg_1", stream=False)
    intent = make_intent(record)

    assert (intent.id, intent.stream, intent.trace) == ("tg_1", False, record.trace)


def test_cases_have_names_of_their_own():
    names = [
        case.name for case in make_cases("x", [{"model": "m", "max_tokens": 1, "messages": []}])
    ]

    assert len(set(names)) == len(names)
