"""What the demo prints: what to try, how it goes, and what came of it."""

import contextlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from tidegate.demo.cast import Cast
from tidegate.demo.gateway import Places
from tidegate.demo.tally import TOKENS, Tally
from tidegate.journal.verify import Report

_HELLO = {
    "model": "claude-haiku-5-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello"}],
}


def starting() -> None:
    """Print why nothing happens for a while."""
    print("starting a simulated upstream and the gateway …", flush=True)
    print("(the first time, some seconds go into compiling the rules for secrets)", flush=True)


def welcome(places: Places, people: Cast, *, temporary: bool, seconds: float | None) -> None:
    """Print where everything is."""
    me = command()
    until = f"for {seconds:g} s" if seconds is not None else "until you press Ctrl-C"
    print(
        f"""
The gateway serves {places.url} and forwards to a simulated upstream. Four made-up
teams use it, {until}. No request leaves this machine.

  page     {places.admin_url}/
  metrics  {places.admin_url}/metrics
  health   {places.admin_url}/readyz  {places.admin_url}/healthz
  journal  {places.journal}{" (temporary)" if temporary else ""}

Try it, with the key of team web:
  {curl(places.url, people.web.key)}
  ANTHROPIC_BASE_URL={places.url} ANTHROPIC_API_KEY={people.web.key} claude
See what happens:
  {me} journal tail --follow --dir {places.journal}
  {me} usage --dir {places.journal}
  {me} journal show --dir {places.journal} ID      (the ID is in the header x-tidegate-id)
"""
    )
    sys.stdout.flush()


def curl(url: str, key: str) -> str:
    """Return a command that asks a question through the gateway."""
    return (
        f"curl -s {url}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' "
        f"-H 'content-type: application/json' -d '{json.dumps(_HELLO, separators=(',', ':'))}'"
    )


def command() -> str:
    """Return how this program is called here."""
    return "tidegate" if shutil.which("tidegate") else f"{sys.executable} -m tidegate"


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Tally], bool]]:
    """Give a function that shows the counts: one live line on a terminal, else a line each.

    It returns false once its output goes nowhere.
    """
    live = sys.stdout.isatty()

    def show(tally: Tally) -> bool:
        start, end = ("\r\x1b[K", "") if live else ("", "\n")
        try:
            print(f"{start}{_counts(tally)}", end=end, flush=True)
        except BrokenPipeError:
            return False
        return True

    try:
        yield show
    finally:
        if live:
            print()


def _counts(tally: Tally) -> str:
    numbers = {
        "requests": tally.exchanges,
        "streams": tally.streams,
        "in flight": tally.inflight,
        "tokens": tally.tokens.total(),
        "refused": tally.refusals.total(),
        "redacted": tally.redactions.total(),
    }
    return "  ".join(f"{name} {number:,}" for name, number in numbers.items())


def summary(tally: Tally, report: Report, *, seconds: float) -> None:
    """Print what came of it all."""
    print(f"\n{tally.exchanges} requests in {seconds:.0f} s, {tally.streams} of them streams\n")
    for line in _table(tally):
        print(line)
    named = ", ".join(f"{name} {tally.tokens[name]:,}" for name in TOKENS)
    print(f"\ntokens     {tally.tokens.total():,}: {named}")
    print(f"refused    {_listed(tally.refusals)}")
    print(f"redacted   {_listed(tally.redactions)}")
    print(f"clamped    {tally.clamps}")
    if tally.own_ms is not None:
        print(f"added      {tally.own_ms:.3f} ms by the gateway itself (median of forwarded ones)")
    print(f"journal    {_verdict(report)}")


def _table(tally: Tally) -> Iterator[str]:
    teams = sorted({team for _, team in tally.outcomes})
    outcomes: Counter[str] = Counter()
    for (outcome, _), count in tally.outcomes.items():
        outcomes[outcome] += count
    widths = [max(8, len(team)) for team in teams]
    heads = "".join(f"  {team:>{width}}" for team, width in zip(teams, widths, strict=True))
    yield f"  {'outcome':<20}{heads}       all"
    for outcome, total in outcomes.most_common():
        cells = (f"  {tally.outcomes[outcome, team] or '-':>{w}}" for team, w in zip(teams, widths, strict=True))  # fmt: skip
        yield f"  {outcome:<20}{''.join(cells)}  {total:>8}"


def _listed(counts: Counter[str]) -> str:
    if not counts:
        return "0"
    parts = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return f"{counts.total()}: {parts}"


def _verdict(report: Report) -> str:
    if report.sound and not report.open:
        return (
            f"verified: {report.intents} intents, {report.exchanges} exchanges, "
            "each once, none open"
        )
    return (
        f"NOT SOUND: {len(report.open)} open, {len(report.repeated)} repeated, "
        f"{report.unreadable} unreadable"
    )
