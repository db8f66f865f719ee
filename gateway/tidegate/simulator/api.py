"""The API without a network: from a request as received to a reply."""

import hashlib
from typing import Any
from urllib.parse import parse_qs

from tidegate.simulator import (
    answers,
    catalogue,
    checks,
    conversation,
    messages,
    options,
    prompt,
    replies,
    stream,
)
from tidegate.simulator.errors import ApiError, Disconnect, demanded
from tidegate.simulator.ids import Ids, short
from tidegate.simulator.ledger import Received
from tidegate.simulator.options import Options
from tidegate.simulator.prompt import PromptCache
from tidegate.simulator.replies import Pairs, Reply

REFUSED_KEY = "sk-invalid"
"""The one credential that is not accepted."""

_METHODS = {
    "/": ("HEAD", "GET"),
    "/api/hello": ("HEAD", "GET"),
    "/v1/messages": ("POST",),
    "/v1/messages/count_tokens": ("POST",),
    "/v1/models": ("GET",),
}
_ONE_MODEL = "/v1/models/"


class Api:
    """Answers requests. All that it remembers is how many there were, and prompt prefixes."""

    def __init__(self) -> None:
        self._count = 0
        self._cache = PromptCache()

    def reply(self, received: Received) -> Reply:
        """Return what to send."""
        self._count += 1
        received.request_id = f"req_011C{short('request', self._count, length=20)}"
        headers = replies.common(received.request_id, self._count)
        controls = Options()
        try:
            controls = options.read(received.headers, _model_name(received))
            _fail_on_demand(controls, received.headers.get("x-stainless-retry-count", "0"))
            return self._route(received, controls, headers)
        except ApiError as error:
            return replies.failure(error, controls, received.request_id, headers)
        except Disconnect:
            return replies.nothing()

    def _route(self, received: Received, controls: Options, headers: Pairs) -> Reply:
        path, _, query = received.target.partition("?")
        methods = _METHODS.get(path) or (("GET",) if path.startswith(_ONE_MODEL) else ())
        if not methods:
            raise ApiError(404, "Not Found")
        if received.method not in methods:
            raise ApiError(405, "Method Not Allowed", (("allow", ", ".join(methods)),))
        if "HEAD" in methods:
            return replies.empty(200, headers)
        _authenticate(received)
        checks.version(received.headers.get("anthropic-version", ""))
        checks.betas(received.headers.get("anthropic-beta", ""))
        if received.size > checks.LARGEST_BODY:
            raise ApiError(413, "Request exceeds the maximum size")
        if path == "/v1/messages":
            return self._message(received, controls, headers)
        return replies.document(_small(received, path, query), controls, headers)

    def _message(self, received: Received, controls: Options, headers: Pairs) -> Reply:
        document = checked(received, counting=False)
        model = catalogue.find(document["model"])
        ids = Ids(hashlib.sha256(received.body).hexdigest(), self._count)
        draft = answers.compose(document, controls, ids)
        given = self._cache.measure(model.id, document)
        answer = messages.build(document, model, given, draft, ids)
        if document.get("stream"):
            frames = stream.frames(answer, controls, received.request_id)
            return replies.stream(frames, controls, headers)
        return replies.document(answer.message, controls, headers)


def _small(received: Received, path: str, query: str) -> dict[str, Any]:
    """Return what the endpoints next to messages answer."""
    if path == "/v1/messages/count_tokens":
        return {"input_tokens": prompt.count(checked(received, counting=True))}
    if path == "/v1/models":
        return catalogue.page({key: values[-1] for key, values in parse_qs(query).items()})
    return catalogue.describe(catalogue.find(path.removeprefix(_ONE_MODEL)))


def checked(received: Received, *, counting: bool) -> dict[str, Any]:
    """Return the document of a request with a prompt.

    Raises:
        ApiError: the API would not take it.
    """
    headers = received.headers
    document = checks.parse(checks.decode(received.body, headers.get("content-encoding", "")))
    version = headers["anthropic-version"]
    betas = headers.get("anthropic-beta", "")
    checks.fields(document, api_version=version, betas=betas, counting=counting)
    model = catalogue.find(document["model"])
    conversation.check(document, model, version)
    if not counting:
        checks.limits(document, model)
    checks.abilities(document, model)
    return document


def _authenticate(received: Received) -> None:
    scheme, _, token = received.headers.get("authorization", "").partition(" ")
    keys = [received.headers.get("x-api-key", "")]
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    if not any(keys):
        raise ApiError(401, "x-api-key header is required")
    if REFUSED_KEY in keys:
        raise ApiError(401)


def _model_name(received: Received) -> str:
    """Return the model's name as far as it can be told from any body: it may hold controls."""
    try:
        body = checks.decode(received.body, received.headers.get("content-encoding", ""))
        name = checks.parse(body).get("model") if b"sim-" in body else ""
    except ApiError:
        return ""
    return name if isinstance(name, str) else ""


def _fail_on_demand(controls: Options, attempt: str) -> None:
    if not controls.error:
        return
    if controls.times is None or (attempt.isdecimal() and int(attempt) < controls.times):
        raise demanded(controls.error, controls.retry_after)
