"""The API of a provider that resells (messages-api sheet, section 11): the profile `onedim`.

It takes Bearer tokens only, has two models and two endpoints, counts tokens without a split,
sends no ids and no rate limits, and takes what its documentation lists.
"""

import hashlib
from dataclasses import replace
from typing import Any

from tidegate.simulator import (
    answers,
    catalogue,
    chat,
    checks,
    conversation,
    messages,
    replies,
    stream,
)
from tidegate.simulator.api import REFUSED_KEY, Api
from tidegate.simulator.catalogue import Model
from tidegate.simulator.errors import ApiError
from tidegate.simulator.ids import Ids
from tidegate.simulator.ledger import Received
from tidegate.simulator.messages import Answer
from tidegate.simulator.options import Options
from tidegate.simulator.replies import Pairs, Reply

MODELS = ("claude-opus-4-7", "claude-sonnet-4-6")
_FLAT = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_THINKING = ("adaptive", "disabled", "enabled")


class Provider(Api):
    """Answers as such a provider does."""

    def _route(self, received: Received, controls: Options, headers: Pairs) -> Reply:
        path = received.target.partition("?")[0]
        if path not in ("/v1/messages", "/v1/chat/completions") or received.method != "POST":
            raise ApiError(404, "Not Found")
        _authenticate(received)
        document = checks.parse(received.body)
        if path == "/v1/messages":
            answer = self._answer(document, controls, received)
            if document.get("stream"):
                return replies.stream(stream.frames(answer, controls, ""), controls, ())
            return replies.document(answer.message, controls, ())
        answer = self._answer(chat.to_messages(document), controls, received)
        if document.get("stream"):
            usage = bool((document.get("stream_options") or {}).get("include_usage"))
            return replies.stream(chat.frames(answer.message, usage=usage), controls, ())
        return replies.document(chat.completion(answer.message), controls, ())

    def _answer(self, document: dict[str, Any], controls: Options, received: Received) -> Answer:
        model = _checked(document)
        ids = Ids(hashlib.sha256(received.body).hexdigest(), self._count)
        given = self._cache.measure(model.id, document)
        draft = answers.compose(document, controls, ids)
        return _flat(messages.build(document, model, given, draft, ids))


def _authenticate(received: Received) -> None:
    scheme, _, token = received.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or token.strip() in ("", REFUSED_KEY):
        raise ApiError(401, "Invalid token")


def _checked(document: dict[str, Any]) -> Model:
    checks.fields(document, api_version=checks.LEGACY, betas="", counting=False)
    name = document["model"]
    if name not in MODELS:
        raise ApiError(404, f"model: {name}")
    model = replace(catalogue.find(name), thinking=_THINKING)
    conversation.check(document, model, checks.LEGACY)
    checks.limits(document, model)
    checks.abilities(document, model)
    return model


def _flat(answer: Answer) -> Answer:
    usage = {key: answer.message["usage"].get(key, 0) for key in _FLAT}
    message = {key: value for key, value in answer.message.items() if key != "stop_sequence"}
    first = {key: answer.first_usage.get(key, 0) for key in _FLAT}
    return Answer(message | {"usage": usage}, answer.first_model, first)
