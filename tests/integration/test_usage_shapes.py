"""Usage of every shape of stream: as worked out by hand, in any split, and as the SDK has it."""

import asyncio
import random

import pytest

from support.recordings import Reading as SdkReading
from support.recordings import Recording, of_stream, sdk_readings
from support.shapes import Shape, shapes
from tidegate.pipeline.conclude import usage_of
from tidegate.wire.meter import Reading, meter_for

SHAPES = list(shapes())


def read(shape: Shape, pieces: list[bytes]) -> Reading:
    how = "increments" if shape.increments else "cumulative"
    meter = meter_for(shape.media, shape.coding, how)
    for piece in pieces:
        meter.feed(piece)
    return meter.finish()


def splits(body: bytes) -> list[list[bytes]]:
    """Whole, byte by byte where that is quick, and cut at random."""
    rng = random.Random(7)
    found = [[body], [body[at : at + 65_536] for at in range(0, len(body), 65_536)]]
    if len(body) < 100_000:
        found.append([body[at : at + 1] for at in range(len(body))])
        for _ in range(5):
            at = sorted(rng.sample(range(len(body) + 1), min(9, len(body))))
            found.append([body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)])
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_by_hand(shape: Shape) -> None:
    for pieces in splits(shape.body):
        reading = read(shape, pieces)
        usage = usage_of(reading.usage) if reading.usage is not None else None
        assert usage == shape.usage
        assert (reading.source, reading.complete) == (shape.source, shape.complete)
        assert (reading.stop_reason, reading.model) == (shape.stop_reason, shape.model)
        assert (reading.error_type, reading.stopped) == (shape.error_type, shape.stopped)


def test_they_are_not_few() -> None:
    assert len(SHAPES) >= 30
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


@pytest.fixture(scope="module")
def accumulated() -> dict[str, SdkReading | None]:
    """What the official SDK's own accumulator makes of the shapes that it reads."""
    found = [shape for shape in SHAPES if shape.sdk]
    recordings: list[Recording] = [
        of_stream(shape.name, shape.body, coding=shape.coding) for shape in found
    ]
    readings = asyncio.run(sdk_readings(recordings))
    return {shape.name: reading for shape, reading in zip(found, readings, strict=True)}


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.sdk], ids=lambda shape: shape.name)
def test_as_the_sdk_has_it(shape: Shape, accumulated: dict[str, SdkReading | None]) -> None:
    reading = accumulated[shape.name]
    assert reading is not None
    assert shape.usage is not None
    assert (reading.model, reading.stop_reason) == (shape.model, shape.stop_reason)
    usage, counted = reading.usage, shape.usage
    writes = counted.cache_write_5m + counted.cache_write_1h
    assert (
        usage["input_tokens"],
        usage["output_tokens"],
        usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0,
    ) == (counted.input, counted.output, counted.cache_read, writes)
    assert [dict(each) for each in usage.get("iterations") or []] == list(counted.iterations)
