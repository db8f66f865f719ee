"""Prices, against figures worked out by hand from the price sheet (messages-api, section 3.3).

Each figure is written as tokens times nanodollars a token: a dollar per million tokens is
1000 nanodollars a token.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.recordings import load as load_recordings
from tidegate.errors import PluginError
from tidegate.pipeline.conclude import usage_of
from tidegate.record import ExchangeRecord, ModelRecord, Usage
from tidegate.testing import make_record
from tidegate.wire.meter import meter_for
from tidegate_plugins import prices

PRICES = prices.load()


def day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def of(model: str | None, at: str = "2026-11-20", **usage: Any) -> ExchangeRecord:
    fields = {k: usage.pop(k) for k in ("stop_reason", "usage_source") if k in usage}
    models = ModelRecord(model, model, model)
    return make_record(model=models, at=day(at), usage=Usage(**usage), **fields)


def raw(kind: str, model: str | None = None, **tokens: Any) -> dict[str, Any]:
    found = {"type": kind, **tokens}
    return found if model is None else {**found, "model": model}


BY_HAND = {
    "opus 4.6, plain": (
        of("claude-opus-4-6", input=17, output=20),
        17 * 5000 + 20 * 25_000,
    ),
    "sonnet 4.6, every class": (
        of("claude-sonnet-4-6", input=12, cache_read=1000, cache_write_5m=30, output=250),
        12 * 3000 + 1000 * 300 + 30 * 3750 + 250 * 15_000,
    ),
    "1-hour writes cost twice the input": (
        of("claude-sonnet-4-6", input=3, cache_write_1h=2000, output=7),
        3 * 3000 + 2000 * 6000 + 7 * 15_000,
    ),
    "both writes at once": (
        of("claude-opus-5-5", cache_write_5m=100, cache_write_1h=10, output=1),
        100 * 5000 + 10 * 8000 + 1 * 20_000,
    ),
    "fable 5.2 reads at a fortieth": (
        of("claude-fable-5-2", cache_read=50_000, output=10),
        50_000 * 200 + 10 * 40_000,
    ),
    "mythos 5.1 as fable 5.1": (
        of("claude-mythos-5-1", input=4, cache_read=8, output=2),
        4 * 10_000 + 8 * 250 + 2 * 50_000,
    ),
    "fable 5 reads at a tenth": (of("claude-fable-5", cache_read=8), 8 * 1000),
    "sonnet 5.5 reads, before the change": (
        of("claude-sonnet-5-5", "2026-10-06T23:59:59", cache_read=1000),
        1000 * 200,
    ),
    "sonnet 5.5 reads, from the day of the change": (
        of("claude-sonnet-5-5", "2026-10-07T00:00:00", cache_read=1000),
        1000 * 100,
    ),
    "haiku 5.5, prompt of exactly 100k": (
        of("claude-haiku-5-5", input=10_000, cache_read=90_000, output=100),
        10_000 * 100 + 90_000 * 10 + 100 * 500,
    ),
    "haiku 5.5, one token more: the whole request": (
        of("claude-haiku-5-5", input=10_001, cache_read=90_000, output=100),
        10_001 * 500 + 90_000 * 50 + 100 * 2500,
    ),
    "haiku 5.5, 5-minute writes are an eighth of a dollar": (
        of("claude-haiku-5-5", cache_write_5m=3),
        3 * 125,
    ),
    "haiku 4.5 by its dated id": (
        of("claude-haiku-4-5-20251001", input=1000, output=100),
        1000 * 1000 + 100 * 5000,
    ),
    "haiku 3.5 by its -latest id": (
        of("claude-3-5-haiku-latest", input=10, output=10),
        10 * 800 + 10 * 4000,
    ),
    "sonnet 4.5 beyond 200k": (
        of("claude-sonnet-4-5-20250929", input=200_001, output=10),
        200_001 * 6000 + 10 * 22_500,
    ),
    "sonnet 4.6 beyond 200k: no premium": (
        of("claude-sonnet-4-6", input=200_001, output=10),
        200_001 * 3000 + 10 * 15_000,
    ),
    "[1m] is no other model": (
        of("claude-opus-4-7[1m]", input=300_000, output=1),
        300_000 * 5000 + 25_000,
    ),
    "a cloud's spelling": (
        of("us.anthropic.claude-opus-4-1-20250805-v1:0", input=2, output=2),
        2 * 15_000 + 2 * 75_000,
    ),
    "another cloud's spelling": (
        of("claude-sonnet-4-5@20250929", input=2, output=2),
        2 * 3000 + 2 * 15_000,
    ),
    "a web search is a cent": (
        of("claude-opus-4-1-20250805", input=10_423, output=341, web_search_requests=1),
        10_423 * 15_000 + 341 * 75_000 + 10_000_000,
    ),
    "a web fetch is its tokens": (
        of("claude-opus-5", input=100, output=1, web_fetch_requests=3),
        100 * 5000 + 25_000,
    ),
    "batch: half, but not the searches": (
        of("claude-opus-5", input=10, output=10, web_search_requests=2, service_tier="batch"),
        10 * 2500 + 10 * 12_500 + 2 * 10_000_000,
    ),
    "batch: what is half a nanodollar is rounded up": (
        of("claude-haiku-5-5", cache_write_5m=1, service_tier="batch"),
        63,
    ),
    "fast mode": (
        of("claude-opus-4-8", input=10, cache_read=10, cache_write_1h=5, output=10, speed="fast"),
        10 * 10_000 + 10 * 1000 + 5 * 20_000 + 10 * 50_000,
    ),
    "in the US: a tenth more": (
        of("claude-opus-4-6", input=1000, output=100, inference_geo="us"),
        1000 * 5500 + 100 * 27_500,
    ),
    "in the US, before 4.6: no more": (
        of("claude-haiku-4-5", input=1000, output=100, inference_geo="us"),
        1000 * 1000 + 100 * 5000,
    ),
    "in the US, batch, fast: all at once": (
        of("claude-opus-5-5", input=100, output=10, inference_geo="us", service_tier="batch", speed="fast"),
        100 * 4400 + 10 * 22_000,
    ),
    "elsewhere: no factor": (
        of("claude-opus-4-6", input=1000, inference_geo="global"),
        1000 * 5000,
    ),
    "iterations, with an advisor of another model": (
        of("claude-sonnet-5", input=2482, output=50, iterations=(
            raw("message", input_tokens=1128, output_tokens=30),
            raw("advisor_message", "claude-opus-5", input_tokens=2564, output_tokens=200),
            raw("message", input_tokens=1354, output_tokens=20),
        )),
        1128 * 2000 + 30 * 10_000 + 2564 * 5000 + 200 * 25_000 + 1354 * 2000 + 20 * 10_000,
    ),
    "compaction is only in the iterations": (
        of("claude-opus-4-6", input=181, output=8, iterations=(
            raw("compaction", input_tokens=100, cache_read_input_tokens=55_096, output_tokens=83),
            raw("message", "claude-opus-4-6", input_tokens=181, output_tokens=8),
        )),
        100 * 5000 + 55_096 * 500 + 83 * 25_000 + 181 * 5000 + 8 * 25_000,
    ),
    "iterations with their own split of writes": (
        of("claude-opus-4-6", iterations=(
            raw("message", cache_creation_input_tokens=300, output_tokens=1,
                cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}),
            raw("message", cache_creation_input_tokens=40, output_tokens=1),
        )),
        100 * 6250 + 200 * 10_000 + 25_000 + 40 * 6250 + 25_000,
    ),
    "fallback: the attempt that was declined is free": (
        of("claude-opus-4-8", input=500, output=60, iterations=(
            raw("message", "claude-fable-5-2", input_tokens=480, output_tokens=0),
            raw("fallback_message", "claude-opus-4-8", input_tokens=500, output_tokens=60),
        )),
        500 * 5000 + 60 * 25_000,
    ),
    "fallback: the attempt that had begun is not": (
        of("claude-opus-4-8", input=500, output=60, iterations=(
            raw("message", "claude-fable-5-2", input_tokens=480, output_tokens=9),
            raw("fallback_message", "claude-opus-4-8", input_tokens=500, output_tokens=60),
        )),
        480 * 8000 + 9 * 40_000 + 500 * 5000 + 60 * 25_000,
    ),
    "iterations that say nothing": (
        of("claude-opus-4-6", input=10, output=1, iterations=({"type": "message"}, {"x": None})),
        10 * 5000 + 25_000,
    ),
    "refused before any output": (
        of("claude-fable-5-2", input=500, output=0, stop_reason="refusal"),
        0,
    ),
    "refused in mid-answer": (
        of("claude-fable-5-2", input=500, output=12, stop_reason="refusal"),
        500 * 8000 + 12 * 40_000,
    ),
    "a cache pre-warmed: no output, and no refusal": (
        of("claude-opus-5", cache_write_1h=1000, output=0, stop_reason="max_tokens"),
        1000 * 10_000,
    ),
    "broken off: what is known": (
        of("claude-sonnet-4-6", input=900, output=2, usage_source="partial", stop_reason=None),
        900 * 3000 + 2 * 15_000,
    ),
    "an unknown model: the default": (
        of("claude-nobody-9", input=1000, cache_write_1h=10, output=10),
        1000 * 5000 + 10 * 10_000 + 10 * 25_000,
    ),
    "no model at all: the default": (of(None, input=1), 5000),
}  # fmt: skip


@pytest.mark.parametrize(("record", "nano_usd"), BY_HAND.values(), ids=BY_HAND)
def test_a_record_costs_what_the_sheet_says(record: ExchangeRecord, nano_usd: int):
    cost = PRICES.cost(record)

    assert cost.nano_usd == nano_usd
    assert sum(cost.by_type.values()) == nano_usd


def test_there_is_a_part_for_each_type():
    record = of(
        "claude-opus-5", input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5,
        web_search_requests=6,
    )  # fmt: skip

    assert PRICES.cost(record).by_type == {
        "input": 5000,
        "output": 2 * 25_000,
        "cache_read": 3 * 500,
        "cache_write_5m": 4 * 6250,
        "cache_write_1h": 5 * 10_000,
        "server_tools": 60_000_000,
    }


def test_no_usage_costs_nothing():
    assert PRICES.cost(make_record(usage=None)).nano_usd == 0


@pytest.mark.parametrize(
    ("record", "priced", "model"),
    [
        (of("claude-haiku-4-5-20251001", input=1), True, "claude-haiku-4-5"),
        (of("claude-mythos-5-2", input=1), True, "claude-mythos-5-2"),
        (of("claude-opus-4-7-evil", input=1), False, "default"),
        (of("claude-opus-4-7 ", input=1), False, "default"),
        (of("claude-sonnet-4-6", input=1, speed="fast"), False, "claude-sonnet-4-6"),
        (of("claude-opus-5", iterations=(raw("m", "x", input_tokens=1),)), False, "claude-opus-5"),
        (
            of("claude-opus-5", speed="fast", iterations=(
                raw("message", input_tokens=1),
                raw("advisor_message", "claude-sonnet-5", input_tokens=1),
            )),
            True,
            "claude-opus-5",
        ),
    ],
)  # fmt: skip
def test_it_says_what_it_does_not_know(record: ExchangeRecord, priced: bool, model: str):
    cost = PRICES.cost(record)

    assert (cost.priced, cost.model) == (priced, model)


@pytest.mark.parametrize(
    ("model", "nano_usd"),
    [
        (ModelRecord("claude-opus-5", "claude-opus-5", "claude-haiku-4-5"), 1000),
        (ModelRecord("claude-opus-5", "claude-sonnet-5", None), 2000),
        (ModelRecord("claude-opus-5", None, None), 5000),
    ],
)
def test_the_model_that_answered_is_billed(model: ModelRecord, nano_usd: int):
    assert PRICES.cost(make_record(model=model, usage=Usage(input=1))).nano_usd == nano_usd


def test_an_estimate_takes_nothing_for_cached():
    assert PRICES.estimate("claude-opus-5", 1000, 10) == 1000 * 5000 + 10 * 25_000
    assert PRICES.estimate("claude-haiku-5-5", 100_001, 1) == 100_001 * 500 + 2500
    assert PRICES.estimate("claude-nobody-9", 10, 1) == 10 * 5000 + 25_000


# the operator's file


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return path


ROW = "input = 1\ncache_write_5m = 1\ncache_write_1h = 1\ncache_read = 0.000001\noutput = 2\n"


def test_a_file_adds_and_overrides(tmp_path: Path):
    text = f"""
        version = "ours-3"
        geography.eu = 1.25
        server_tools.web_search = 5
        [[models]]
        ids = ["claude-opus-5", "house-*"]
        {ROW}
    """
    own = prices.load(written(tmp_path, text))

    assert own.version == f"{PRICES.version}+ours-3"
    assert own.cost(of("claude-opus-5", input=3, output=1, speed="fast")).nano_usd == 5000
    assert own.cost(of("house-special", input=3)).model == "house-*"
    assert own.cost(of("claude-opus-4-8", input=4)).nano_usd == 20_000
    assert own.cost(of("claude-opus-4-8", input=4, inference_geo="eu")).nano_usd == 25_000
    assert own.cost(of("claude-opus-4-8", input=4, inference_geo="us")).nano_usd == 22_000
    assert own.cost(of("claude-opus-5", web_search_requests=2)).nano_usd == 10_000_000
    assert own.cost(of("claude-opus-5", cache_read=1)).nano_usd == 1, "not for nothing"


def test_a_file_may_set_another_default(tmp_path: Path):
    own = prices.load(written(tmp_path, f"[default]\n{ROW}"))

    assert own.cost(of("claude-nobody-9", input=2)).nano_usd == 2000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = ", "Invalid value"),
        (f"[[models]]\n{ROW}", "`ids`"),
        (f"[[models]]\nids = []\n{ROW}", "ids"),
        (f"[[models]]\nids = ['a b']\n{ROW}", "'a b' is not a model id"),
        (f"[[models]]\nids = ['x']\n{ROW}inputt = 1", "inputt"),
        ("[default]\ninput = 1", "cache_write_5m"),
        (f"[default]\n{ROW}".replace("input = 1", "input = -1"), "input: -1 is not a price"),
        (f"[default]\n{ROW}".replace("input = 1", "input = nan"), "input: NaN is not a price"),
        (f"[default]\n{ROW}".replace("input = 1", "input = 0.0000001"), "at most 6 decimals"),
        (f"[default]\n{ROW}".replace("input = 1", "input = 'one'"), "input"),
        ("geography.us = 1.0001", "geography.us: 1.0001 is not a factor"),
        ("server_tools.sauna = 1", "server_tools.sauna"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, said: str):
    with pytest.raises(PluginError) as raised:
        prices.load(written(tmp_path, text))

    assert said in str(raised.value)
    assert "prices" in str(raised.value)


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(PluginError, match=r"nowhere\.toml: No such file"):
        prices.load(tmp_path / "nowhere.toml")


# what others have recorded


def test_every_recording_costs_what_its_four_counts_say():
    """None of them has iterations, fast mode, or a place: four counts and searches are all."""
    per_token = {
        "claude-opus-4-6": (5000, 6250, 10_000, 500, 25_000),
        "claude-sonnet-4-6": (3000, 3750, 6000, 300, 15_000),
        "claude-opus-4-1-20250805": (15_000, 18_750, 30_000, 1500, 75_000),
        "claude-haiku-4-5-20251001": (1000, 1250, 2000, 100, 5000),
        "claude-sonnet-4-5-20250929": (3000, 3750, 6000, 300, 15_000),
        "claude-3-5-haiku-20241022": (800, 1000, 1600, 80, 4000),
        "claude-3-5-haiku-latest": (800, 1000, 1600, 80, 4000),
    }
    default = (5000, 6250, 10_000, 500, 25_000)
    seen = set()
    for recording in load_recordings():
        headers = dict(recording.headers)
        meter = meter_for(headers.get("content-type", ""), headers.get("content-encoding", ""))
        meter.feed(recording.body)
        reading = meter.finish()
        if reading.usage is None or reading.usage.get("iterations"):
            continue
        if sum(reading.usage.get(key) or 0 for key in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")) > 200_000:  # fmt: skip
            continue
        seen.add(reading.model)
        raw = {k: v for k, v in reading.usage.items() if v is not None}
        split = raw.get("cache_creation", {})
        long = split.get("ephemeral_1h_input_tokens", 0)
        short = raw.get("cache_creation_input_tokens", 0) - long
        prices_of = per_token.get(reading.model or "", default)
        searches = raw.get("server_tool_use", {}).get("web_search_requests", 0)
        expected = searches * 10_000_000 + sum(
            count * price
            for count, price in zip(
                (
                    raw.get("input_tokens", 0),
                    short,
                    long,
                    raw.get("cache_read_input_tokens", 0),
                    raw.get("output_tokens", 0),
                ),
                prices_of,
                strict=True,
            )
        )
        model = ModelRecord("asked", "sent", reading.model)
        record = make_record(model=model, usage=usage_of(reading.usage), stop_reason="end_turn")
        cost = PRICES.cost(record)
        assert cost.nano_usd == expected, recording.name
        assert cost.priced == (reading.model in per_token), recording.name
    assert per_token.keys() & seen


def test_an_upstream_may_have_prices_of_its_own(tmp_path: Path) -> None:
    rates = "cache_write_5m = 0\ncache_write_1h = 0\ncache_read = 0\noutput = 0\n"
    path = tmp_path / "prices.toml"
    path.write_text(
        f'[[models]]\nids = ["claude-opus-4-7"]\nupstreams = ["onedim"]\ninput = 2\n{rates}'
        f'[[models]]\nids = ["claude-*"]\nupstreams = ["cheap"]\ninput = 1\n{rates}'
    )
    own = prices.load(path)

    def nano(upstream: str | None, model: str = "claude-opus-4-7") -> int:
        usage = Usage(input=1000)
        models = ModelRecord(model, model, model)
        return own.cost(make_record(model=models, usage=usage, upstream=upstream)).nano_usd

    assert nano("onedim") == 1000 * 2000
    assert nano("cheap") == 1000 * 1000
    assert nano("default") == nano(None) == prices.load().estimate("claude-opus-4-7", 1000, 0)
    assert nano("onedim", "claude-haiku-4-5") == nano(None, "claude-haiku-4-5")
    assert own.estimate("claude-opus-4-7", 1000, 0) == nano(None)
