"""What an exchange costs does not grow with what is configured, nor with what was written before."""

import time
from pathlib import Path

from observed import exchange, intent
from redacting import rules_dir
from tidegate.clock import SystemClock
from tidegate.exchange import ANONYMOUS, Credential
from tidegate.journal.writer import Writer
from tidegate.keys import digest, new_key
from tidegate.pipeline.admission import Admission, admit, read_request
from tidegate.pipeline.generation import Generation, open_generation
from tidegate.registry import resolve
from tidegate.testing import make_exchange
from tidegate.wire.routes import Kind

KEY = new_key()
BODY = (
    b'{"model":"claude-sonnet-4-6","max_tokens":64,"messages":[{"role":"user","content":"hello"}]}'
)
ROUNDS, CALLS = 15, 60
MOST = 2.0
"""A thousand times as much would show as far more; what is left is the machine's caches."""


def chain(others: int) -> str:
    """A chain with so many keys, teams, models, caps and limits of others before our own."""
    keys = [f'{{ id = "k{n}", team = "t{n}", sha256 = "{n:064x}" }}' for n in range(others)]
    keys.append(f'{{ id = "ci", team = "search", sha256 = "{digest(KEY)}" }}')
    models = [f'"claude-other-{n}-*"' for n in range(others)] + ['"claude-sonnet-4-6"']
    caps = [f'models."claude-other-{n}-*".max_tokens = 100' for n in range(others)]
    limits = [
        f'{{ name = "l{n}", scope = "team", team = "t{n}", per = "day", requests = 9 }}'
        for n in range(others)
    ]
    limits.append('{ name = "all", scope = "org", per = "day", requests = 1000000 }')
    teams = "\n".join(
        f'[plugins.config.teams.t{n}]\nallow = ["claude-x-{n}"]' for n in range(others)
    )
    plugins = {
        "identify": f"keys = [{', '.join(keys)}]",
        "models": f"allow = [{', '.join(models)}]\n{teams}",
        "limits": "max_tokens = 8192\n" + "\n".join(caps),
        "quota": f'store = "memory"\nlimits = [{", ".join(limits)}]',
        "redact": f'cache_dir = "{rules_dir()}"',
    }
    tables = (
        f'[[plugins]]\nuse = "{name}"\n[plugins.config]\n{text}' for name, text in plugins.items()
    )
    return "\n".join(tables)


async def opened(others: int, journal: Path) -> Generation:
    config, chosen = resolve(chain(others), {"journal": {"dir": str(journal)}})
    return await open_generation(config, chosen, clock=SystemClock(), worker=0)


async def admitted_ns(generation: Generation) -> int:
    began = time.process_time_ns()
    for _ in range(CALLS):
        first = read_request(BODY, Kind.MESSAGES, ANONYMOUS, Credential(KEY, "x-api-key"))
        admission = Admission(first)
        await admit(generation.chain, make_exchange(Kind.MESSAGES), admission)
        assert admission.admitted
    return time.process_time_ns() - began


async def test_admission_costs_the_same_with_a_thousand_of_everything(tmp_path: Path) -> None:
    few, many = await opened(1, tmp_path), await opened(1000, tmp_path)
    with_few, with_many = [], []
    try:
        for _ in range(ROUNDS):  # alternating: whatever else the machine does is in both
            with_few.append(await admitted_ns(few))
            with_many.append(await admitted_ns(many))
    finally:
        await few.retire()
        await many.retire()

    assert min(with_many) < MOST * min(with_few)


def test_a_record_costs_the_same_in_a_long_journal(tmp_path: Path) -> None:
    records = [(intent(n), exchange(n)) for n in range(CALLS)]

    def append(writer: Writer) -> int:
        began = time.process_time_ns()
        for before, after in records:
            writer.append(before)
            writer.append(after)
        return time.process_time_ns() - began

    (tmp_path / "long").mkdir()
    (tmp_path / "short").mkdir()
    long, short = (Writer(tmp_path / name, "w0", SystemClock()) for name in ("long", "short"))
    for _ in range(500):
        append(long)
    in_long, in_short = [], []
    for _ in range(ROUNDS):
        in_long.append(append(long))
        in_short.append(append(short))
    long.close()
    short.close()

    assert min(in_long) < MOST * min(in_short)
