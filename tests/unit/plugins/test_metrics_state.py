"""Saved aggregates survive what changes between two starts."""

import msgspec
import pytest

from observed import exchange, host
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.state import Buckets, Count, State, freeze, thaw

NAME = catalogue.REQUEST_BYTES.name


async def test_a_flush_without_records_in_between_costs_nothing() -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    await observer.on_record(exchange())
    assert await observer.flush() is await observer.flush()


def test_changed_bounds_keep_count_and_sum() -> None:
    old = State(
        histograms={NAME: {("messages",): Buckets([1, 2, 4], 900.5)}},
        bounds={NAME: (300.0, 5000.0)},
    )
    buckets = thaw(freeze(old)).histograms[NAME]["messages",]
    assert buckets.sum == 900.5
    bounds = catalogue.BODY_BYTES
    expected = [0] * (len(bounds) + 1)
    expected[bounds.index(1024.0)] = 1
    expected[bounds.index(16384.0)] = 2
    expected[-1] = 4
    assert buckets.counts == expected


def test_a_label_that_was_added_has_a_value_for_what_was_counted_before() -> None:
    name = catalogue.REDACTIONS.name
    old = State(counters={name: {("jwt",): Count(7), ("pem", "block"): Count(2)}})
    counts = thaw(freeze(old)).counters[name]
    assert counts == {
        ("jwt", "mask", "request"): Count(7),
        ("pem", "block", "request"): Count(2),
    }
    timed = Buckets([1] * (len(catalogue.OWN_S) + 1), 2.0)
    name = catalogue.PLUGIN.name
    assert thaw(freeze(State(histograms={name: {("redact",): timed}}))).histograms[name] == {
        ("redact", "admit"): timed
    }


def test_what_a_later_version_adds_is_no_error() -> None:
    data = msgspec.msgpack.encode({"counters": {}, "added_later": [1, 2]})
    assert thaw(data).newest == 0.0


@pytest.mark.parametrize("data", [b"\x00", b"{}", b"\xff\xff"])
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        thaw(data)


def test_histogram_bounds_reach_what_agents_need() -> None:
    assert catalogue.DURATION_S[0] == 0.01
    assert 1310.72 in catalogue.DURATION_S
    assert catalogue.DURATION_S[-1] >= 1800
    assert tuple(round(0.04 * 2**n, 2) for n in range(13)) == catalogue.FIRST_TOKEN_S
    assert catalogue.OWN_S[0] == 50e-6
