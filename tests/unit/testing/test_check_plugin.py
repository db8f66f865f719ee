"""check_plugin finds what it says it finds: each plugin here breaks one promise."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from tidegate.errors import PluginError, Unavailable
from tidegate.exchange import Principal
from tidegate.plugin import (
    ADMIT,
    NOT_CONCERNED,
    Admit,
    Answer,
    Host,
    Note,
    PluginConfig,
    PluginSpec,
    Refuse,
    Stage,
)
from tidegate.testing import ContractBroken, check_plugin
from tidegate.wire.body import Edit, insertion


class Config(PluginConfig, frozen=True):
    size: int = 1


def spec_of(make: Callable[[Host], Any], stage: Stage | None = Stage.AUTHORIZE, **fields: Any):
    @asynccontextmanager
    async def opened(config: Config, host: Host) -> AsyncIterator[Any]:
        yield make(host)

    return PluginSpec(
        **{"config": Config, "open": opened, "stage": stage, "summary": "x", **fields}
    )


def policy(admit: Callable[..., Any], stage: Stage = Stage.AUTHORIZE):
    """A spec whose policy calls `admit(exchange, request)`, which may be a coroutine or not."""

    class Policy:
        async def admit(self, exchange, request):
            decision = admit(exchange, request)
            return await decision if asyncio.iscoroutine(decision) else decision

    return spec_of(lambda host: Policy(), stage)


def assert_broken(spec, named: str, **more: Any) -> None:
    with pytest.raises(ContractBroken) as caught:
        check_plugin(spec, **more)

    assert named in str(caught.value)
    assert any(named in problem for problem in caught.value.problems)


REFUSE = Refuse(status=403, error_type="permission_error", message="no: ask less", rule="r")


def refuse(**fields: Any) -> Refuse:
    values = {name: getattr(REFUSE, name) for name in ("status", "error_type", "message", "rule")}
    return Refuse(**{**values, **fields})


def edit(pointer: str, change: Callable[[bytes], bytes], *, widen: int = 0, times: int = 1):
    """Edit the value at `pointer`, where the body has it."""

    def admit(exchange, request):
        raw = request.body.raw
        found = [v for v in request.body.values() if v.pointer == pointer and raw[v.start] != 0x5B]
        edits = tuple(
            Edit(pointer, "rule", v.start - widen, v.end, change(raw[v.start : v.end]))
            for v in found * times
        )
        return Admit(edits=edits)

    return admit


ANSWER = Answer(body=b"{}", rule="r")


@pytest.mark.parametrize(
    "admit",
    [lambda *_: ADMIT, lambda *_: REFUSE, lambda *_: ANSWER, lambda *_: NOT_CONCERNED],
    ids=["admit", "refuse", "answer", "not concerned"],
)
def test_a_plain_policy_keeps_the_contract(admit):
    check_plugin(policy(admit))


def test_a_proper_edit_keeps_the_contract():
    check_plugin(policy(edit("/max_tokens", lambda old: b"1")))
    check_plugin(policy(edit("/messages/0/content", lambda old: b'"(removed)"')))


def test_a_proper_insertion_keeps_the_contract():
    def admit(exchange, request):
        if not request.body.raw:
            return ADMIT
        return Admit(edits=(insertion(request.body, "", "added/key", 7, "rule"),))

    check_plugin(policy(admit))


@pytest.mark.parametrize(
    ("decision", "named"),
    [
        (Answer(body=b"", rule="r", status=403), "what is no success is a Refuse"),
        (Answer(body="text", rule="r"), "wrong type"),
        (Answer(body=b"", rule=""), "without naming the rule"),
        (Answer(body=b"", rule="r", content_type="a\r\nb"), "no header value"),
        (Answer(body=b"", rule="r", headers=(("x-other", "1"),)), "'x-other'"),
        (Admit(evaluated=False, hold=REFUSE), "has not evaluated"),
        (None, "returned NoneType"),
        (True, "returned bool"),
        (refuse(status=302), "status 302"),
        (refuse(status=200), "status 200"),
        (refuse(status="403"), "status '403'"),
        (refuse(error_type=""), "error type ''"),
        (refuse(rule=""), "without naming the rule"),
        (refuse(message=" "), "without a message"),
        (refuse(message="x" * 5000), "more than 2000"),
        (refuse(message="a\0b"), "control characters"),
        (refuse(message=None), "wrong type"),
        (refuse(pointer="model"), "begins with /"),
        (refuse(retry_after_s=0.5), "retry_after_s=0.5"),
        (Admit(principal=Principal("a", "b")), "only IDENTIFY"),
        (Admit(consumes_credential=True), "only IDENTIFY"),
        (Admit(hold=object()), "hold without `settle`"),
        (Admit(headers=(("x-other", "1"),)), "'x-other'"),
        (Admit(headers=(("x-tidegate-a", "1\r\nx: 2"),)), "no header value"),
        (Admit(notes=(Note("", "found"),)), "without rule or verdict"),
        (Admit(notes=[Note("r", "found")]), "notes must be a tuple"),
    ],
    ids=itertools.count(),
)
def test_odd_decisions(decision, named):
    assert_broken(policy(lambda *_: decision), named)


def test_identify_may_set_a_whole_principal_only():
    check_plugin(policy(lambda *_: Admit(principal=Principal("a", "b")), Stage.IDENTIFY))
    nobody = Admit(principal=Principal("", "b"))
    assert_broken(policy(lambda *_: nobody, Stage.IDENTIFY), "without id or team")


@pytest.mark.parametrize(
    ("admit", "named"),
    [
        (edit("/model", lambda old: b"oops"), "edits break the body"),
        (edit("/model", lambda old: b"7"), "change the structure of the body at /model"),
        (edit("/model", lambda old: b'"x","y":1'), "change the structure of the body at its top"),
        (edit("/model", lambda old: b'"x","max_tokens":1'), "edits break the body"),
        (edit("/model", lambda old: b'"x"', times=2), "overlaps"),
        (edit("/model", lambda old: b': "x"', widen=1), "outside of the value at '/model'"),
        (
            lambda *_: Admit(edits=(Edit("/model", "r", 10**9, 10**9 + 1, b""),)),
            "out of range",
        ),
        (lambda *_: Admit(edits=(Edit("/model", "r", 0, 0, b""),)), "has no body"),
        (lambda *_: Admit(edits=(Edit("/nowhere", "r", 0, 0, b" "),)), "which is not in the body"),
        (lambda *_: Admit(edits=(Edit("/model", "", 0, 0, b" "),)), "without naming the rule"),
        (lambda *_: Admit(edits=(Edit("/a", "r", 1, 1, b'"b":1,'),)), "does not bring it in"),
        (lambda *_: Admit(edits=(Edit("/a", "r", 1, 1, b'"a":1,"b":1,'),)), "at its top"),
        (lambda *_: Admit(edits=(Edit("/model/a", "r", 1, 1, b'"a":1,'),)), "not in the body"),
    ],
    ids=range(13),
)
def test_bad_edits(admit, named):
    assert_broken(policy(admit), named)


def test_identify_may_not_answer():
    assert_broken(policy(lambda *_: ANSWER, Stage.IDENTIFY), "IDENTIFY policies may not")


def credential_of(request) -> str:
    return request.credential.value if request.credential else ""


@pytest.mark.parametrize(
    "leak",
    [
        lambda request: refuse(message=f"unknown key {credential_of(request)}"),
        lambda request: Admit(notes=(Note("r", credential_of(request) or "x"),)),
        lambda request: Admit(headers=(("x-tidegate-key", credential_of(request) or "x"),)),
        lambda request: refuse(message=f"not allowed: {str(request.body.document)[:1500]}"),
        lambda request: refuse(rule=f"r{credential_of(request)}"),
    ],
    ids=["message", "note", "header", "content", "rule"],
)
def test_leaks(leak):
    secret = "s" + "k" * 20
    with pytest.raises(ContractBroken) as caught:
        check_plugin(policy(lambda _, request: leak(request)), credential=secret)

    assert "repeats the caller's" in str(caught.value)
    assert secret not in str(caught.value)


def test_leaks_into_the_log_and_into_errors():
    secret = "s" + "k" * 20
    logger = logging.getLogger("leaky")

    def log(_, request):
        logger.debug("asked with %r", credential_of(request))
        return ADMIT

    def fail(_, request):
        raise LookupError(credential_of(request))

    assert_broken(policy(log), "logs the caller's", credential=secret)
    with pytest.raises(ContractBroken) as caught:
        check_plugin(policy(fail), credential=secret)
    assert "raises LookupError" in str(caught.value)
    assert secret not in str(caught.value)


def test_a_policy_that_only_knows_small_requests():
    def admit(_, request):
        request.body.document["messages"][0]["content"].upper()
        return ADMIT

    assert_broken(policy(admit), "without body: models: raises KeyError")


def test_state_shared_between_calls():
    class Policy:
        async def admit(self, exchange, request):
            self.current = request
            await asyncio.sleep(0)
            kind = "body" if self.current.body.raw else "none"
            return Admit(rule=kind)

    assert_broken(spec_of(lambda host: Policy()), "decides otherwise when asked")


@dataclass
class Slots:
    """At most `size` exchanges at a time; with or without giving slots back properly."""

    size: int = 40 * 2
    careful: bool = True
    settles: bool = True
    taken: int = 0

    async def admit(self, exchange, request):
        self.taken += 1
        if self.taken > self.size:
            self.taken -= 1
            return refuse(status=429, error_type="rate_limit_error", retry_after_s=1)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.careful:
                self.taken -= 1
            raise
        return Admit(hold=Slot(self))


@dataclass
class Slot:
    slots: Slots

    async def settle(self, record):
        if self.slots.settles:
            self.slots.taken -= 1


def slots(**fields: Any):
    return spec_of(lambda host: Slots(**fields), Stage.RESERVE)


def test_a_careful_reservation_keeps_the_contract():
    check_plugin(slots(), held=lambda policy: policy.taken)


def test_a_slot_lost_to_cancellation():
    assert_broken(slots(careful=False), "refuses after having been cancelled")


def test_a_slot_lost_to_cancellation_in_a_large_pool():
    named = "when everything is settled"
    assert_broken(slots(careful=False, size=10**6), named, held=lambda policy: policy.taken)


def test_a_slot_that_is_never_given_back():
    spec = slots(settles=False, size=10**6)
    assert_broken(spec, "when everything is settled", held=lambda policy: policy.taken)


def test_a_hold_that_cannot_be_settled():
    class Broken:
        async def settle(self, record):
            return {}[record.id]

    spec = policy(lambda *_: Admit(hold=Broken()), Stage.RESERVE)
    assert_broken(spec, "its hold raises KeyError")


def test_one_hold_for_all():
    hold = Slot(Slots())
    assert_broken(policy(lambda *_: Admit(hold=hold), Stage.RESERVE), "the same hold")


def test_swallowed_cancellation():
    async def admit(*_):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return ADMIT

    assert_broken(policy(admit), "goes on although it is cancelled at await 0")


def test_cancellation_turned_into_an_error():
    async def admit(*_):
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise RuntimeError from None
        return ADMIT

    assert_broken(policy(admit), "cancelled at await 0, raises RuntimeError")


def test_a_policy_that_hangs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tidegate.testing.steps.PATIENCE_S", 0.01)

    async def admit(exchange, request):
        if not request.body.raw:
            await asyncio.Event().wait()
        return ADMIT

    assert_broken(policy(admit), "does not decide within")


def test_tasks_left_behind():
    class Policy:
        def __init__(self):
            self.task = asyncio.ensure_future(asyncio.Event().wait())

        async def admit(self, exchange, request):
            return ADMIT

    assert_broken(spec_of(lambda host: Policy()), "leaves tasks behind")


def test_spawned_tasks_are_fine_unless_they_fail():
    class Policy:
        def __init__(self, host, work):
            host.spawn(work, "work")

        async def admit(self, exchange, request):
            return ADMIT

    async def fail():
        raise ZeroDivisionError

    async def wait():
        await asyncio.Event().wait()

    check_plugin(spec_of(lambda host: Policy(host, wait())))
    assert_broken(spec_of(lambda host: Policy(host, fail())), "a task it spawned fails")


class Loose(PluginConfig, frozen=True):
    inner: "dict[str, LooseTable]" = {}


class LooseTable(msgspec.Struct):
    size: int = 1


class NoSchema(PluginConfig, frozen=True):
    it: Any = None
    other: asyncio.Event | None = None


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (object(), "must name a PluginSpec"),
        (spec_of(Host, config=dict), "subclass of PluginConfig"),
        (spec_of(Host, config=Loose), "LooseTable is not frozen"),
        (spec_of(Host, config=Loose), "LooseTable takes unknown keys"),
        (spec_of(Host, config=NoSchema), "no JSON Schema"),
        (spec_of(Host, stage=20), "must be a Stage"),
        (spec_of(Host, summary=" "), "summary is empty"),
        (spec_of(Host, open=None), "open must be callable"),
        (spec_of(Host, default={"sise": 2}), "does not take its default configuration"),
        (spec_of(lambda host: object()), "`async def admit` is missing"),
        (spec_of(lambda host: object(), None), "opens no observer"),
    ],
    ids=range(11),
)
def test_odd_specs(spec, named):
    assert_broken(spec, named)


def test_a_plugin_that_cannot_be_opened():
    def refuse_it(host):
        raise PluginError("size: must be 2")

    def fail(host):
        raise ZeroDivisionError

    assert_broken(spec_of(refuse_it), "refuses its configuration: size: must be 2")
    assert_broken(spec_of(fail), "cannot be opened: ZeroDivisionError")


def test_a_plugin_that_cannot_be_open_twice():
    open_ones: list[Host] = []

    def make(host):
        if open_ones:
            raise OSError("locked")
        open_ones.append(host)

    assert_broken(spec_of(make), "cannot be opened: OSError('locked')")


@dataclass
class Counter:
    """An observer that keeps the contract, but for what is overridden."""

    host: Host
    count: int = 0

    def __post_init__(self):
        self.count = int(self.host.state or b"0")

    async def on_record(self, record):
        self.count += 1

    async def flush(self):
        return b"%d" % self.count

    def scrape(self, accept):
        return b"records_total %d\n" % self.count, "text/plain"


def observer(**methods: Any):
    return spec_of(type("Changed", (Counter,), methods), None)


async def raise_lookup(*_: object) -> bytes:
    raise LookupError


async def return_text(*_: object) -> str:
    return "1"


async def return_nothing(*_: object) -> bytes:
    return b""


async def unavailable(*_: object) -> bytes:
    raise Unavailable


async def read_team(self: Counter, record: Any) -> None:
    self.count += len(record.principal.team)


def keep_on_disk(self: Counter) -> None:
    self.path = self.host.state_dir / "count"
    self.count = int(self.path.read_text()) if self.path.exists() else 0


async def count_on_disk(self: Counter, record: object) -> None:
    self.count += 1
    self.path.write_text(str(self.count))


def test_a_proper_observer_keeps_the_contract():
    check_plugin(observer())
    check_plugin(spec_of(Counter, None, default={"size": 3}))


def test_an_unreachable_destination_is_no_breach():
    check_plugin(observer(flush=unavailable, scrape=None))


@pytest.mark.parametrize(
    ("methods", "named"),
    [
        ({"on_record": raise_lookup}, "on_record(SegmentStart) raises LookupError"),
        ({"on_record": read_team}, "on_record(Vitals) raises AttributeError"),
        ({"on_record": lambda *_: None}, "`async def on_record` is missing"),
        ({"flush": raise_lookup}, "flush raises LookupError"),
        ({"flush": return_text}, "flush returns str"),
        ({"flush": return_nothing}, "counts otherwise after a crash"),
        (
            {"__post_init__": keep_on_disk, "on_record": count_on_disk},
            "counts otherwise after a crash",
        ),
        ({"scrape": lambda *_: b""}, "scrape('') raises ValueError"),
        ({"scrape": lambda *_: (b"", "text/plain")}, "scrape('') returns no exposition"),
        ({"scrape": lambda *_: (b"x 1", "")}, "scrape('') returns no exposition"),
        ({"page": lambda *_: 1 / 0}, "page('/') raises ZeroDivisionError"),
        ({"page": lambda *_: b"<p>"}, "page('/') returns neither None nor a Page"),
    ],
    ids=range(12),
)
def test_broken_observers(methods, named):
    assert_broken(observer(**methods), named)


async def test_it_can_be_called_from_a_running_loop():
    check_plugin(policy(lambda *_: ADMIT))


# replay


def by_content(exchange, request):
    return REFUSE if "Hello" in request.body.raw.decode() else ADMIT


def by_model(exchange, request):
    return REFUSE if request.body.document.get("model") == "m" else ADMIT


def test_who_reads_content_is_not_replayable():
    check_plugin(policy(by_content))
    assert_broken(replace(policy(by_content), replayable=True), "not replayable")


def test_who_reads_what_the_outline_keeps_is_replayable():
    check_plugin(replace(policy(by_model), replayable=True))
