"""What an exchange costs: a versioned table of prices, and integer arithmetic over it.

Money is whole nanodollars (10⁻⁹ US dollars); each class of tokens of each pass is rounded up
to the next. Nothing is fetched: the table is a file of this package, and one of the operator's
adds to it and overrides it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import msgspec

from tidegate.record import ExchangeRecord, Usage
from tidegate_plugins.model_ids import Pattern, canonical, pattern, undated
from tidegate_plugins.prices import table
from tidegate_plugins.prices.passes import CLASSES, Pass, answered, passes
from tidegate_plugins.prices.table import Rates, Row, Table

EVERYWHERE = ""
"""In place of an upstream's name: prices that count whatever it is."""

DEFAULT = "default"
"""What `Cost.model` says of a model that the table does not know."""

_CLOUD = re.compile(r"(?:(?:us|eu|apac|jp|au|global)\.)?anthropic\.|anthropic/")
_VERSION = re.compile(r"-v[0-9]+(?::[0-9]+)?")


class Cost(msgspec.Struct, frozen=True):
    """What one exchange costs."""

    nano_usd: int = 0
    """Nanodollars; the sum of `by_type`."""
    by_type: dict[str, int] = {}
    """Nanodollars of `input`, `output`, `cache_read`, `cache_write_5m`, `cache_write_1h` and
    `server_tools`; what is 0 is left out."""
    priced: bool = True
    """False: the table does not know a model that ran, or not its price in fast mode; it was
    charged at the default, or at its ordinary price."""
    model: str = ""
    """The table's id of the model that answered; `default` if it has none."""


_Pico = tuple[int, int, int, int, int]
"""Picodollars per token, in the order of `CLASSES`."""


@dataclass(frozen=True, slots=True)
class _Epoch:
    """Prices from a time on."""

    since: float
    """Seconds since the epoch."""
    ordinary: _Pico
    fast: _Pico | None
    long: _Pico | None
    above: int
    geography: bool

    def pico(self, prompt: int, *, fast: bool = False) -> _Pico:
        """Return the prices of a request with so many tokens of prompt."""
        if fast and self.fast is not None:
            return self.fast
        if self.long is not None and prompt > self.above:
            return self.long
        return self.ordinary


@dataclass(frozen=True, slots=True)
class _Family:
    """One id of the table, and its prices over time, the newest first."""

    name: str
    pattern: Pattern
    epochs: tuple[_Epoch, ...]

    def at(self, at: float) -> _Epoch:
        """Return the prices of a time; before the first ones begin, the first ones."""
        for epoch in self.epochs:
            if epoch.since <= at:
                return epoch
        return self.epochs[-1]


class Prices:
    """A price table, ready to be asked. Immutable; one may be shared."""

    def __init__(self, tables: Iterable[Table]) -> None:
        """Later tables add to the earlier ones, and win."""
        families: dict[tuple[str, str], _Family] = {}
        geography: dict[str, Decimal] = {}
        tools: dict[str, Decimal] = {}
        versions = []
        batch, default = Decimal("0.5"), None
        for each in tables:
            families |= _families(each.models)
            geography |= each.geography
            tools |= each.server_tools
            batch = batch if each.batch is None else each.batch
            default = each.default or default
            versions.append(each.version or "unversioned")
        if default is None:
            raise ValueError("a table without a default")
        self.version = "+".join(versions)
        """The shipped table's version, and `+` that of the operator's file."""
        self._families = families
        self._globs = [(up, f) for (up, _), f in families.items() if f.pattern.glob is not None]
        self._upstreams = {upstream for upstream, _ in families} - {EVERYWHERE}
        self._default = _epoch(_default_row(default))
        self._batch = table.permille(batch, "batch")
        self._geography = {k: table.permille(v, k) for k, v in geography.items()}
        self._tools = {k: table.picodollars(v, k) * 1000 for k, v in tools.items()}
        self.family = lru_cache(4096)(self._family)

    def cost(self, record: ExchangeRecord, ran: Sequence[Pass] | None = None) -> Cost:
        """Return what an exchange costs, of what is known of its usage; `ran` are its passes."""
        usage, upstream = record.usage, record.upstream or EVERYWHERE
        if usage is None:
            return Cost(model=self._name(answered(record), upstream))
        sums = dict.fromkeys(CLASSES, 0)
        priced = True
        for each in passes(record) if ran is None else ran:
            if each.billed:
                priced &= self._add(each, record, usage, sums)
        if usage.web_search_requests or usage.web_fetch_requests:
            sums["server_tools"] = self._server_tools(usage)
        by_type = {name: nano for name, nano in sums.items() if nano}
        return Cost(sum(by_type.values()), by_type, priced, self._name(answered(record), upstream))

    def estimate(
        self, model: str, input_tokens: int, output_tokens: int, at: float | None = None
    ) -> int:
        """Return nanodollars for tokens that are not spent yet, none of them cached.

        `at` is in seconds since the epoch; without it the newest prices count.
        """
        family = self.family(model)
        epoch = self._default if family is None else family.at(math.inf if at is None else at)
        prices = epoch.pico(input_tokens)
        return _nano(input_tokens * prices[0]) + _nano(output_tokens * prices[1])

    def _add(self, each: Pass, record: ExchangeRecord, usage: Usage, sums: dict[str, int]) -> bool:
        """Add what one pass costs; return whether its price is known."""
        family = self.family(each.model, record.upstream or EVERYWHERE)
        epoch = self._default if family is None else family.at(record.at)
        fast = usage.speed == "fast"
        prices = epoch.pico(sum(each.tokens) - each.tokens[1], fast=fast)
        factor = self._factor(epoch, usage)
        for name, tokens, pico in zip(CLASSES, each.tokens, prices, strict=True):
            if tokens:  # most classes of most answers have none
                sums[name] += _nano(tokens * pico * factor, 1_000_000)
        return family is not None and not (fast and each.own and epoch.fast is None)

    def _factor(self, epoch: _Epoch, usage: Usage) -> int:
        """Return what batch and geography make of a price, in millionths."""
        batch = self._batch if usage.service_tier == "batch" else 1000
        place = self._geography.get(usage.inference_geo or "", 1000) if epoch.geography else 1000
        return batch * place

    def _server_tools(self, usage: Usage) -> int:
        searches = usage.web_search_requests * self._tools.get("web_search", 0)
        return _nano(searches + usage.web_fetch_requests * self._tools.get("web_fetch", 0))

    def _name(self, model: str, upstream: str) -> str:
        family = self.family(model, upstream)
        return DEFAULT if family is None else family.name

    def _family(self, model: str, upstream: str = "") -> _Family | None:
        """Return the prices of a model, those of its upstream before those of everywhere."""
        plain = canonical(model)
        if plain is None:
            return None
        own = self._at(plain, upstream) if upstream in self._upstreams else None
        return own or self._at(plain, EVERYWHERE)

    def _at(self, plain: str, upstream: str) -> _Family | None:
        for spelling in _spellings(plain):
            if (upstream, spelling) in self._families:
                return self._families[upstream, spelling]
        fitting = [f for up, f in self._globs if up == upstream and f.pattern.allows(plain)]
        return max(fitting, key=lambda f: f.pattern.rank(plain), default=None)


def load(path: str | Path | None = None) -> Prices:
    """Return the shipped prices, with what a file adds and overrides.

    A file's row replaces all shipped rows of the ids that it names.

    Raises:
        PluginError: the file cannot be used; the message names place and fix.
    """
    tables = [table.shipped()]
    if path is not None:
        tables.append(table.read(Path(path)))
    return Prices(tables)


def _families(rows: Iterable[Row]) -> Mapping[tuple[str, str], _Family]:
    """Return the prices by upstream and id."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for upstream in row.upstreams or (EVERYWHERE,):
            for name in row.ids:
                found.setdefault((upstream, name), []).append(row)
    return {
        (upstream, name): _Family(
            name,
            pattern(name, "prices: ids"),
            tuple(sorted(map(_epoch, own), key=lambda epoch: epoch.since, reverse=True)),
        )
        for (upstream, name), own in found.items()
    }


def _spellings(model: str) -> Iterable[str]:
    """Yield an id, and the id that it is a snapshot or a cloud's spelling of."""
    yield model
    plain = _CLOUD.sub("", model, count=1) if _CLOUD.match(model) else model
    suffix = _VERSION.search(plain)
    if suffix is not None and suffix.end() == len(plain):
        plain = plain[: suffix.start()]
    yield plain
    yield undated(plain.replace("@", "-"))
    yield plain.removesuffix("-latest")


def _epoch(row: Row) -> _Epoch:
    since = -math.inf
    if row.since != date.min:
        since = datetime.combine(row.since, time(), UTC).timestamp()
    return _Epoch(
        since=since,
        ordinary=row.pico(),
        fast=None if row.fast is None else row.fast.pico(),
        long=None if row.long is None else row.long.pico(),
        above=0 if row.long is None else row.long.above,
        geography=row.geography,
    )


def _default_row(rates: Rates) -> Row:
    return Row(
        ids=(DEFAULT,),
        input=rates.input,
        cache_write_5m=rates.cache_write_5m,
        cache_write_1h=rates.cache_write_1h,
        cache_read=rates.cache_read,
        output=rates.output,
    )


def _nano(pico: int, divisor: int = 1) -> int:
    """Return whole nanodollars, rounded up."""
    return -(-pico // (table.PICO_PER_NANO * divisor))
