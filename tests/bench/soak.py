"""Soak tidegate: mixed load with clients that leave, reloads and observatories killed.

    python tests/bench/soak.py [--minutes 30] [--out tests/bench/results]

Exit code 1 if something does not hold at the end: a record is missing or there twice, a
connection or a reservation is left, memory grows. What is looked at is in README.md beside it.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.side_by_side import gateway, machine
from bench.side_by_side.candidates import Candidate
from bench.side_by_side.loads import ask
from bench.side_by_side.place import Command, Place
from bench.side_by_side.run import prepared, say
from bench.side_by_side.stage import Running, Stage
from bench.soaking import report
from bench.soaking.audit import (
    Finding,
    account,
    connections,
    journal_findings,
    memory_findings,
)
from bench.soaking.clients import EPISODE_S, HALF, HASTY, Generators, Rude
from bench.soaking.trouble import Sample, Trouble, Watch

HERE = Path(__file__).resolve().parent
POLITE = "Anthropic/Python"
"""What the load generator says it is."""
KEEP_ALIVE_S = 4
MEMO_ENTRIES = 4096
WORKERS = 2
SAMPLE_S = 5.0
CHAIN = gateway.CHAIN + '[[plugins]]\nuse = "usage"\n'
TROUBLED = re.compile(r" (?:WARNING|ERROR) ")
MINE = re.compile(r"^\S+ \S+ |tg_[0-9a-f]+|/\S+/|\bpid \d+")
"""What differs from line to line: the time, ids, folders."""
REQUESTS = re.compile(r"^tidegate_requests_total\{.*\} (\S+)", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    seconds = options.minutes * 60
    about = machine.machine()
    soak = Soak(options.clients, options.rate)
    with Stage(prepared()) as stage:
        soak.run(stage, seconds)
    failed = [each for each in soak.findings if not each.holds]
    text = report.as_markdown(
        datetime.now(UTC).date().isoformat(),
        {**about, **machine.versions(), "minutes": f"{options.minutes:g}", **soak.counted()},
        soak.findings,
    )
    out = options.out or HERE / "build"
    report.write(out, text, soak.samples, soak.killed_at)
    print(text)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8, help="conversations at a time (8)")
    parser.add_argument("--rate", type=float, default=15, help="small requests a second (15)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report is written")
    return parser


class Soak:
    """One soak, and what was seen."""

    def __init__(self, clients: int, rate: float) -> None:
        self.findings: list[Finding] = []
        self.samples: list[Sample] = []
        self.killed_at: list[float] = []
        self.made: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._clients = clients
        self._rate = rate

    def counted(self) -> dict[str, str]:
        """Return what was done, in numbers."""
        counts = {name: f"{count:,}" for name, count in (self.sent + self.made).items()}
        return counts | self.reasons

    def run(self, stage: Stage, seconds: float) -> None:
        """Start a gateway, put everything on it, stop it, and look at what is left."""
        place: list[Place] = []

        def command(given: Place) -> Command:
            place.append(given)
            (given.folder / "tidegate.toml").write_text(configuration(given, 32_000))
            config = given.folder / "tidegate.toml"
            return [sys.executable, "-m", "tidegate", "serve", "--config", config]

        candidate = Candidate("soaked", "", command, gateway.MARKER, both_cores=True)
        stage.upstream.set(delay_us=20_000)
        before = stage.upstream.stats()
        with stage.started(candidate) as running:
            (where,) = place
            self._load(stage, running, where, seconds)
            asked = self._afterwards(stage, running, where, before)
        self._audit(where, asked)

    def _load(self, stage: Stage, running: Running, where: Place, seconds: float) -> None:
        texts = (configuration(where, 31_000), configuration(where, 32_000))
        config = where.folder / "tidegate.toml"
        trouble = Trouble(running.process.pid, config, texts, min(20.0, seconds / 6))
        body = (stage.folder / "100k.json").read_bytes()
        rude = Rude(running.port, body, per_second=2)
        generators = Generators(
            stage.generator, running.port, clients=self._clients, rate=self._rate
        )
        say("filling what remembers texts")
        generators.fill(min(EPISODE_S, seconds))
        began = time.monotonic()
        watch = Watch(running.process.pid, began, self.samples, min(SAMPLE_S, seconds / 30))
        with ExitStack() as stack:
            for thread in (trouble, rude, watch):
                thread.start()
                stack.callback(thread.join)
                stack.callback(thread.ended.set)
            while (left := began + seconds - time.monotonic()) > 1:
                say(f"[{1 - left / seconds:3.0%}] {sum(trouble.made.values())} troubles so far")
                generators.episode(min(EPISODE_S, left))
        self.made, self.killed_at = trouble.made, [at - began for at in trouble.killed_at]
        self.sent = generators.counts + rude.sent

    def _afterwards(
        self, stage: Stage, running: Running, where: Place, before: dict[str, int]
    ) -> int:
        """Look at what is left while the gateway still runs; return what the upstream got."""
        time.sleep(KEEP_ALIVE_S + 3)
        now = stage.upstream.stats()
        # The upstream counts the connection on which it is asked.
        self._expect("open streams at the upstream", now["streams_open"], 0)
        self._expect("connections to the upstream", now["open"] - 1, 0)
        self._expect("connections of clients", connections(running.port), 0)
        left = sum(row["reserved"] for row in _quota(where))
        self._expect("reserved in the quota's store", left, 0)
        text = ask(where.admin_port, "GET", "/metrics", b"")[1].decode()
        self._projected = round(sum(float(value) for value in REQUESTS.findall(text)))
        return now["requests"] - before["requests"]

    def _expect(self, what: str, found: int, expected: int) -> None:
        self.findings.append(Finding(f"{what}, at the end", str(found), found == expected))

    def _audit(self, where: Place, asked: int) -> None:
        found = account(where.folder / "journal")
        probes = found.by_client[""]  # until it answered
        started = Counter(
            {POLITE: self.sent["started"], HALF: self.sent[HALF], HASTY: self.sent[HASTY]}
        )
        self.reasons = {f"bad, {why}": str(count) for why, count in found.bad.items()}
        self.reasons |= _warnings(where.folder / "log")
        self.findings += journal_findings(found, started, POLITE, asked)
        ended = self.sent["done"] + self.sent["left"] + self.sent["errors"]
        self.findings += [
            Finding(
                "polite requests with an end: answered, left, broken",
                f"{ended} of {self.sent['started']}",
                ended == self.sent["started"],
            ),
            Finding("connections that broke", str(self.sent["errors"]), not self.sent["errors"]),
            Finding("answers that were bad", str(self.sent["non200"]), not self.sent["non200"]),
        ]
        total = sum(found.exchanges.values())
        self.findings.append(
            Finding(
                "requests counted by the metrics, through all restarts",
                f"{self._projected} of {total}, {probes} of them from start-up",
                self._projected == total,
            )
        )
        verified = subprocess.run(
            [
                sys.executable,
                "-m",
                "tidegate",
                "journal",
                "verify",
                "--dir",
                where.folder / "journal",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        said = verified.stdout.strip().splitlines()[-1:] or ["nothing said"]
        self.findings.append(Finding("`journal verify`", said[0], verified.returncode == 0))
        self.findings += memory_findings(self.samples)


def configuration(place: Place, max_tokens: int) -> str:
    """Return the whole chain, with a limit that tells two configurations apart.

    Redaction remembers so few strings that its memory is full before the trend is looked at.
    """
    text = gateway.written(place, CHAIN, workers=WORKERS, store="sqlite")
    text = text.replace("[upstream]\n", f"[upstream]\nkeep_alive_s = {KEEP_ALIVE_S}\n")
    text = text.replace('action = "mask"', f'action = "mask"\nmemo_entries = {MEMO_ENTRIES}')
    return text.replace("max_tokens = 32000", f"max_tokens = {max_tokens}")


def _warnings(log: Path) -> dict[str, str]:
    """Return what a gateway warned of, each sentence once, with how often."""
    lines = (line for line in log.read_text(errors="replace").splitlines())
    found = Counter(MINE.sub("…", line) for line in lines if TROUBLED.search(line))
    return {f"said, {line[:160]}": str(count) for line, count in found.most_common(8)}


def _quota(where: Place) -> list[dict[str, int]]:
    command = [sys.executable, "-m", "tidegate", "quota", "show", "--json", "--config"]
    said = subprocess.run(
        [*command, where.folder / "tidegate.toml"], capture_output=True, text=True, check=True
    )
    found: list[dict[str, int]] = json.loads(said.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
