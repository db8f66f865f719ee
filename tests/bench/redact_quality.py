"""How well the redact plugin finds: recall per type, false positives per MB.

    python tests/bench/redact_quality.py recall GENERATOR SEED...
    python tests/bench/redact_quality.py heldout GENERATOR SEED...
    python tests/bench/redact_quality.py clean DIRECTORY...

`recall` runs a generator of labelled secrets (JSON lines with `rule`, `text`, `expect` and
`secret`); a secret counts as found if nothing of it is left. `heldout` puts the generator's
secrets into the contexts of `redact_contexts.py`. Both print a table of all types. `clean`
searches every text file as one string: each thing found is a false positive until someone has looked at it,
so they are listed (`--show N`) with the value cut.
"""

import argparse
import contextlib
import io
import json
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.redact_contexts import CONTEXTS, fill
from redacting import KEY, engine
from tidegate_plugins.redact.engine import EngineTimeout, Finding
from tidegate_plugins.redact.placeholder import digest, placeholder
from tidegate_plugins.redact.search import Secret, search

LARGEST = 4_000_000


def cover(label: str, value: bytes) -> bytes:
    return placeholder(label, digest(KEY, value))


def look(data: bytes) -> list[Finding]:
    return engine().find(data, 10)


def cleaned(data: bytes) -> str:
    for found in reversed(search(data, b"", look, cover)):
        data = (
            data[: found.start]
            + cover(found.label, data[found.start : found.end])
            + data[found.end :]
        )
    return data.decode()


def run(generator: str, seed: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what the generator prints with a seed, and its names."""
    printed, argv = io.StringIO(), sys.argv
    sys.argv = [generator, seed]
    try:
        with contextlib.redirect_stdout(printed):
            names = runpy.run_path(generator)
    finally:
        sys.argv = argv
    return [json.loads(line) for line in printed.getvalue().splitlines()], names


def own_rows(generator: str, seed: str) -> list[dict[str, Any]]:
    """Return the generator's rows."""
    return run(generator, seed)[0]


def held_out_rows(generator: str, seed: str) -> list[dict[str, Any]]:
    """Return the generator's secrets in other contexts."""
    _, names = run(generator, seed)
    return [
        _row(kind, name, make(), context)
        for kind, (name, make) in names["T"].items()
        for context in CONTEXTS
    ]


def _row(kind: str, name: str, made: Any, context: str) -> dict[str, Any]:
    text, value = made if isinstance(made, tuple) else (made, made)
    secrets = [value]
    if kind.startswith("PEM"):
        secrets = text.split("\n")[1:3]
        text = json.dumps(text)[1:-1]
    whole = fill(context, name, text)
    return {"rule": f"{kind} / {context!r}", "text": whole, "expect": True, "secret": secrets}


Rows = Callable[[str, str], list[dict[str, Any]]]


def recall(rows: Rows, generator: str, seeds: list[str], show: int) -> None:
    total, found, wrong = Counter[str](), Counter[str](), 0
    contexts = Counter[str]()
    missed: list[str] = []
    for seed in seeds:
        for row in rows(generator, seed):
            clean = cleaned(row["text"].encode())
            if not row["expect"]:
                wrong += clean != row["text"]
                continue
            kind = row["rule"].split(" / ")[0]
            total[kind] += 1
            if any(value in clean for value in row["secret"]):
                contexts[row["rule"].split(" / ")[1]] += 1
                missed.append(f"{row['rule']}: {row['text'][:160]!r}")
            else:
                found[kind] += 1
    print(
        f"recall {found.total() / total.total():.4f} of {total.total()} in {len(total)} types; look-alikes touched: {wrong}"
    )
    print(table(total, found))
    print(
        "\n".join(f"  {count:4} missed in {context}" for context, count in contexts.most_common())
    )
    print("\n".join(missed[:show]))


def table(total: Counter[str], found: Counter[str]) -> str:
    """Return all types as rows of a table in Markdown, those of one figure together."""
    shares: dict[str, list[str]] = {}
    for kind in sorted(total):
        shares.setdefault(f"{found[kind] / total[kind]:.3f}", []).append(kind)
    rows = [f"| {share} | {', '.join(shares[share])} |" for share in sorted(shares)]
    return "\n".join(("| found | types |", "|---|---|", *rows))


def texts(folders: list[str]) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST:
                continue
            data = path.read_bytes()
            if b"\0" not in data[:4096]:
                yield path, data.decode("utf-8", "ignore").encode()


def clean(folders: list[str], show: int) -> None:
    size = files = late = 0
    seconds = 0.0
    hits: list[tuple[Path, Secret, str]] = []
    for path, data in texts(folders):
        start = time.perf_counter()
        try:
            found = search(data, b"", look, cover)
        except EngineTimeout:
            late += 1
            continue
        seconds += time.perf_counter() - start
        size, files = size + len(data), files + 1
        hits += [(path, secret, _excerpt(data, secret)) for secret in found]
    megabytes = size / 1e6
    print(f"{len(hits)} found in {megabytes:.1f} MB, {files} files: {len(hits) / megabytes:.3f} per MB; "
          f"{megabytes / seconds:.0f} MB/s; {late} not searched in time")  # fmt: skip
    for rule, count in Counter(secret.rule for _, secret, _ in hits).most_common():
        print(f"  {count:4} {rule}")
    for path, secret, excerpt in hits[:show]:
        print(f"{secret.rule}: {path}: {excerpt!r}")


def _excerpt(data: bytes, secret: Secret) -> str:
    value = data[secret.start : secret.end]
    before = data[max(secret.start - 40, 0) : secret.start].decode("utf-8", "replace")
    return f"{before}«{value[:24].decode('utf-8', 'replace')}…{len(value)}»"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", type=int, default=0)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("recall", "heldout"):
        one = commands.add_parser(name)
        one.add_argument("generator")
        one.add_argument("seeds", nargs="+")
    commands.add_parser("clean").add_argument("folders", nargs="+")
    args = parser.parse_args()
    if args.command == "recall":
        recall(own_rows, args.generator, args.seeds, args.show)
    elif args.command == "heldout":
        recall(held_out_rows, args.generator, args.seeds, args.show)
    else:
        clean(args.folders, args.show)


if __name__ == "__main__":
    main()
