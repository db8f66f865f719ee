"""How well the redact plugin finds: recall per type, false positives per MB.

    python tests/bench/redact_quality.py recall GENERATOR SEED...
    python tests/bench/redact_quality.py clean DIRECTORY...

`recall` runs a generator of labelled secrets (JSON lines with `rule`, `text`, `expect` and
`secret`); a secret counts as found if nothing of it is left. `clean` searches every text
file as one string: each thing found is a false positive until someone has looked at it,
so they are listed (`--show N`) with the value cut.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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


def recall(generator: str, seeds: list[str], show: int) -> None:
    total, found, wrong = Counter[str](), Counter[str](), 0
    missed: list[str] = []
    for seed in seeds:
        done = subprocess.run(
            [sys.executable, generator, seed], capture_output=True, text=True, check=True
        )
        for row in map(json.loads, done.stdout.splitlines()):
            clean = cleaned(row["text"].encode())
            if not row["expect"]:
                wrong += clean != row["text"]
                continue
            kind = row["rule"].split(" / ")[0]
            total[kind] += 1
            if any(value in clean for value in row["secret"]):
                missed.append(f"{row['rule']}: {row['text'][:160]!r}")
            else:
                found[kind] += 1
    print(
        f"recall {found.total() / total.total():.4f} of {total.total()} in {len(total)} types; look-alikes touched: {wrong}"
    )
    for kind in sorted(total, key=lambda kind: found[kind] / total[kind]):
        if found[kind] < total[kind]:
            print(f"  {found[kind] / total[kind]:.3f}  {kind}")
    print("\n".join(missed[:show]))


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
    one = commands.add_parser("recall")
    one.add_argument("generator")
    one.add_argument("seeds", nargs="+")
    commands.add_parser("clean").add_argument("folders", nargs="+")
    args = parser.parse_args()
    if args.command == "recall":
        recall(args.generator, args.seeds, args.show)
    else:
        clean(args.folders, args.show)


if __name__ == "__main__":
    main()
