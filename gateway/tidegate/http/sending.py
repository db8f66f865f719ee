"""The way upstream: which one, with which credential, under which head."""

from collections.abc import Sequence

from tidegate.http.head import Head
from tidegate.http.pool import Pool
from tidegate.http.reply import refuse
from tidegate.pipeline.admission import Admission
from tidegate.pipeline.conclude import Course
from tidegate.pipeline.targets import Target, choose, header_of, model_of
from tidegate.wire import headers
from tidegate.wire.headers import Pair
from tidegate.wire.routes import WITH_BODY

VERSION = b"anthropic-version"


def target_of(targets: Sequence[Target], course: Course, admission: Admission) -> Target:
    """Return the upstream that an admitted request goes to, and note it in its course.

    Raises:
        Refusal: there is none for it, or it can't be asked that.
    """
    exchange, request = course.exchange, admission.request
    target = choose(targets, exchange, request)
    if target is None:
        message = f"model: {model_of(exchange, request) or 'none'} is served by no upstream here"
        raise refuse(404, message, "no_upstream", pointer="/model")
    if not target.has(exchange.route.kind):
        message = f"{exchange.route.path} does not exist at the upstream `{target.name}`"
        raise refuse(404, message, "endpoint")
    if admission.credential_forwarded and target.credential(request.principal.team) is not None:
        message = f"the upstream `{target.name}` is for callers with a key of this gateway"
        raise refuse(401, message, "credential_not_forwarded")
    needs_version = target.profile.version_policy == "required" and course.caller is None
    if needs_version and not exchange.headers.get(VERSION.decode()):
        raise refuse(400, "anthropic-version: header is required", "version")
    course.upstream, course.origin = target.name, target.origin
    course.provider = target.config.profile
    return target


def credential_for(target: Target, admission: Admission) -> tuple[Pair | None, bool]:
    """Return the credential to send, and whether in its place the caller's headers go as they are.

    A key of this gateway goes nowhere. Where an upstream takes a credential in one form only,
    the caller's is put into that form.
    """
    own = target.credential(admission.request.principal.team)
    if own is not None or admission.credential_consumed:
        return own, False
    presented, form = admission.request.credential, target.profile.auth_header
    if presented is None or form is None or presented.form == "authorization":
        return None, True
    return header_of(form, presented.value), False


def request_head(
    head: Head, course: Course, admission: Admission, target: Target, pool: Pool
) -> bytes:
    """Return the head of an admitted request as its upstream gets it."""
    route = course.exchange.route
    path = (pool.prefix + route.target).encode("utf-8", "surrogateescape")
    start = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (route.method.encode(), path, pool.authority)
    lines = _lines(head, course, admission, target)
    if route.kind in WITH_BODY or route.method == "POST":
        return b"%s%sContent-Length: %d\r\n\r\n" % (start, lines, len(admission.request.body.raw))
    return start + lines + b"\r\n"


def _lines(head: Head, course: Course, admission: Admission, target: Target) -> bytes:
    """Return the lines that go on, made anew only where something of it has changed."""
    profile = target.profile
    credential, forward = credential_for(target, admission)
    consumed = admission.consumed_headers
    if course.caller is not None:
        pairs = versioned(
            course.caller.headers(head.pairs), profile.version_policy, profile.api_version
        )
        return upstream_lines(pairs, credential, forward=forward, consumed=consumed)
    under = (target.name, profile, credential, forward, consumed)
    if head.sent is None or head.sent[0] != under:
        pairs = versioned(head.pairs, profile.version_policy, profile.api_version)
        lines = upstream_lines(pairs, credential, forward=forward, consumed=consumed)
        head.sent = under, lines
    return head.sent[1]


def upstream_lines(
    pairs: Sequence[Pair],
    credential: Pair | None,
    *,
    forward: bool,
    consumed: frozenset[str] = frozenset(),
) -> bytes:
    """Return the header lines for the upstream: all end-to-end headers, in their order.

    `credential` replaces whatever the caller sent; without one the caller's own goes, if it is
    to `forward`: a key of this gateway is not. `consumed` are headers for the gateway alone.
    """
    stop, private = headers.REQUEST_STOP, headers.NO_OPTIONS
    if consumed:
        stop = stop.union(name.encode() for name in consumed)
    forward = forward and credential is None
    kept: list[Pair] = []
    for pair in pairs:
        name = pair[0].lower()
        if name not in stop:
            kept.append(pair)
        elif name == b"accept-encoding":
            kept.append((pair[0], headers.accept_encoding(pair[1])))
        elif forward and name in headers.CREDENTIALS and pair[1].strip():
            kept.append(pair)
        elif name == b"connection":
            private |= headers.options(pair[1])
    if private:
        kept = [pair for pair in kept if pair[0].lower() not in private]
    if credential is not None:
        kept.append(credential)
    return headers.encode(kept)


def versioned(pairs: Sequence[Pair], policy: str, version: str) -> Sequence[Pair]:
    """Return the request's headers with `anthropic-version` as the upstream's profile wants it."""
    if policy == "forced":
        pairs = [pair for pair in pairs if pair[0].lower() != VERSION]
    elif policy != "added" or any(
        name.lower() == VERSION and value.strip() for name, value in pairs
    ):
        return pairs
    return [*pairs, (VERSION, version.encode())]


def own_headers(course: Course) -> list[Pair]:
    """Return what is added to every answer: the record's id, and what policies announce."""
    fields: list[Pair] = [(b"x-tidegate-id", course.exchange.id.encode())]
    if course.admission is not None:
        fields += [(name.encode(), value.encode()) for name, value in course.admission.headers]
    return fields


def own_lines(course: Course) -> bytes:
    """Return the same as header lines, without the last one's CRLF."""
    return headers.encode(own_headers(course))[:-2]
