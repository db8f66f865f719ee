"""Plays every case against one gateway, one after the other."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tidegate.conformance import answers, requests, streams
from tidegate.conformance.case import Case, Score
from tidegate.conformance.probe import Failed, Pair, Probe, Skipped, brief, message
from tidegate.testing.upstream import scripted_upstream

FIRST_S = 60
"""A gateway may import and connect a lot for its first request."""

CASE_S = 120
"""A case that takes longer has failed, whatever it waits for."""


def _place(case: Case) -> tuple[bool, int]:
    first = case.contract.partition(" ")[0]
    return not first, int(first[1:] or 0)


CASES: tuple[Case, ...] = tuple(
    sorted((*requests.CASES, *answers.CASES, *streams.CASES), key=_place)
)
"""In the order of the contract; those that it leaves unsaid come last."""


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway to be played against."""

    base_url: str
    key: str
    bearer: bool = False
    model: str = "claude-sonnet-4-6"
    headers: tuple[Pair, ...] = ()


class Unplayable(Exception):
    """Not one case can be played; the message says what to change."""


async def play(
    target: Target,
    cases: Sequence[Case],
    *,
    listen: tuple[str, int],
    ready: Callable[[str], None],
    scored: Callable[[Score], None],
) -> list[Score]:
    """Play `cases`; `ready` gets the upstream's URL first, `scored` each score as it comes.

    Raises:
        Unplayable: the gateway does not answer, or forwards to somewhere else.
    """
    async with _probe(target, listen) as probe:
        ready(probe.upstream.url)
        await _check(probe)
        scores = []
        for case in cases:
            scores.append(await _score(case, probe))
            scored(scores[-1])
        return scores


@asynccontextmanager
async def _probe(target: Target, listen: tuple[str, int]) -> AsyncGenerator[Probe, None]:
    host, port = listen
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with (
        scripted_upstream(message, host=host, port=port) as upstream,
        aiohttp.ClientSession(
            timeout=timeout,
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept-encoding", "content-type", "accept"),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session,
    ):
        yield Probe(
            session=session,
            upstream=upstream,
            base_url=target.base_url.rstrip("/"),
            key=target.key,
            bearer=target.bearer,
            model=target.model,
            extra=target.headers,
        )


async def _check(probe: Probe) -> None:
    """Send one plain request, which has to reach us."""
    where = f"`{probe.base_url}`"
    try:
        answer = await probe.ask(message, within_s=FIRST_S)
    except Failed as failed:
        raise Unplayable(f"{where} does not answer: {failed}") from None
    if answer.status in (401, 403):
        raise Unplayable(f"{where} answered {answer.status}: give it a key it knows, with --key")
    if not probe.heard:
        raise Unplayable(
            f"{where} answered {answer.status} without asking {probe.upstream.url}: make that "
            f"its upstream. It said: {brief(answer.body)}"
        )
    if answer.status != 200:
        raise Unplayable(
            f"{where} answered a plain request with {answer.status}: {brief(answer.body)}"
        )


async def _score(case: Case, probe: Probe) -> Score:
    try:
        async with asyncio.timeout(CASE_S):
            await case.play(probe)
    except Failed as failed:
        return Score(case, "fail", str(failed))
    except Skipped as skipped:
        return Score(case, "skip", str(skipped))
    except TimeoutError:
        return Score(case, "fail", "it took too long")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # an answer of a shape that nobody foresaw
        return Score(case, "fail", f"an answer could not be read: {type(error).__name__}")
    return Score(case, "pass")
