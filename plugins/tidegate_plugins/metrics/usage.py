"""What exchanges used: tokens by type, their price, and how much of it is known."""

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.record import ExchangeRecord, Usage
from tidegate_plugins.metrics import catalogue
from tidegate_plugins.metrics.labelset import Labels
from tidegate_plugins.metrics.series import CounterSeries, HistogramSeries, observe
from tidegate_plugins.metrics.state import Buckets, Count, State
from tidegate_plugins.prices import Cost

Pricing = Callable[[ExchangeRecord], Cost]
"""What an exchange costs; the record has usage."""

TOKEN_TYPES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
MAX_TOKENS = 2**40
"""No answer has more. What an upstream says must not make a counter fall or overflow."""


@dataclass(frozen=True, slots=True)
class _Account:
    """The series of one model and team."""

    tokens: tuple[Count, ...]
    reasoning: Count
    asked: Buckets
    answered: Buckets


class Used:
    """Counts usage."""

    def __init__(self, state: State, labels: Labels, pricing: Pricing) -> None:
        self._labels = labels
        self._pricing = pricing
        self._accounts: dict[tuple[str, str], _Account] = {}
        self._tokens = CounterSeries(state, catalogue.TOKENS)
        self._reasoning = CounterSeries(state, catalogue.REASONING)
        self._sizes = HistogramSeries(state, catalogue.REQUEST_TOKENS)
        self._tools = CounterSeries(state, catalogue.SERVER_TOOLS)
        self._cost = CounterSeries(state, catalogue.COST)
        self._unpriced = CounterSeries(state, catalogue.UNPRICED)
        self._unparsed = CounterSeries(state, catalogue.UNPARSED)
        sources = CounterSeries(state, catalogue.USAGE_SOURCES)
        self._sources = {source: sources.at((source,)) for source in ("final", "partial", "none")}

    def add(self, record: ExchangeRecord, model: str, team: str) -> None:
        """Count what one exchange used, under these values of the labels."""
        if record.meter:
            self._unparsed.add((self._labels.reason(record.meter),))
        if record.dispatched and record.route == "messages":
            self._sources[record.usage_source].value += 1
        usage = record.usage
        if usage is None:
            return
        amounts = (
            *(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h),
            usage.output,
        )
        if min(amounts) < 0 or max(*amounts, usage.thinking) > MAX_TOKENS or usage.thinking < 0:
            self._unparsed.add(("implausible",))
            return
        account = self._accounts.get((model, team)) or self._open(model, team)
        for series, amount in zip(account.tokens, amounts, strict=True):
            series.value += amount
        account.reasoning.value += usage.thinking
        if record.route == "messages":
            observe(account.asked, catalogue.TOKENS_SIZE, sum(amounts) - usage.output)
            observe(account.answered, catalogue.TOKENS_SIZE, usage.output)
        self._server_tools(usage, model)
        self._price(record, model, team)

    def _open(self, model: str, team: str) -> _Account:
        account = self._accounts[model, team] = _Account(
            tuple(self._tokens.at((model, team, type_)) for type_ in TOKEN_TYPES),
            self._reasoning.at((model, team)),
            self._sizes.at((model, "input")),
            self._sizes.at((model, "output")),
        )
        return account

    def _server_tools(self, usage: Usage, model: str) -> None:
        for tool, count in (
            ("web_search", usage.web_search_requests),
            ("web_fetch", usage.web_fetch_requests),
        ):
            if 0 < count <= MAX_TOKENS:
                self._tools.add((model, tool), count)

    def _price(self, record: ExchangeRecord, model: str, team: str) -> None:
        cost = self._pricing(record)
        if not cost.priced:
            self._unpriced.add((model,))
        for type_, nano_usd in cost.by_type.items():
            self._cost.add((model, team, type_), nano_usd)
