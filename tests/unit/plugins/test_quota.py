"""Budgets and rate limits in memory: what is admitted, what is said, what is charged."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.errors import PluginError
from tidegate.exchange import Principal
from tidegate.plugin import NOT_CONCERNED, Admit, Decision, Note, Refuse
from tidegate.record import ModelRecord, Usage
from tidegate.testing import FakeClock, make_exchange, make_record, make_request, open_plugin
from tidegate.testing.fakes import EPOCH
from tidegate.wire.routes import Kind
from tidegate_plugins.quota import plugin
from tidegate_plugins.quota.config import Config
from tidegate_plugins.quota.policy import Quota

ANA = Principal("ana", "search", {"user": "ana@x"})
BEN = Principal("ben", "search", {"user": "ben@x"})
EVE = Principal("eve", "web")


class Asker:
    """Asks one policy, and ends what it has begun."""

    def __init__(self, quota: Quota, clock: FakeClock) -> None:
        self.quota = quota
        self.clock = clock
        self.asked = 0

    async def ask(
        self,
        who: Principal = ANA,
        model: str = "claude-sonnet-4-6",
        *,
        max_tokens: int = 100,
        text: str = "Hello",
        kind: Kind = Kind.MESSAGES,
    ) -> Decision:
        self.asked += 1
        document = {
            "model": model,
            "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": text}],
        }
        exchange = make_exchange(kind, exchange_id=f"tg_{self.asked}", at=self.clock.now())
        return await self.quota.admit(exchange, make_request(document, kind=kind, principal=who))

    async def admitted(self, *args: Any, **fields: Any) -> Admit:
        decision = await self.ask(*args, **fields)
        assert isinstance(decision, Admit)
        return decision

    async def refused(self, *args: Any, **fields: Any) -> Refuse:
        decision = await self.ask(*args, **fields)
        assert isinstance(decision, Refuse)
        return decision

    async def done(self, decision: Decision, **fields: Any) -> None:
        assert decision.hold is not None
        await decision.hold.settle(make_record(**fields))

    async def held(self) -> dict[str, tuple[int, int]]:
        """Used and reserved, by limit and measure."""
        counters = await self.quota._store.store.read()
        return {
            "/".join(name.split("/")[1:3]): (standing.used, standing.reserved)
            for name, standing in counters.items()
        }


@asynccontextmanager
async def asking(folder: Path, *limits: Mapping[str, Any], **more: Any) -> AsyncIterator[Asker]:
    clock = FakeClock()
    config = {"store": "memory", "limits": list(limits), **more}
    async with open_plugin(plugin, config, state_dir=folder, clock=clock) as quota:
        yield Asker(quota, clock)


NEVER_LEFT = {"dispatched": False, "outcome": "refused", "usage": None}


# whom a limit is about


@pytest.mark.parametrize(
    ("limit", "others_have_room"),
    [
        ({"scope": "org"}, [False, False, False, False]),
        ({"scope": "team"}, [False, False, True, False]),
        ({"scope": "key"}, [False, True, True, False]),
        ({"scope": "label"}, [False, True, True, False]),
        ({"scope": "label:none"}, [False, False, False, False]),
        ({"scope": "model"}, [False, False, False, True]),
        ({"scope": ["team", "model"]}, [False, False, True, True]),
        ({"scope": ["key", "label:user"]}, [False, True, True, False]),
        ({"scope": "team", "match": "search"}, [False, False, True, False]),
        ({"scope": "org", "team": "se*"}, [False, False, True, False]),
        ({"scope": "org", "labels": {"user": "*@x"}}, [False, False, True, False]),
        ({"scope": "org", "model": "claude-sonnet-*"}, [False, False, False, True]),
        ({"scope": "team", "key": "ana"}, [False, True, True, False]),
    ],
)
async def test_scopes(tmp_path: Path, limit: dict[str, Any], others_have_room: list[bool]):
    async with asking(tmp_path, {"name": "one", "concurrent": 1, **limit}) as asker:
        await asker.admitted(ANA)
        found = [
            isinstance(await asker.ask(ANA), Admit),
            isinstance(await asker.ask(BEN), Admit),
            isinstance(await asker.ask(EVE), Admit),
            isinstance(await asker.ask(ANA, "claude-opus-5"), Admit),
        ]

    assert found == others_have_room


async def test_spellings_of_a_model_are_one_model(tmp_path: Path):
    async with asking(tmp_path, {"name": "m", "scope": "model", "concurrent": 2}) as asker:
        await asker.admitted(model="claude-haiku-4-5")
        await asker.admitted(model="claude-haiku-4-5-20251001[1m]")

        await asker.refused(model="claude-haiku-4-5[1m]")


async def test_only_messages_count(tmp_path: Path):
    async with asking(tmp_path, {"name": "no", "scope": "org", "concurrent": 0}) as asker:
        assert await asker.ask(kind=Kind.COUNT_TOKENS) is NOT_CONCERNED
        assert await asker.ask(kind=Kind.MODELS) is NOT_CONCERNED
        await asker.refused()


async def test_nobody_waits_for_memory(tmp_path: Path):
    async with asking(tmp_path, {"name": "n", "scope": "org", "concurrent": 1}) as asker:
        coroutine = asker.quota.admit(make_exchange(), make_request())
        with pytest.raises(StopIteration):
            coroutine.send(None)


# reserve and settle


async def test_an_estimate_is_reserved_and_the_usage_is_charged(tmp_path: Path):
    limits = [
        {"name": "n", "scope": "org", "per": "day", "requests": 10, "input_tokens": 99_999,
         "output_tokens": 99_999, "tokens": 99_999, "usd": 9.0, "concurrent": 5},
    ]  # fmt: skip
    async with asking(tmp_path, *limits) as asker:
        decision = await asker.admitted(max_tokens=100, text="x" * 4000)
        size = len(make_request({"model": "claude-sonnet-4-6", "max_tokens": 100,
            "messages": [{"role": "user", "content": "x" * 4000}]}).body.raw)  # fmt: skip
        input_tokens = size // 4 + 1
        assert await asker.held() == {
            "n/requests": (0, 1),
            "n/concurrent": (0, 1),
            "n/input_tokens": (0, input_tokens),
            "n/output_tokens": (0, 100),
            "n/tokens": (0, input_tokens + 100),
            "n/usd": (0, input_tokens * 3000 + 100 * 15_000),
        }

        await asker.done(
            decision, usage=Usage(input=5, cache_read=900, cache_write_5m=30, output=7)
        )

        assert await asker.held() == {
            "n/requests": (1, 0),
            "n/input_tokens": (935, 0),
            "n/output_tokens": (7, 0),
            "n/tokens": (942, 0),
            "n/usd": (5 * 3000 + 900 * 300 + 30 * 3750 + 7 * 15_000, 0),
        }


@pytest.mark.parametrize(
    ("record", "held"),
    [
        (NEVER_LEFT, {}),
        ({"outcome": "unreachable", "usage": None}, {}),
        ({"outcome": "upstream_error", "status": 529, "usage": None}, {"n/requests": (1, 0)}),
        (
            {
                "outcome": "client_gone",
                "usage": Usage(input=7, output=1),
                "usage_source": "partial",
            },
            {"n/requests": (1, 0), "n/tokens": (8, 0), "n/usd": (7 * 3000 + 15_000, 0)},
        ),
        (
            {"outcome": "upstream_cut", "usage": Usage(input=7), "usage_source": "partial"},
            {"n/requests": (1, 0), "n/tokens": (7, 0), "n/usd": (7 * 3000, 0)},
        ),
    ],
)
async def test_what_failed_is_given_back_and_what_is_known_is_charged(
    tmp_path: Path, record: dict[str, Any], held: dict[str, tuple[int, int]]
):
    limit = {"name": "n", "scope": "org", "per": "day", "requests": 9, "tokens": 9999, "usd": 1.0, "concurrent": 1}  # fmt: skip
    async with asking(tmp_path, limit) as asker:
        await asker.done(await asker.admitted(), **record)

        assert await asker.held() == held


async def test_files_are_many_bytes_and_few_tokens(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "input_tokens": 200_000}
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 900_000}}
    result = {"type": "tool_result", "content": [image]}
    document = {
        "model": "m",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": [image, result]}],
    }
    async with asking(tmp_path, limit) as asker:
        await asker.quota.admit(make_exchange(), make_request(document))

        assert (await asker.held())["n/input_tokens"][1] < 50_000


async def test_a_lease_that_nobody_renews_expires(tmp_path: Path):
    async with asking(tmp_path, {"name": "n", "scope": "org", "concurrent": 1}) as asker:
        lost = await asker.admitted()
        asker.clock.advance(61)

        await asker.admitted()
        await asker.done(lost)

        assert await asker.held() == {"n/concurrent": (0, 1)}


async def test_a_stream_outlives_its_lease(tmp_path: Path):
    async with asking(tmp_path, {"name": "n", "scope": "org", "concurrent": 1}) as asker:
        await asker.admitted()
        for _ in range(4):
            asker.clock.advance(30)
            await asker.quota._store.look()  # as it does every second

        await asker.refused()


async def test_a_reload_forgets_nothing(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "requests": 2}
    config = {"store": "memory", "limits": [limit]}
    clock = FakeClock()
    async with open_plugin(plugin, config, state_dir=tmp_path, clock=clock) as old:
        await Asker(old, clock).admitted()
        async with open_plugin(plugin, config, state_dir=tmp_path, clock=clock) as new:
            asker = Asker(new, clock)
            await asker.admitted()
            await asker.refused()


# what is said


async def test_a_rate_limit_tells_when_to_come_back(tmp_path: Path):
    limit = {"name": "burst", "scope": "team", "per": "minute", "requests": 1}
    async with asking(tmp_path, limit) as asker:  # 11:06:40 UTC
        await asker.done(await asker.admitted())
        refused = await asker.refused()

        assert (refused.status, refused.error_type) == (429, "rate_limit_error")
        assert (refused.rule, refused.retry_after_s) == ("burst", 20)
        assert dict(refused.headers) == {
            "x-tidegate-limit-name": "burst",
            "x-tidegate-limit-requests-limit": "1",
            "x-tidegate-limit-requests-remaining": "0",
            "x-tidegate-limit-requests-reset": "2026-11-18T11:07:00Z",
        }
        asker.clock.advance(19.9)
        await asker.refused()
        asker.clock.advance(0.1)
        await asker.admitted()


async def test_a_rolling_limit_tells_when_enough_is_over(tmp_path: Path):
    limit = {"name": "r", "scope": "org", "per": "minute", "rolling": True, "output_tokens": 100}
    async with asking(tmp_path, limit) as asker:
        for _ in range(4):
            await asker.done(await asker.admitted(max_tokens=25), usage=Usage(output=25))
            asker.clock.advance(10)
        refused = await asker.refused(max_tokens=50)  # the second 25 is over at 10 + 60 + a step

        assert refused.retry_after_s == 31
        asker.clock.advance(30.9)
        await asker.refused(max_tokens=50)
        asker.clock.advance(0.2)
        await asker.admitted(max_tokens=50)


async def test_a_spent_budget_is_not_to_be_retried(tmp_path: Path):
    limit = {
        "name": "team-day",
        "scope": "team",
        "per": "day",
        "usd": 0.01,
        "zone": "Europe/Berlin",
    }
    async with asking(tmp_path, limit) as asker:
        await asker.done(await asker.admitted(), usage=Usage(output=1000))
        refused = await asker.refused()

    assert refused.retry_after_s is None
    assert "team-day" in refused.message
    assert "0.01 USD per day for this team" in refused.message
    assert "0.015 used" in refused.message
    assert "resets at 2026-11-18T23:00:00Z" in refused.message
    assert dict(refused.headers)["x-tidegate-limit-usd-remaining"] == "0.00"


async def test_a_budget_that_others_hold_may_have_room_soon(tmp_path: Path):
    limit = {"name": "d", "scope": "org", "per": "day", "output_tokens": 150}
    async with asking(tmp_path, limit) as asker:
        first = await asker.admitted(max_tokens=100)
        assert (await asker.refused(max_tokens=100)).retry_after_s == 2

        await asker.done(first, usage=Usage(output=10))
        await asker.admitted(max_tokens=100)


async def test_what_can_never_fit_says_so(tmp_path: Path):
    limit = {"name": "d", "scope": "org", "per": "minute", "output_tokens": 150}
    async with asking(tmp_path, limit) as asker:
        refused = await asker.refused(max_tokens=151)

    assert refused.retry_after_s is None
    assert "lower max_tokens" in refused.message


async def test_too_many_at_a_time(tmp_path: Path):
    async with asking(tmp_path, {"name": "s", "scope": "team", "concurrent": 1}) as asker:
        first = await asker.admitted()
        refused = await asker.refused()
        assert refused.retry_after_s == 2
        assert "1 requests at a time for this team" in refused.message

        await asker.done(first)
        await asker.admitted()


async def test_the_tightest_limit_is_announced(tmp_path: Path):
    limits = [
        {"name": "wide", "scope": "org", "per": "day", "requests": 100, "usd": 2.5},
        {"name": "tight", "scope": "key", "per": "hour", "requests": 10},
    ]
    async with asking(tmp_path, *limits) as asker:
        headers = dict((await asker.admitted()).headers)

    assert headers["x-tidegate-limit-requests-limit"] == "10"
    assert headers["x-tidegate-limit-requests-remaining"] == "9"
    assert headers["x-tidegate-limit-requests-reset"] == "2026-11-18T12:00:00Z"
    assert headers["x-tidegate-limit-usd-limit"] == "2.50"


async def test_a_refusal_takes_nothing(tmp_path: Path):
    limits = [
        {"name": "many", "scope": "org", "concurrent": 9},
        {"name": "none", "scope": "team", "match": "web", "concurrent": 0},
    ]
    async with asking(tmp_path, *limits) as asker:
        refused = await asker.refused(EVE)
        assert refused.rule == "none"
        assert await asker.held() == {}

        await asker.done(refused, **NEVER_LEFT)
        assert await asker.held() == {}


async def test_what_a_shadow_would_have_refused_is_charged(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "requests": 0, "tokens": 1}
    async with asking(tmp_path, limit) as asker:
        refused = await asker.refused()
        await asker.done(refused, usage=Usage(input=3, output=4))

        assert await asker.held() == {"n/requests": (1, 0), "n/tokens": (7, 0)}


async def test_the_soft_threshold_is_noted(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "requests": 5, "soft": 0.8}
    async with asking(tmp_path, limit) as asker:
        notes = [(await asker.admitted()).notes for _ in range(5)]
        notes.append((await asker.refused()).notes)

    soft = (Note("n", "soft"),)
    assert notes == [(), (), (), soft, soft, soft]


async def test_a_model_without_a_price_is_noted_and_not_free(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "usd": 5.0}
    async with asking(tmp_path, limit) as asker:
        decision = await asker.admitted(model="claude-nobody-9")
        await asker.done(decision, model=ModelRecord("claude-nobody-9", "claude-nobody-9", None),
                         usage=Usage(input=10))  # fmt: skip

        assert decision.notes == (Note("unknown_model", "default_price"),)
        assert await asker.held() == {"n/usd": (10 * 5000, 0)}


async def test_it_reports_what_is_used(tmp_path: Path):
    limit = {"name": "n", "scope": "team", "per": "day", "usd": 0.5}
    async with asking(tmp_path, limit) as asker:
        await asker.done(await asker.admitted(), usage=Usage(output=10_000))
        gauges = {
            gauge.name: gauge.value
            for gauge in asker.quota.report().gauges
            if dict(gauge.labels).get("subject") == "team=search"
        }
        asker.clock.advance(86_400)
        later = asker.quota.report().gauges

    assert gauges == {
        "quota_limit": 0.5,
        "quota_used": 0.15,
        "quota_reserved": 0.0,
        "quota_used_ratio": 0.3,
        "quota_reset_timestamp_seconds": EPOCH - EPOCH % 86_400 + 86_400,
    }
    assert not [gauge for gauge in later if gauge.labels], "yesterday's are gone"


@pytest.mark.parametrize("scope", ["key", ["team", "key"]])
async def test_no_key_becomes_the_label_of_a_metric(tmp_path: Path, scope: str | list[str]):
    limit = {"name": "n", "scope": scope, "per": "day", "usd": 0.5}
    async with asking(tmp_path, limit) as asker:
        await asker.done(await asker.admitted(), usage=Usage(output=10_000))
        gauges = asker.quota.report().gauges

    assert {gauge.name for gauge in gauges} == {"quota_pending_charges", "quota_lost_charges"}


# what is wrong with a configuration


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "limits"),
        ({"limits": []}, "limits"),
        ({"limits": [{"name": "A b", "scope": "org", "concurrent": 1}]}, "name"),
        ({"limits": [{"name": "a", "scope": "orgs", "concurrent": 1}]}, "'orgs' is none of"),
        ({"limits": [{"name": "a", "scope": [], "concurrent": 1}]}, "at least one"),
        ({"limits": [{"name": "a", "scope": "org"}]}, "limits nothing"),
        ({"limits": [{"name": "a", "scope": "org", "requests": 1}]}, "requests needs `per`"),
        ({"limits": [{"name": "a", "scope": "org", "concurrent": 1, "per": "day"}]}, "no window"),
        ({"limits": [{"name": "a", "scope": "org", "concurrent": 1, "match": "x"}]}, "match"),
        ({"limits": [{"name": "a", "scope": "org", "per": "year", "usd": 1.0}]}, "per"),
        ({"limits": [{"name": "a", "scope": "org", "per": "day", "usd": -1.0}]}, "usd"),
        ({"limits": [{"name": "a", "scope": "org", "per": "day", "usd": 1e-12}]}, "9 decimals"),
        ({"limits": [{"name": "a", "scope": "org", "per": "day", "usd": 1.0, "soft": 2.0}]}, "soft"),
        ({"limits": [{"name": "a", "scope": "org", "per": "day", "usd": 1.0, "zone": "Mars/X"}]}, "Mars/X"),
        ({"limits": [{"name": "a", "scope": "org", "concurrent": 1}] * 2}, "two limits"),
        ({"limits": [{"name": "a", "scope": "org", "concurrent": 1}], "lease_s": 1}, "lease_s"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense(config: dict[str, Any], said: str):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(config, Config)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"store": "mongodb://x"}, "is none; write memory"),
        ({"store": "sqlite:/nowhere/at/all.db"}, "no directory"),
        ({"store": "redis://x:notaport/0"}, "redis://HOST:PORT/DB"),
        ({"store": "redis://x/0", "password": {"env": "NOT_SET_ANYWHERE"}}, "NOT_SET_ANYWHERE"),
        ({"store": "redis://x/0", "password": {"file": "/nowhere"}}, "/nowhere"),
        ({"prices": "/nowhere.toml"}, "/nowhere.toml"),
    ],
)
async def test_a_place_that_there_is_not(tmp_path: Path, more: dict[str, Any], said: str):
    with pytest.raises(PluginError) as raised:
        async with asking(tmp_path, {"name": "a", "scope": "org", "concurrent": 1}, **more):
            pass

    assert said in str(raised.value)


async def test_memory_of_many_workers_is_warned_of(tmp_path: Path):
    async with asking(tmp_path, {"name": "a", "scope": "org", "concurrent": 1}) as asker:
        assert asker.quota.report().message == ""
        asker.quota._workers = 2
        report = asker.quota.report()

    assert report.healthy
    assert "2 workers alone" in report.message


async def test_many_at_once_take_no_more_than_there_is(tmp_path: Path):
    limit = {"name": "n", "scope": "org", "per": "day", "requests": 7}
    async with asking(tmp_path, limit, store="sqlite") as asker:
        decisions = await asyncio.gather(*(asker.ask() for _ in range(40)))

    assert sum(isinstance(decision, Admit) for decision in decisions) == 7
