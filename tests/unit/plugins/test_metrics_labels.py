"""No caller can make the number of series explode, and nobody is named in a label."""

import pytest

from observed import SONNET, exchange, host, refusal
from tidegate.record import ExchangeRecord, ModelRecord, PrincipalRecord
from tidegate_plugins.metrics.config import MetricsConfig
from tidegate_plugins.metrics.observer import MetricsObserver
from tidegate_plugins.metrics.state import State, thaw


async def count(config: MetricsConfig, *records: ExchangeRecord) -> State:
    observer = MetricsObserver(config, host("metrics"))
    for record in records:
        await observer.on_record(record)
    return thaw(await observer.flush())


def requests(state: State, place: int) -> dict[str, int]:
    """Return how many requests each value of a label has."""
    found: dict[str, int] = {}
    for key, series in state.counters["tidegate_requests_total"].items():
        found[key[place]] = found.get(key[place], 0) + series.value
    return found


def dropped(state: State, label: str) -> int:
    return state.counters["tidegate_dropped_series_total"][label,].value


def answered(number: int, model: str) -> ExchangeRecord:
    return exchange(number, model=ModelRecord(model, model, model))


def asked(number: int, model: str) -> ExchangeRecord:
    return refusal(number, model=ModelRecord(model))


@pytest.mark.parametrize("name", ["gpt-4", "claude-", "claude-" + "x" * 61, "claude-A", "x" * 500])
async def test_what_is_no_model_id_is_other(name: str) -> None:
    state = await count(MetricsConfig(), asked(1, name), answered(2, SONNET))
    assert requests(state, 1) == {"other": 1, SONNET: 1}
    assert dropped(state, "model") == 0


async def test_configured_models_are_the_only_ones() -> None:
    config = MetricsConfig(models=("anthropic.claude-*", "house-model"))
    names = ["house-model", "anthropic.claude-x", SONNET, "house-model-2"]
    state = await count(config, *(answered(n, name) for n, name in enumerate(names)))
    assert requests(state, 1) == {"house-model": 1, "anthropic.claude-x": 1, "other": 2}


async def test_junk_cannot_crowd_out_models_that_answer() -> None:
    junk = [asked(number, f"claude-junk-{number}") for number in range(100)]
    real = [answered(number, f"claude-real-{number}") for number in range(8)]
    state = await count(MetricsConfig(label_limit=8), *junk, *real)
    found = requests(state, 1)
    assert {name: n for name, n in found.items() if "real" in name} == {
        f"claude-real-{number}": 1 for number in range(6)
    }
    assert found["other"] == 98 + 2
    assert dropped(state, "model") == 100


async def test_a_model_that_answers_keeps_its_place_and_frees_one() -> None:
    records = [asked(1, "claude-a"), answered(2, "claude-a"), asked(3, "claude-b")]
    state = await count(MetricsConfig(label_limit=4), *records)
    assert requests(state, 1) == {"claude-a": 2, "claude-b": 1}


async def test_every_other_label_has_a_limit_too() -> None:
    teams = [
        exchange(
            number, principal=PrincipalRecord("key", f"team-{number}"), stop_reason=f"s{number}"
        )
        for number in range(5)
    ]
    state = await count(MetricsConfig(label_limit=3), *teams, *teams)
    assert requests(state, 2) == {"team-0": 2, "team-1": 2, "team-2": 2, "other": 4}
    assert dropped(state, "team") == 4
    assert dropped(state, "stop_reason") == 4


async def test_who_asked_is_in_no_label() -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    await observer.on_record(exchange())
    text = observer.scrape("application/openmetrics-text; version=1.0.0")[0].decode()
    for private in ("ci-search", "session-1", "agent-1", "claude-cli", "req_upstream", "tg_"):
        assert private not in text


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "é", "{}"])
async def test_odd_values_are_escaped(text: str) -> None:
    observer = MetricsObserver(MetricsConfig(), host("metrics"))
    await observer.on_record(exchange(principal=PrincipalRecord("key", text)))
    shown = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    assert f'team="{shown}"'.encode() in observer.scrape("")[0]
