"""The event that holds what was asked and answered, where the configuration keeps that.

Source: GenAI conventions, event `gen_ai.client.inference.operation.details`. The content is
that of the journal: after redaction, bounded, without media.
"""

import msgspec

from tidegate.record import Content, ExchangeRecord
from tidegate_plugins.logs.messages import input_messages, output_messages, system_instructions
from tidegate_plugins.otlp import attributes, semconv
from tidegate_plugins.otlp.attributes import Attributes

MAX_BYTES = 3 * 1024 * 1024
"""Of one event: a collector that takes less than 4 MiB would refuse it for ever."""


def size_of(content: Content) -> int:
    """Return about how large its event is, in bytes."""
    return len(msgspec.json.encode(content))


def details(content: Content, exchange: ExchangeRecord | None) -> dict[str, object]:
    """Return the event's attributes; without its exchange, as far as the content tells them."""
    said: Attributes = attributes.inference_attributes(exchange) if exchange else _told(content)
    found: dict[str, object] = {**said, semconv.ID: content.id}
    if content.missing:
        found[semconv.CONTENT_MISSING] = content.missing
    if size_of(content) > MAX_BYTES:
        found[semconv.CONTENT_MISSING] = (*content.missing, "all: too large for an event")
        return found
    request, response = content.request or {}, content.response or {}
    messages = {
        semconv.SYSTEM_INSTRUCTIONS: system_instructions(request),
        semconv.INPUT_MESSAGES: input_messages(request),
        semconv.OUTPUT_MESSAGES: output_messages(response),
    }
    return found | {name: value for name, value in messages.items() if value}


def _told(content: Content) -> Attributes:
    request, response = content.request or {}, content.response or {}
    found: Attributes = {semconv.OPERATION: "chat", semconv.PROVIDER: "anthropic"}
    for name, value in (
        (semconv.REQUEST_MODEL, request.get("model")),
        (semconv.RESPONSE_MODEL, response.get("model")),
        (semconv.RESPONSE_ID, response.get("id")),
    ):
        if isinstance(value, str):
            found[name] = value
    return found
