"""How much a request may use, and how much an exchange has used, by measure."""

from collections.abc import Iterator
from typing import Any

from tidegate.exchange import Request
from tidegate.record import ExchangeRecord
from tidegate_plugins.prices import Prices
from tidegate_plugins.prices.passes import passes

Amounts = dict[str, int]
"""By measure: `requests`, `input_tokens`, `output_tokens`, `tokens`, `usd` (nanodollars),
`concurrent`."""

BYTES_PER_TOKEN = 4
"""Of JSON with prose or code in it. An estimate; what is charged is what the answer says."""

SEARCHED_BYTES = 65_536
"""From this size on a body is searched for files, which are many bytes and few tokens."""

FILE_TOKENS = 1600
"""Of one image: about as much as the largest takes."""
FILE_BYTES_PER_TOKEN = 40
"""Of base64 beyond that, such as of a long PDF."""

MOST_INPUT_TOKENS = 1_000_000
"""The largest context there is."""

NOTHING: Amounts = {}


def estimate(request: Request, prices: Prices, at: float) -> Amounts:
    """Return what a request may use: its size as input, `max_tokens` as output."""
    input_tokens = min(_input_tokens(request), MOST_INPUT_TOKENS)
    output_tokens = request.view.max_tokens or 0
    model = request.view.model or ""
    return {
        "requests": 1,
        "concurrent": 1,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "tokens": input_tokens + output_tokens,
        "usd": prices.estimate(model, input_tokens, output_tokens, at),
    }


def used(record: ExchangeRecord, prices: Prices) -> Amounts:
    """Return what an exchange has used, of what is known; of one that never left, nothing.

    Tokens are those of every pass that the answer lists, as dollars are.
    """
    if not record.dispatched:
        return NOTHING
    ran = passes(record)
    output_tokens = all_tokens = 0
    for each in ran:
        output_tokens += each.tokens[1]
        all_tokens += sum(each.tokens)
    return {
        "requests": int(record.outcome != "unreachable"),
        "input_tokens": all_tokens - output_tokens,
        "output_tokens": output_tokens,
        "tokens": all_tokens,
        "usd": prices.cost(record, ran).nano_usd,
    }


def _input_tokens(request: Request) -> int:
    size = len(request.body.raw)
    if size < SEARCHED_BYTES or not request.body.mentions("source"):
        return size // BYTES_PER_TOKEN + 1
    files = list(_files(request.body.document.get("messages"), 6))
    tokens = sum(max(FILE_TOKENS, length // FILE_BYTES_PER_TOKEN) for length in files)
    return tokens + max(size - sum(files), 0) // BYTES_PER_TOKEN + 1


def _files(value: Any, depth: int) -> Iterator[int]:
    """Yield the length of each base64 source, down to those within tool results."""
    if type(value) is list:
        for item in value:
            yield from _files(item, depth)
    elif type(value) is dict and depth:
        source = value.get("source")
        if type(source) is dict and source.get("type") == "base64":
            data = source.get("data")
            yield len(data) if type(data) is str else 0
        yield from _files(value.get("content"), depth - 1)
