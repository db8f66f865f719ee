"""The controls: how a caller makes the simulator slow, odd or broken.

A control is a key and a value. They come in the header `x-simulate`, or in the name of the
model for a caller that cannot set headers; where both say something, the header counts.
`CONTROLS` lists them for people.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from tidegate.simulator.errors import ApiError

HEADER = "x-simulate"
ECHO = "sim-echo"
"""The model that answers without any control."""

CONTROLS = """\
Ask for a behaviour in a header
    x-simulate: cut=3, pace_ms=20
or, where headers cannot be set, in the name of the model
    sim-cut-3-pace_ms-20                  a model of its own
    claude-haiku-4-5:sim-cut-3            a real model with a control
(`sim-echo` is plain; `slow` and `delay` are short for pace_ms and delay_ms). The header wins.
Any credential will do in either header, only `sk-invalid` gets a 401.

errors, before anything is checked
    error=400|401|402|403|404|408|409|413|429|500|503|504|529, or an error type by its name
    error=502          an HTML page without the API's envelope
    error=disconnect   close the connection without an answer
    times=N            only while x-stainless-retry-count is below N: later attempts succeed
    retry_after=N      seconds, with error=429 (default 1)
    should_retry=true|false   the header x-should-retry
    status=N           this HTTP status, whatever the answer is
answers
    answer=text|tool_use|refusal|pause_turn|compaction|fallback|context_window|redacted_thinking
    tokens=N           a text of exactly N tokens
    events=N           a text in exactly N deltas (as far as max_tokens lets it)
    usage=zero_start   message_start counts nothing, message_delta everything
    usage=output_only  message_delta holds output_tokens alone, as older models do
time and form
    delay_ms=N         before the head
    pace_ms=N          between events
    chunk=event        one write per event (default)
    chunk=N            N bytes per write, across events; 0: everything in one write
    framing=length     Content-Length instead of chunks, for JSON
    gzip=1             compressed, flushed after every event; never without this control
    crlf=1             CRLF line ends
    unknown_event=1    an event of a type that nobody knows, with a misleading usage
faults, counted in events (a JSON answer counts as two: its halves)
    cut=N              after N events close the connection without an end
    reset=1            the cut is a TCP reset; what was sent may be lost with it
    stall=N            after N events hang until the client leaves
    error_event=N      after N events an in-stream overloaded_error
    eof=N              after N events a clean end without message_stop

What came in can be looked at, without a credential:
    GET /_sim/requests     the last 200 requests: target, headers in order, body in base64
    DELETE /_sim/requests  forget them
    GET /_sim/stats        counters, and what is going on; ?wait=idle answers when nothing is
"""
"""For people: what `tidegate simulator --help` shows."""

Count = Annotated[int, msgspec.Meta(ge=0)]
AnswerKind = Literal[
    "",
    "text",
    "tool_use",
    "refusal",
    "pause_turn",
    "compaction",
    "fallback",
    "context_window",
    "redacted_thinking",
]

PER_EVENT = -1
"""`chunk`: as many writes as events."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The controls of one request. `CONTROLS` says what each does."""

    error: str = ""
    times: Count | None = None
    retry_after: Count = 1
    should_retry: Literal["", "true", "false"] = ""
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    answer: AnswerKind = ""
    tokens: Count | None = None
    events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    usage: Literal["", "zero_start", "output_only"] = ""
    delay_ms: Count = 0
    pace_ms: Count = 0
    chunk: Annotated[int, msgspec.Meta(ge=PER_EVENT)] = PER_EVENT
    framing: Literal["chunked", "length"] = "chunked"
    gzip: bool = False
    crlf: bool = False
    unknown_event: bool = False
    cut: Count | None = None
    reset: bool = False
    stall: Count | None = None
    error_event: Count | None = None
    eof: Count | None = None


_SHORT = {"slow": "pace_ms", "delay": "delay_ms"}


def read(headers: Mapping[str, str], model: str) -> Options:
    """Return the controls of a request.

    Raises:
        ApiError: the header asks for something that the simulator does not know.
    """
    pairs = split_model(model)[1] | _header_pairs(headers.get(HEADER, ""))
    try:
        return msgspec.convert(pairs, Options, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"{HEADER}: {error}") from None


def split_model(name: str) -> tuple[str, dict[str, str]]:
    """Return the name of a model without its controls, and those.

    A name that only looks like controls has none: the catalogue will not know it.
    """
    base, mark, suffix = name.partition(":sim-")
    if mark:
        pairs = _name_pairs(suffix)
        return (base, pairs) if pairs else (name, {})
    if name.startswith("sim-") and name != ECHO:
        return name, _name_pairs(name.removeprefix("sim-"))
    return name, {}


def _name_pairs(text: str) -> dict[str, str]:
    words = text.split("-")
    if len(words) % 2:
        return {}
    keys = [_SHORT.get(key, key) for key in words[::2]]
    pairs = _translated(dict(zip(keys, words[1::2], strict=True)))
    try:
        msgspec.convert(pairs, Options, strict=False)
    except msgspec.ValidationError:
        return {}
    return pairs


def _header_pairs(value: str) -> dict[str, str]:
    pairs = {}
    for item in filter(None, (item.strip() for item in value.split(","))):
        key, _, text = item.partition("=")
        pairs[_SHORT.get(key.strip(), key.strip())] = text.strip()
    return _translated(pairs)


def _translated(pairs: dict[str, str]) -> dict[str, str]:
    if pairs.get("chunk") == "event":
        pairs["chunk"] = str(PER_EVENT)
    return pairs
