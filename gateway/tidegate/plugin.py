"""THE CONTRACT between tidegate and its plugins.

There are two kinds. A *policy* stands in the path: before anything is dispatched it
admits a request, perhaps with edits, refuses it, or answers it in the upstream's place;
whatever else it does refuses the request too. An *observer* reads the journal in another process; it can be slow, wrong or
gone without any exchange noticing.

A plugin is a module-level `PluginSpec`, named by an entry point of the group
`tidegate.plugins`. A plugin imports this module, `tidegate.exchange`, `tidegate.record`,
`tidegate.wire`, `tidegate.errors`, and nothing else of tidegate.
"""

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from tidegate.clock import Clock
from tidegate.exchange import Exchange, Principal, Request
from tidegate.record import ExchangeRecord, Record
from tidegate.wire.body import Edit
from tidegate.wire.transcript import Transcript


class Stage(enum.IntEnum):
    """Where a policy stands: cheap refusals first, things taken next, edits last."""

    IDENTIFY = 10
    AUTHORIZE = 20
    RESERVE = 30
    TRANSFORM = 40


class PluginConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what users write under `[plugins.config]`. Subclass with `frozen=True`."""


class Hold(Protocol):
    """Something a policy has taken and that must be charged or given back, exactly once."""

    async def settle(self, record: ExchangeRecord) -> None:
        """Charge what `record` says was used, or give everything back. Called once."""
        ...


class Note(msgspec.Struct, frozen=True):
    """One finding for the record, beside the verdict: a rule, a verdict, and where.

    `verdict` is a word such as `found`, `allowed`, `blocked`, `not_evaluated`. Never put content here.
    """

    rule: str
    verdict: str
    pointer: str = ""


class Admit(msgspec.Struct, frozen=True, kw_only=True):
    """The request may go on, with these edits."""

    edits: tuple[Edit, ...] = ()
    principal: Principal | None = None
    """Set by IDENTIFY policies; replaces the principal for those that follow."""
    consumes_credential: bool = False
    """IDENTIFY policies: what the caller presented is a key of this gateway, and must never
    be sent upstream."""
    forwards_credential: bool = False
    """IDENTIFY policies: what the caller presented is for the upstream to judge. The request
    leaves with that or not at all, never with a credential of the gateway's."""
    consumes_headers: frozenset[str] = frozenset()
    """IDENTIFY policies: names in lower case of request headers that tell this gateway who is
    calling, and must never be sent upstream."""
    hold: Hold | None = None
    notes: tuple[Note, ...] = ()
    rule: str = ""
    """The rule that allowed it, where there is one to name."""
    headers: tuple[tuple[str, str], ...] = ()
    """`x-tidegate-*` response headers that announce what was done, such as a clamp."""
    opens: bool = False
    """AUTHORIZE policies: this caller may use an endpoint of `wire.routes.CLOSED`."""
    evaluated: bool = True
    """False: the policy had nothing to look at. Recorded as `not_evaluated`."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The policy answers in the upstream's place, and nothing leaves.

    The other policies of its stage are asked all the same, and a refusal by one of them
    wins. Those of later stages are not asked. IDENTIFY policies may not answer.
    """

    body: bytes
    rule: str
    """The rule that made the answer, for the record."""
    status: int = 200
    """200 to 299; what is not a success is a `Refuse`."""
    content_type: str = "application/json"
    notes: tuple[Note, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """Further `x-tidegate-*` response headers."""
    hold: Hold | None = None
    """Settled like that of an `Admit`."""


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """The request does not leave. The message tells the caller what to change."""

    status: int
    error_type: str
    message: str
    rule: str
    pointer: str = ""
    retry_after_s: int | None = None
    """Set where waiting helps; otherwise the client is told not to retry."""
    notes: tuple[Note, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    """`x-tidegate-*` response headers, such as what is left of a limit."""
    hold: Hold | None = None
    """Settled like that of an `Admit`: where the refusal has no effect, in shadow, what
    was refused is used all the same."""


Decision = Admit | Refuse | Answer
ADMIT = Admit()
"""The plain yes, shared."""
NOT_CONCERNED = Admit(evaluated=False)
"""The yes of a policy that has no say here, such as token limits about a list of models."""


@runtime_checkable
class Policy(Protocol):
    """In the path, once per request, concurrently: keep no state between calls but your own."""

    async def admit(self, exchange: Exchange, request: Request) -> Decision:
        """Decide. Raising, or taking longer than `timeout_s`, refuses the request."""
        ...


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that a policy reports. The metrics show it as `tidegate_NAME`."""

    name: str
    """Lower case and underscores, with the unit: `quota_used_ratio`."""
    labels: tuple[tuple[str, str], ...]
    """Few values each: every combination is a series."""
    value: float


@dataclass(frozen=True, slots=True)
class Report:
    """How a policy is."""

    healthy: bool = True
    """False makes the gateway not ready if the policy's trouble refuses requests."""
    message: str = ""
    """What is wrong, for operators. Never content, never a credential. Of one that is healthy:
    what `tidegate check` warns of."""
    gauges: tuple[Gauge, ...] = ()


@runtime_checkable
class Reporting(Protocol):
    """A policy that also tells how it is."""

    def report(self) -> Report:
        """Return it at once, from memory. Called several times a second."""
        ...


@runtime_checkable
class Inspector(Protocol):
    """A policy that also wants to see answers, when they are over and have been passed on.

    Nothing waits for it and nothing can be changed any more: it can only find. Its notes
    are a record of their own, `tidegate.record.Inspection`.
    """

    inspects: bool
    """Whether it wants to. Asked once, when it has been opened: a copy of each answer is
    kept in memory for it."""

    async def inspect(
        self, exchange: Exchange, principal: Principal, answer: Transcript
    ) -> tuple[Note, ...]:
        """Return what there is in an answer to the `messages` route.

        `answer.missing` the core records itself. Raising, or taking longer than
        `timeout_s`, is recorded as `not_evaluated`. May be cancelled.
        """
        ...


@runtime_checkable
class Redactor(Protocol):
    """A policy that can also take secrets out of what is kept: `journal.content`."""

    redacts: bool
    """Whether it does, as it is configured. Asked once, when it has been opened."""

    async def clean(self, document: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Return a copy of a request or an answer in which every secret found is replaced.

        Wherever it stands: nothing need be able to read it any more. Raising, or taking
        longer than `timeout_s`, means that it is not kept.
        """
        ...


@runtime_checkable
class Observer(Protocol):
    """In the observatory: each record at least once, in the order each worker wrote them.

    One that has an attribute `reads_content = True` is fed `tidegate.record.Content`, too,
    where the configuration keeps content. It comes after the exchange, as a rule; perhaps before.
    """

    async def on_record(self, record: Record) -> None:
        """Take one record in. Called one at a time."""
        ...

    async def flush(self) -> bytes:
        """Make everything taken in so far safe, and return the state to restart from.

        Called after each batch of records. The core saves the returned bytes together
        with the position in the journal, atomically; on a restart they come back as
        `Host.state`, and records follow from that position. Return `b""` if there is
        no state.

        Raises:
            Unavailable: the destination does not answer. The core waits, calls `flush`
                again, and feeds nothing until it succeeds.
        """
        ...


@runtime_checkable
class Scrapable(Protocol):
    """An observer that also answers `GET /metrics` on the admin port."""

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition and its content type. Called in a thread of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverLag:
    """How far one observer is behind the journal, and what it will never see."""

    observer: str
    bytes: int = 0
    """Written, and not read by it yet."""
    records: int = 0
    """Read by it, and not made safe by a `flush` yet."""
    seconds: float = 0.0
    """Since it last had everything, and had it safe; 0 if that is now."""
    lost_records: int = 0
    """Removed before it had read them. Counts on over restarts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalState:
    """What is on disk now, and what retention has removed since the journal was begun."""

    bytes: int = 0
    segments: int = 0
    removed_segments: int = 0
    removed_records: int = 0


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin of the configuration that is in use, as told to observers."""

    name: str
    use: str
    stage: str
    """`identify`, `authorize`, `reserve`, `transform`, or `observer`."""
    mode: str
    """`enforce` or `shadow`."""
    version: str
    """Of the package that brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a `Browsable` answers with."""

    body: bytes
    content_type: str
    status: int = 200


@runtime_checkable
class Browsable(Protocol):
    """An observer that also answers `GET` on paths of the admin port, to people.

    Pages only read. They are served with a Content-Security-Policy that allows what they
    bring themselves, and no inline script or style.
    """

    def page(self, path: str, query: Mapping[str, str]) -> Page | None:
        """Return what is at `path` (`/`, `/usage/app.js`), or None: not one of its paths.

        Called in a thread, perhaps in several at once. `path` and `query` are whatever
        somebody wrote. What takes longer than a few seconds is not waited for.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the core gives a plugin when it opens it."""

    name: str
    """The instance's name: `use`, or `name` where the file gives one."""
    clock: Clock
    spawn: Callable[[Awaitable[None], str], None]
    """Run something in the background, owned by the generation and cancelled with it."""
    state_dir: Path
    """Where this deployment keeps state (the journal's directory). Created, writable."""
    worker: int = 0
    workers: int = 1
    """How many there are on this machine."""
    forwards_credential: bool = False
    """There is an upstream that is sent the caller's own credential (`upstream.credential`)."""
    state: bytes = field(default=b"", repr=False)
    """Observers: what the last `flush` before this start returned."""
    info: tuple[tuple[str, str], ...] = ()
    """Facts of the process for a build metric: version."""
    digest: Callable[[], str] = field(default=str, repr=False)
    """The digest of the configuration in use now: a reload may change it without opening an
    observer again."""
    lags: Callable[[], Sequence[ObserverLag]] = field(default=tuple, repr=False)
    """Observers: how far each of them is behind, itself included. Looks at the disk: for scrapes."""
    journal: Callable[[], JournalState] = field(default=JournalState, repr=False)
    """Observers: the size of the journal. Looks at the disk: for scrapes."""
    plugins: Callable[[], Sequence[LoadedPlugin]] = field(default=tuple, repr=False)
    """Observers: the plugins that are in use now."""


C = TypeVar("C", bound=PluginConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSpec(Generic[C]):
    """What an entry point names: how a plugin is configured, opened and where it stands."""

    config: type[C]
    open: Callable[[C, Host], AbstractAsyncContextManager[Any]]
    """Open the plugin; leaving the context closes it. Yields a `Policy` or an `Observer`."""
    stage: Stage | None = None
    """None: an observer."""
    summary: str = ""
    """One sentence for `tidegate plugins`."""
    default: dict[str, object] = field(default_factory=dict)
    """The configuration used where the file gives none."""
    replayable: bool = False
    """A policy that takes nothing and reads nothing but the principal, the route, the betas
    and what `tidegate.wire.outline` keeps of a request. `tidegate policy replay` asks it
    again about what the journal tells; it counts what the others would have to say."""
