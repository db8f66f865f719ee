"""The cases of `tidegate policy test`: a TOML file, strict, every mistake with its place."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tidegate.errors import ConfigError, Problem
from tidegate.exchange import Principal
from tidegate.policy.rehearsal import PEER, Given
from tidegate.tables import Table, convert
from tidegate.upstreams import SecretReference, read_secret
from tidegate.wire.routes import WITH_BODY, Kind, resolve

TARGET = "/v1/messages"


class As(Table, frozen=True):
    """Who calls: this principal, whatever the IDENTIFY policies would say."""

    team: str
    principal: str = ""
    """The team's name if left away."""
    labels: dict[str, str] = {}


class Expect(Table, frozen=True, kw_only=True):
    """What is to come of it. What is not said may be anything."""

    verdict: Literal["admit", "refuse", "answer"] | None = None
    by: str | None = None
    """The plugin that refuses; `gateway` is the core itself."""
    rule: str | None = None
    status: int | None = None
    type: str | None = None
    """The error's type, such as `not_found_error`."""
    pointer: str | None = None
    message: str | None = None
    """A part of the message."""
    model: str | None = None
    """As it would leave."""
    max_tokens: int | None = None
    sent: dict[str, Any] = {}
    """JSON pointer to value, in the body as it would leave."""
    holds: tuple[str, ...] = ()
    """Texts that the body as it would leave has somewhere."""
    lacks: tuple[str, ...] = ()
    """Texts that it has nowhere."""
    edited: tuple[str, ...] | None = None
    """The plugins that edit, in order; `[]` for none."""
    notes: tuple[str, ...] = ()
    """Findings, as `plugin:rule` or `plugin:rule:verdict`."""
    headers: dict[str, str] = {}
    """`x-tidegate-*` headers of the answer."""
    team: str | None = None
    principal: str | None = None


class Case(Table, frozen=True, kw_only=True):
    """One request, and what is to come of it."""

    name: str
    who: str | As | None = msgspec.field(default=None, name="as")
    """A team, or a table; or else `credential`, which the IDENTIFY policies judge."""
    credential: str | SecretReference | None = None
    """Sent as `x-api-key`. For made-up keys; name real ones."""
    method: str = ""
    target: str = TARGET
    headers: dict[str, str | list[str]] = {}
    peer: str = PEER
    request: dict[str, Any] | str | None = None
    """A table, laid over `defaults.request`; or the body as a text, byte for byte."""
    request_file: str | None = None
    """The body as a file, beside this one."""
    expect: Any = None
    """`"admit"`, `"refuse"`, `"answer"`, or a table."""


class Defaults(Table, frozen=True, kw_only=True):
    """What cases say if they do not say otherwise."""

    who: str | As | None = msgspec.field(default=None, name="as")
    credential: str | SecretReference | None = None
    peer: str = PEER
    headers: dict[str, str | list[str]] = {}
    request: dict[str, Any] = {}


class _File(Table, frozen=True):
    config: str | None = None
    """The configuration, beside this file; `--config` wins."""
    defaults: Defaults = Defaults()
    case: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case that can be run."""

    name: str
    given: Given
    expect: Expect


@dataclass(frozen=True, slots=True)
class Cases:
    """What a file holds."""

    config: Path | None
    cases: tuple[Prepared, ...]

    @property
    def identify(self) -> bool:
        """Whether IDENTIFY policies are asked by any of them."""
        return any(case.given.principal is None for case in self.cases)


def load(path: Path) -> Cases:
    """Return the cases of a file.

    Raises:
        ConfigError: with every mistake in it, by case and place.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError([Problem(str(path), reason or "cannot be read")]) from None
    problems: list[Problem] = []
    found = parse(text, path.parent, problems)
    if problems:
        raise ConfigError([Problem(f"{path}: {p.path}", p.message) for p in problems])
    return found


def parse(text: str, directory: Path, problems: list[Problem]) -> Cases:
    """Return the cases that a text holds; `problems` gets what is wrong with it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem("toml", str(error)))
        return Cases(None, ())
    file = convert(document, _File, "", problems) or _File()
    if not file.case and not problems:
        problems.append(Problem("case", "there is none; write [[case]] with a name and `expect`"))
    cases = []
    names: set[str] = set()
    for index, raw in enumerate(file.case):
        place = _place(index, raw)
        case = convert(raw, Case, place, problems)
        if case is None:
            continue
        if case.name in names:
            problems.append(Problem(place, "another case has this name; give it one of its own"))
        names.add(case.name)
        prepared = _prepare(case, file.defaults, directory, place, problems)
        if prepared is not None:
            cases.append(prepared)
    return Cases(None if file.config is None else directory / file.config, tuple(cases))


def _place(index: int, raw: object) -> str:
    name = raw.get("name") if isinstance(raw, dict) else None
    return f"case[{index}]" + (f" ({name[:60]})" if isinstance(name, str) else "")


def _prepare(
    case: Case, defaults: Defaults, directory: Path, place: str, problems: list[Problem]
) -> Prepared | None:
    before = len(problems)
    expect = _expect(case.expect, f"{place}.expect", problems)
    method, needs_body = _method(case)
    raw = _body(case, defaults, directory, place, problems) if needs_body else b""
    who, credential = _caller(case, defaults, place, problems)
    headers = _headers({**defaults.headers, **case.headers}, needs_body=needs_body)
    if credential:
        headers.append(("x-api-key", credential))
    if len(problems) > before:
        return None
    peer = case.peer if case.peer != PEER else defaults.peer
    given = Given(
        raw=raw, method=method, target=case.target, headers=tuple(headers), peer=peer, principal=who
    )
    return Prepared(case.name, given, expect)


def _expect(value: object, place: str, problems: list[Problem]) -> Expect:
    if isinstance(value, str):
        value = {"verdict": value}
    if not isinstance(value, dict) or not value:
        problems.append(Problem(place, 'write "admit", "refuse" or "answer", or a table'))
        return Expect()
    return convert(value, Expect, place, problems) or Expect()


def _method(case: Case) -> tuple[str, bool]:
    """Return the method, and whether a body belongs to it."""
    has_body = case.request is not None or case.request_file is not None
    if case.method:
        method = case.method.upper()
        return method, has_body or resolve(method, case.target).kind in WITH_BODY
    post = resolve("POST", case.target).kind in WITH_BODY
    return ("POST", True) if post or has_body else ("GET", False)


def _body(
    case: Case, defaults: Defaults, directory: Path, place: str, problems: list[Problem]
) -> bytes:
    if case.request is not None and case.request_file is not None:
        problems.append(Problem(place, "has a `request` and a `request_file`; keep one"))
    if case.request_file is not None:
        path = directory / case.request_file
        try:
            return path.read_bytes()
        except OSError as error:
            problems.append(Problem(f"{place}.request_file", f"{path}: {error.strerror}"))
            return b""
    if isinstance(case.request, str):
        return case.request.encode()
    # A batch is no Messages request: what requests have in common is not for it.
    common = defaults.request if resolve("POST", case.target).kind is not Kind.BATCHES else {}
    document = {**common, **(case.request or {})}
    if not document:
        message = "what is sent? Write `request`, `request_file` or [defaults.request]"
        problems.append(Problem(place, message))
    return msgspec.json.encode(document)


def _caller(
    case: Case, defaults: Defaults, place: str, problems: list[Problem]
) -> tuple[Principal | None, str]:
    """Return the principal, or else the credential that is presented; `as` wins in a case."""
    if case.who is not None and case.credential is not None:
        problems.append(Problem(place, "has `as` and a `credential`; keep one"))
        return None, ""
    source: Case | Defaults = case
    if case.who is None and case.credential is None:
        source = defaults
    if source.who is not None:
        return principal_of(source.who), ""
    if isinstance(source.credential, SecretReference):
        try:
            return None, read_secret(source.credential, f"{place}.credential", os.environ)
        except ConfigError as error:
            problems += error.problems
            return None, ""
    return None, source.credential or ""


def principal_of(who: str | As) -> Principal:
    """Return the principal that `as` means: of a team only, it goes by the team's name."""
    if isinstance(who, str):
        return Principal(who, who)
    return Principal(who.principal or who.team, who.team, who.labels)


def _headers(given: Mapping[str, str | list[str]], *, needs_body: bool) -> list[tuple[str, str]]:
    found = [
        (name, value)
        for name, values in given.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    names = {name.lower() for name, _ in found}
    if "anthropic-version" not in names:
        found.append(("anthropic-version", "2023-06-01"))
    if needs_body and "content-type" not in names:
        found.append(("content-type", "application/json"))
    return found
