"""What each record adds to which series, read back from the exposition."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from observed import AT, SONNET, StandingClock, exchange, host, intent, refusal, vitals
from tidegate.errors import PluginError
from tidegate.plugin import JournalState, LoadedPlugin, ObserverLag
from tidegate.record import (
    DecisionRecord,
    EditRecord,
    GaugeRecord,
    ModelRecord,
    PolicyVitals,
    PrincipalRecord,
    Record,
    RefusedBy,
    SegmentStart,
    Timing,
    Usage,
    WriterEnd,
)
from tidegate.testing import make_inspection
from tidegate.testing.records import make_shadow_difference
from tidegate_plugins.metrics import plugin
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.policies import HEALTHY
from tidegate_plugins.prices import load

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SOURCES = ("final", "partial", "none")
Series = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def metrics(clock: StandingClock) -> AsyncIterator[MetricsObserver]:
    async with plugin.open(MetricsConfig(), host("metrics", clock=clock)) as observer:
        yield observer


async def feed(metrics: MetricsObserver, *records: Record) -> None:
    for record in records:
        await metrics.on_record(record)


def series(metrics: MetricsObserver) -> Series:
    text = metrics.scrape("text/plain")[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: MetricsObserver, name: str, **labels: str) -> float | None:
    return series(metrics).get((name, frozenset(labels.items())))


def names(metrics: MetricsObserver, name: str, label: str) -> set[str]:
    return {dict(labels)[label] for found, labels in series(metrics) if found == name}


async def test_a_complete_stream_is_one_request(metrics: MetricsObserver) -> None:
    await feed(metrics, intent(), exchange())
    labels = {
        "route": "messages",
        "model": SONNET,
        "team": "search",
        "stream": "true",
        "outcome": "complete",
        "status": "200",
    }
    assert value(metrics, "tidegate_requests_total", **labels) == 1
    assert value(metrics, "tidegate_stop_reasons_total", model=SONNET, stop_reason="end_turn") == 1
    assert value(metrics, "tidegate_observer_records_total", kind="intent") == 1
    assert value(metrics, "tidegate_observer_records_total", kind="exchange") == 1


async def test_tokens_are_counted_in_disjoint_types(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(1), exchange(2, usage=Usage(input=5, output=1)))
    found = {
        type_: value(metrics, "tidegate_tokens_total", model=SONNET, team="search", type=type_)
        for type_ in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    }
    assert found == {
        "input": 15,
        "cache_read": 20,
        "cache_write_5m": 30,
        "cache_write_1h": 40,
        "output": 52,
    }
    assert value(metrics, "tidegate_reasoning_tokens_total", model=SONNET, team="search") == 7


async def test_durations_fall_into_their_buckets(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange())
    key = {"route": "messages", "model": SONNET, "stream": "true", "outcome": "complete"}
    name = "tidegate_request_duration_seconds"
    assert value(metrics, f"{name}_sum", **key) == 2.0
    assert value(metrics, f"{name}_bucket", **key, le="1.28") == 0
    assert value(metrics, f"{name}_bucket", **key, le="2.56") == 1
    assert value(metrics, f"{name}_bucket", **key, le="2621.44") == 1
    assert value(metrics, f"{name}_bucket", **key, le="+Inf") == 1
    first = "tidegate_time_to_first_token_seconds_bucket"
    assert value(metrics, first, model=SONNET, le="0.32") == 0
    assert value(metrics, first, model=SONNET, le="0.64") == 1
    each = "tidegate_time_per_output_token_seconds_sum"
    assert value(metrics, each, model=SONNET) == pytest.approx(1.5 / 50)


async def test_a_streams_longest_gap_falls_into_its_bucket(metrics: MetricsObserver) -> None:
    even = Timing(total=10.0, first_token=5.0, last_byte=10.0)
    await feed(metrics, exchange(1), exchange(2, timing_ms=even))
    name = "tidegate_stream_longest_gap_seconds"
    assert value(metrics, f"{name}_sum", model=SONNET) == 0.15
    assert value(metrics, f"{name}_count", model=SONNET) == 1
    assert value(metrics, f"{name}_bucket", model=SONNET, le="0.08") == 0
    assert value(metrics, f"{name}_bucket", model=SONNET, le="0.16") == 1


@pytest.mark.parametrize(
    ("phase", "seconds"), [("total", 0.0015), ("request", 0.0012), ("response", 0.0003)]
)
async def test_overhead_has_phases(metrics: MetricsObserver, phase: str, seconds: float) -> None:
    assert value(metrics, "tidegate_overhead_seconds_count", phase=phase) == 0
    await feed(metrics, exchange())
    assert value(metrics, "tidegate_overhead_seconds_count", phase=phase) == 1
    assert value(metrics, "tidegate_overhead_seconds_sum", phase=phase) == pytest.approx(seconds)


async def test_a_finding_is_a_decision_without_a_duration(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange())
    key = {"plugin": "redact", "rule": "aws-key", "mode": "enforce", "phase": "admit"}
    assert value(metrics, "tidegate_policy_decisions_total", **key, verdict="edit") == 1
    assert value(metrics, "tidegate_policy_decisions_total", **key, verdict="found") == 1
    timed = {"plugin": "redact", "phase": "admit"}
    assert value(metrics, "tidegate_plugin_duration_seconds_count", **timed) == 1
    took = value(metrics, "tidegate_plugin_duration_seconds_sum", **timed)
    assert took == pytest.approx(0.0009)


async def test_shadow_decisions_are_told_apart(metrics: MetricsObserver) -> None:
    shadow = DecisionRecord("models", "not_allowed", "refuse", "shadow", us=3)
    await feed(metrics, exchange(decisions=(shadow,)))
    key = {"plugin": "models", "rule": "not_allowed", "verdict": "refuse", "phase": "admit"}
    assert value(metrics, "tidegate_policy_decisions_total", **key, mode="shadow") == 1
    assert value(metrics, "tidegate_policy_decisions_total", **key, mode="enforce") is None


def redact(rule: str, verdict: str, mode: str = "enforce", us: int = 0) -> DecisionRecord:
    return DecisionRecord("redact", rule, verdict, mode, "/messages/0/content", us)


async def test_only_what_redactors_did_are_redactions(metrics: MetricsObserver) -> None:
    clamp = EditRecord("/max_tokens", "max_tokens", 5, 4, plugin="limits")
    secret = EditRecord("/messages/0/content", "aws-key", 40, 24, plugin="redact")
    other = DecisionRecord("models", "odd_id", "found", "enforce")
    decisions = (other, redact("rules", "edit", us=900), redact("jwt", "found"))
    allowed = redact("jwt", "allowed")
    await feed(metrics, exchange(edits=(clamp, secret, secret), decisions=(*decisions, allowed)))
    total = "tidegate_redactions_total"
    assert names(metrics, total, "rule") == {"aws-key", "jwt"}
    asked = {"direction": "request"}
    assert value(metrics, total, rule="aws-key", action="mask", **asked) == 2
    assert value(metrics, total, rule="jwt", action="detect", **asked) == 1


async def test_a_refusal_counts_what_was_blocked(metrics: MetricsObserver) -> None:
    decisions = (redact("jwt", "refuse", us=10), redact("pem", "found"), redact("jwt", "blocked"))
    shadow = redact("jwt", "blocked", "shadow")
    await feed(metrics, refusal(decisions=decisions), exchange(decisions=(shadow,), edits=()))
    total = "tidegate_redactions_total"
    asked = {"direction": "request"}
    assert value(metrics, total, rule="jwt", action="block", **asked) == 1
    assert value(metrics, total, rule="pem", action="detect", **asked) == 1
    assert value(metrics, total, rule="jwt", action="detect", **asked) is None


async def test_the_time_and_size_of_what_redactors_searched(metrics: MetricsObserver) -> None:
    late = (redact("deadline", "refuse", us=5_000_000), redact("deadline", "not_evaluated"))
    await feed(metrics, exchange(), exchange(decisions=late), exchange(decisions=(late[0],)))
    seconds = "tidegate_redact_seconds_sum"
    assert value(metrics, seconds, plugin="redact", verdict="edit") == pytest.approx(0.0009)
    assert value(metrics, seconds, plugin="redact", verdict="not_evaluated") == 5
    assert value(metrics, seconds, plugin="redact", verdict="refuse") == 5
    searched = {"plugin": "redact", "direction": "request"}
    assert value(metrics, "tidegate_redact_bytes_total", **searched) == 2000
    key = {"plugin": "redact", "rule": "deadline", "mode": "enforce", "verdict": "not_evaluated"}
    assert value(metrics, "tidegate_policy_decisions_total", **key, phase="admit") == 1


async def test_what_recovery_closed_has_no_duration(metrics: MetricsObserver) -> None:
    lost = exchange(outcome="worker_lost", status=None, usage=None, timing_ms=Timing())
    await feed(metrics, intent(), lost)
    found = series(metrics)
    assert [dict(labels)["status"] for name, labels in found if name == "tidegate_requests_total"]
    assert value(metrics, "tidegate_overhead_seconds_count", phase="total") == 0
    assert value(metrics, "tidegate_inflight_requests") == 0


@pytest.mark.parametrize("route", ["probe", "options", "none"])
async def test_local_routes_are_counted_but_not_timed(metrics: MetricsObserver, route: str) -> None:
    await feed(metrics, refusal(route=route, model=ModelRecord(), principal=PrincipalRecord()))
    assert names(metrics, "tidegate_requests_total", "route") == {route}
    assert names(metrics, "tidegate_requests_total", "model") == {"none"}
    assert value(metrics, "tidegate_overhead_seconds_count", phase="total") == 0
    assert names(metrics, "tidegate_request_duration_seconds_count", "route") == set()


async def test_inflight_is_what_has_left_and_is_not_over(metrics: MetricsObserver) -> None:
    await feed(metrics, intent(1), intent(2), exchange(1), refusal(3))
    assert value(metrics, "tidegate_inflight_requests") == 1


async def test_a_segment_tells_intents_whose_own_segment_is_gone(metrics: MetricsObserver) -> None:
    start = SegmentStart(at=AT, writer="w", sequence=7, open=(intent(1), intent(2)))
    await feed(metrics, intent(2), start, exchange(1))
    assert value(metrics, "tidegate_inflight_requests") == 1


@pytest.mark.parametrize(
    ("outcome", "error_type", "label"),
    [
        ("upstream_error", "rate_limit_error", "rate_limit_error"),
        ("upstream_error_event", "overloaded_error", "overloaded_error"),
        ("upstream_cut", None, "upstream_cut"),
        ("unreachable", None, "unreachable"),
    ],
)
async def test_upstream_errors_have_a_type(
    metrics: MetricsObserver, outcome: str, error_type: str | None, label: str
) -> None:
    await feed(metrics, exchange(outcome=outcome, error_type=error_type), refusal(2))
    assert names(metrics, "tidegate_upstream_errors_total", "error_type") == {label}


async def test_usage_that_could_not_be_read_is_counted(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(meter="inflate_failed", usage=None))
    assert value(metrics, "tidegate_usage_unparsed_total", reason="inflate_failed") == 1


@pytest.mark.parametrize("usage", [Usage(output=10**400), Usage(input=-1), Usage(cache_read=2**63)])
async def test_absurd_usage_is_counted_as_such_and_not_added(
    metrics: MetricsObserver, usage: Usage
) -> None:
    await feed(metrics, exchange(1, usage=usage), exchange(2))
    assert value(metrics, "tidegate_usage_unparsed_total", reason="implausible") == 1
    key = {"model": SONNET, "team": "search"}
    assert value(metrics, "tidegate_tokens_total", **key, type="output") == 51
    await metrics.flush()


async def test_upstream_limits_show_the_newest_answer_for_a_while(
    metrics: MetricsObserver, clock: StandingClock
) -> None:
    def answer(number: int, remaining: str) -> Record:
        prefix = "anthropic-ratelimit-input-tokens"
        limits = {
            f"{prefix}-remaining": remaining,
            f"{prefix}-limit": "4000",
            f"{prefix}-reset": "z",
        }
        return exchange(number, upstream_limits=limits)

    other = msgspec.structs.replace(answer(3, "7"), upstream="other")
    await feed(metrics, answer(5, "1500"), answer(4, "2000"), other)
    name, key = "tidegate_upstream_ratelimit", {"limit": "input-tokens"}
    assert value(metrics, f"{name}_remaining", **key, upstream="default") == 1500
    assert value(metrics, f"{name}_remaining", **key, upstream="other") == 7
    assert value(metrics, f"{name}_limit", **key, upstream="default") == 4000
    clock.at = AT + 5 + 301
    assert value(metrics, f"{name}_remaining", **key, upstream="default") is None


async def test_vitals_are_gauges_until_the_worker_falls_silent(
    metrics: MetricsObserver, clock: StandingClock
) -> None:
    await feed(metrics, vitals(0), vitals(1, loop_lag_ms=1.0), vitals(0, at=AT - 5, rss_bytes=1))
    assert value(metrics, "tidegate_event_loop_lag_seconds", worker="0") == 0.0125
    assert value(metrics, "tidegate_worker_resident_memory_bytes", worker="0") == 50_000_000
    assert value(metrics, "tidegate_upstream_connections", worker="1", state="open") == 5
    assert value(metrics, "tidegate_config_info", worker="1", config="c0ffee") == 1
    clock.at = AT + 121
    assert value(metrics, "tidegate_event_loop_lag_seconds", worker="0") is None


async def test_reloads_never_count_down(metrics: MetricsObserver) -> None:
    await feed(
        metrics,
        vitals(reloads=2, reload_failures=1),
        vitals(reloads=3, reload_failures=1, at=AT + 1),
        vitals(reloads=1, at=AT + 2),  # the same pid again, in a container
        vitals(reloads=1, at=AT + 3, pid=7),
    )
    assert value(metrics, "tidegate_config_reloads_total", worker="0", result="ok") == 5
    assert value(metrics, "tidegate_config_reloads_total", worker="0", result="failed") == 1


async def test_a_writer_found_dead_is_told_apart(metrics: MetricsObserver) -> None:
    await feed(metrics, WriterEnd(at=AT, writer="w", by="recovery"))
    assert value(metrics, "tidegate_writers_ended_total", by="recovery") == 1
    assert value(metrics, "tidegate_writers_ended_total", by="writer") == 0


async def test_the_process_and_the_build_show_themselves(metrics: MetricsObserver) -> None:
    assert value(metrics, "tidegate_build_info", version="1.2.3") == 1
    assert value(metrics, "tidegate_config_info", worker="observatory", config="c0ffee") == 1
    assert value(metrics, "process_resident_memory_bytes")


async def test_the_plugins_in_use_show_themselves() -> None:
    plugins = [LoadedPlugin("seen", "metrics", "observer", "enforce", "1.2.3")]
    there = replace(host("metrics"), plugins=lambda: plugins)
    metrics = MetricsObserver(MetricsConfig(), there)
    name = "tidegate_plugin_loaded"
    key = {"use": "metrics", "stage": "observer", "mode": "enforce", "version": "1.2.3"}
    assert value(metrics, name, plugin="seen", **key) == 1
    plugins.clear()
    assert names(metrics, name, "plugin") == set()


async def test_exemplars_point_to_traces_under_openmetrics_only(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(7))
    data, content_type = metrics.scrape("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    lines = [line for line in data.decode().splitlines() if f'trace_id="{7:032x}"' in line]
    assert {line.partition("{")[0] for line in lines} == {
        "tidegate_requests_total",
        "tidegate_request_duration_seconds_bucket",
        "tidegate_time_to_first_token_seconds_bucket",
        "tidegate_stream_longest_gap_seconds_bucket",
    }
    assert b"trace_id" not in metrics.scrape("text/plain")[0]


async def test_counters_written_by_something_else_are_not_overwritten() -> None:
    with pytest.raises(PluginError, match="counters cannot be read"):
        async with plugin.open(MetricsConfig(), host("metrics", state=b"\x00not ours")):
            pass


async def test_what_was_used_has_a_price_in_integers(metrics: MetricsObserver) -> None:
    prices = load()
    found = [exchange(1), exchange(2, usage=Usage(input=7, cache_write_1h=11, output=13))]
    await feed(metrics, *found)
    expected: dict[str, int] = {}
    for record in found:
        for type_, nano_usd in prices.cost(record).by_type.items():
            expected[type_] = expected.get(type_, 0) + nano_usd
    assert len(expected) == 5
    name, key = "tidegate_cost_usd_total", {"model": SONNET, "team": "search"}
    for type_, nano_usd in expected.items():
        assert value(metrics, name, **key, type=type_) == nano_usd / 10**9
    assert value(metrics, "tidegate_cost_unpriced_requests_total", model=SONNET) is None


async def test_what_has_no_price_is_counted(metrics: MetricsObserver) -> None:
    unknown = "claude-of-next-year"
    await feed(metrics, exchange(1, model=ModelRecord(unknown, unknown, unknown)))
    assert value(metrics, "tidegate_cost_unpriced_requests_total", model=unknown) == 1


async def test_prices_may_come_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"missing\.toml"):
        MetricsObserver(MetricsConfig(prices=str(tmp_path / "missing.toml")), host("metrics"))


@pytest.mark.parametrize("source", ["final", "partial", "none"])
async def test_how_much_of_usage_is_known(metrics: MetricsObserver, source: str) -> None:
    await feed(metrics, exchange(1, usage_source=source), refusal(2), exchange(3, route="models"))
    known = {s: value(metrics, "tidegate_usage_sources_total", source=s) for s in SOURCES}
    assert known == {s: float(s == source) for s in SOURCES}


async def test_the_size_of_an_exchange_in_tokens(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(1), exchange(2, route="count_tokens", usage=Usage(input=3)))
    name = "tidegate_request_tokens"
    assert value(metrics, f"{name}_sum", model=SONNET, direction="input") == 10 + 20 + 30 + 40
    assert value(metrics, f"{name}_sum", model=SONNET, direction="output") == 51
    assert value(metrics, f"{name}_count", model=SONNET, direction="output") == 1


async def test_the_providers_own_tools_are_counted(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(1, usage=Usage(web_search_requests=2, web_fetch_requests=1)))
    name = "tidegate_server_tool_requests_total"
    assert value(metrics, name, model=SONNET, tool="web_search") == 2
    assert value(metrics, name, model=SONNET, tool="web_fetch") == 1


async def test_refusals_name_who_refused(metrics: MetricsObserver) -> None:
    core = RefusedBy("gateway", "body_too_large")
    stranger = refusal(2, refused_by=core, decisions=(), principal=PrincipalRecord())
    await feed(metrics, refusal(1), stranger, exchange(3))
    name = "tidegate_refusals_total"
    assert value(metrics, name, plugin="models", rule="not_allowed", team="search") == 1
    assert value(metrics, name, plugin="gateway", rule="body_too_large", team="none") == 1
    assert len(names(metrics, name, "rule")) == 2


async def test_refusals_have_no_more_teams_than_there_is_room_for() -> None:
    metrics = MetricsObserver(MetricsConfig(label_limit=2), host("metrics"))
    for number in range(5):
        await metrics.on_record(refusal(number, principal=PrincipalRecord("k", f"team-{number}")))
    name = "tidegate_refusals_total"
    assert names(metrics, name, "team") == {"team-0", "team-1", "other"}
    key = {"plugin": "models", "rule": "not_allowed"}
    assert value(metrics, name, **key, team="other") == 3


async def test_streams_are_counted_by_their_end(metrics: MetricsObserver) -> None:
    cut = exchange(2, outcome="upstream_cut")
    await feed(metrics, exchange(1), cut, exchange(3, stream=False), refusal(4))
    name = "tidegate_streams_total"
    assert value(metrics, name, model=SONNET, outcome="complete") == 1
    assert value(metrics, name, model=SONNET, outcome="upstream_cut") == 1
    assert names(metrics, name, "outcome") == {"complete", "upstream_cut"}


async def test_what_the_upstream_answered_is_told_from_what_we_did(
    metrics: MetricsObserver,
) -> None:
    silent = Timing(admit=1, dispatched=2.0, total=1002.0, connect=1.0)
    unreachable = exchange(2, status=502, outcome="unreachable", timing_ms=silent, usage=None)
    await feed(metrics, exchange(1), unreachable)
    name = "tidegate_upstream_responses_total"
    assert value(metrics, name, model=SONNET, status="200", upstream="default") == 1
    assert names(metrics, name, "status") == {"200"}
    took = "tidegate_upstream_duration_seconds_sum"
    key = {"model": SONNET, "stream": "true", "upstream": "default"}
    assert value(metrics, took, **key, error_type="none") == pytest.approx(1.997)
    assert value(metrics, took, **key, error_type="unreachable") == pytest.approx(1.0)
    assert value(metrics, "tidegate_upstream_connect_seconds_count") == 1


async def test_open_streams_are_a_part_of_what_is_in_flight(metrics: MetricsObserver) -> None:
    plain = msgspec.structs.replace(intent(3), stream=False)
    await feed(metrics, intent(1), intent(2), plain, exchange(1))
    assert value(metrics, "tidegate_inflight_requests") == 2
    assert value(metrics, "tidegate_open_streams") == 1


async def test_the_last_reload_of_each_worker_shows(metrics: MetricsObserver) -> None:
    name = "tidegate_config_last_reload"
    await feed(metrics, vitals(0), vitals(1))
    await feed(metrics, vitals(0, at=AT + 5, reloads=1), vitals(1, at=AT + 6, reload_failures=1))
    await feed(metrics, vitals(0, at=AT + 10, reloads=1), vitals(1, at=AT + 11, reload_failures=1))
    assert value(metrics, f"{name}_successful", worker="0") == 1
    assert value(metrics, f"{name}_successful", worker="1") == 0
    assert value(metrics, f"{name}_timestamp_seconds", worker="0") == AT + 5
    assert value(metrics, f"{name}_timestamp_seconds", worker="1") == AT + 6


async def test_openmetrics_says_since_when_each_series_counts(metrics: MetricsObserver) -> None:
    await feed(metrics, exchange(5))
    restored = MetricsObserver(
        MetricsConfig(), host("metrics", state=await metrics.flush(), clock=StandingClock(AT + 99))
    )
    await feed(restored, exchange(6, outcome="upstream_cut"))
    data = restored.scrape("application/openmetrics-text; version=1.0.0")[0].decode()
    created = {
        sample.labels["outcome"]: sample.value
        for family in parse_openmetrics(data)
        for sample in family.samples
        if sample.name == "tidegate_requests_created"
    }
    assert created == {"complete": AT, "upstream_cut": AT + 5}
    assert "tidegate_request_duration_seconds_created{" in data
    assert b"_created" not in metrics.scrape("text/plain")[0]


async def test_records_that_a_worker_gave_up_are_counted_over_restarts(
    metrics: MetricsObserver,
) -> None:
    name = "tidegate_journal_lost_records_total"
    await feed(metrics, vitals(), vitals(at=AT + 5, journal_lost=3))
    assert value(metrics, name, worker="0") == 3
    await feed(metrics, vitals(at=AT + 9, pid=7, journal_lost=2), vitals(at=AT + 12, pid=7))
    assert value(metrics, name, worker="0") == 5


async def test_the_lag_of_every_observer_shows_and_what_it_will_never_see() -> None:
    lag = ObserverLag(observer="tracing", bytes=700, records=3, seconds=1.5, lost_records=4)
    size = JournalState(bytes=9000, segments=2, removed_segments=1, removed_records=6)
    asked = replace(host("metrics"), lags=lambda: [lag], journal=lambda: size)
    observer = MetricsObserver(MetricsConfig(), asked)
    key = {"observer": "tracing"}
    assert value(observer, "tidegate_observer_lag_bytes", **key) == 700
    assert value(observer, "tidegate_observer_unsafe_records", **key) == 3
    assert value(observer, "tidegate_observer_lag_seconds", **key) == 1.5
    assert value(observer, "tidegate_observer_lost_records_total", **key) == 4
    assert value(observer, "tidegate_journal_bytes") == 9000
    assert value(observer, "tidegate_journal_segments") == 2
    assert value(observer, "tidegate_journal_removed_segments_total") == 1
    assert value(observer, "tidegate_journal_removed_records_total") == 6


async def test_without_the_disk_the_counters_still_show() -> None:
    def gone() -> list[ObserverLag]:
        raise OSError("no such directory")

    observer = MetricsObserver(MetricsConfig(), replace(host("metrics"), lags=gone))
    await feed(observer, exchange())
    assert names(observer, "tidegate_requests_total", "model") == {SONNET}


async def test_findings_in_answers_are_counted_apart(metrics: MetricsObserver) -> None:
    found = DecisionRecord("redact", "jwt", "found", "enforce", "/content/0/text")
    missed = DecisionRecord("redact", "too_large", "not_evaluated", "enforce")
    await feed(metrics, make_inspection(exchange(), found, found))
    await feed(metrics, make_inspection(exchange(2), missed))
    total = "tidegate_redactions_total"
    assert value(metrics, total, rule="jwt", action="detect", direction="response") == 2
    assert value(metrics, total, rule="jwt", action="detect", direction="request") is None
    decided = {"plugin": "redact", "mode": "enforce", "phase": "inspect"}
    name = "tidegate_policy_decisions_total"
    assert value(metrics, name, **decided, rule="none", verdict="inspect") == 2
    assert value(metrics, name, **decided, rule="too_large", verdict="not_evaluated") == 1
    size = exchange().bytes.response
    assert (
        value(metrics, "tidegate_redact_bytes_total", plugin="redact", direction="response") == size
    )
    assert value(metrics, "tidegate_observer_records_total", kind="inspection") == 2


def report(*gauges: GaugeRecord, plugin: str = "quota", healthy: bool = True) -> PolicyVitals:
    return PolicyVitals(plugin, healthy, gauges=gauges)


async def test_what_policies_report_of_themselves_shows(metrics: MetricsObserver) -> None:
    used = GaugeRecord("quota_used_ratio", {"team": "search"}, 0.5)
    pending = GaugeRecord("quota_pending_charges", {}, 2)
    await feed(metrics, vitals(policies=(report(used, pending), report(plugin="redact"))))
    await feed(metrics, vitals(1, policies=(report(healthy=False),)))
    name = "tidegate_policy_healthy"
    assert value(metrics, name, plugin="quota", worker="0") == 1
    assert value(metrics, name, plugin="redact", worker="0") == 1
    assert value(metrics, name, plugin="quota", worker="1") == 0
    place = {"plugin": "quota", "worker": "0"}
    assert value(metrics, "tidegate_quota_used_ratio", **place, team="search") == 0.5
    assert value(metrics, "tidegate_quota_pending_charges", **place) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("requests_total", "requests", "request_duration_seconds_bucket", "policy_healthy"),
        *("Upper", "two words", "newline\n", "a" * 90, ""),
    ],
)
async def test_no_policy_can_spoil_the_exposition(metrics: MetricsObserver, name: str) -> None:
    odd = GaugeRecord(name, {"worker": "9", 'x"': "y"}, float("nan"))
    before = set(series(metrics))
    await feed(metrics, vitals(policies=(report(odd),)))
    added = {found for found, _ in set(series(metrics)) - before}
    assert f"tidegate_{name}" not in added - {HEALTHY}
    list(parse_openmetrics(metrics.scrape(OPENMETRICS)[0].decode()))


async def test_a_policy_has_no_more_series_than_a_label_has_values() -> None:
    observer = MetricsObserver(MetricsConfig(label_limit=3), host("metrics"))
    many = [GaugeRecord("many", {"n": str(number)}, number) for number in range(9)]
    await feed(observer, vitals(policies=(report(*many),)))
    assert names(observer, "tidegate_many", "n") == {"0", "1", "2"}


# a second configuration


async def test_differences_of_the_second_configuration_are_counted(
    metrics: MetricsObserver,
) -> None:
    refused = make_shadow_difference(exchange())
    values = {"what": "changed", "live": "claude-a 500", "candidate": "claude-a 100"}
    await feed(metrics, refused, refused, msgspec.structs.replace(refused, **values))
    name = "tidegate_shadow_differences_total"
    rule = {"live": "leaves", "candidate": "models:not_allowed"}
    assert value(metrics, name, difference="refused", **rule) == 2
    assert value(metrics, name, difference="changed", live="leaves", candidate="leaves") == 1
