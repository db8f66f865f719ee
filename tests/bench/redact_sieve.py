"""Whether anything that is found alone is missed when strings are looked at together.

    python tests/bench/redact_sieve.py VECTORS [--seed N] [--requests N]

`VECTORS` are labelled texts, a JSON line each with `text` (may be gzipped). They are put into
requests in any order, with beginnings of secrets between them that a rule might reach across
from. Prints how many places were tried and each string that was missed; exits 1 if one was.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from redacting import engine
from tidegate_plugins.redact.engine import Finding
from tidegate_plugins.redact.sieve import LARGEST, Asked, sifted

REQUEST_BYTES = 30_000
BAIT = (
    *("password = ", 'secret: "', "token=", "aws_secret_access_key", "Authorization: Bearer"),
    *('key="example', "api_key: [", "https://user:", '{"private_key":', "export TOKEN=", "foo("),
    *("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "example placeholder your-", "AKIA", "xxxxxxxx"),
)


def look(data: bytes) -> list[Finding]:
    return engine().find(data, 30)


def texts(path: Path) -> list[bytes]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as lines:
        found = [json.loads(line)["text"].encode() for line in lines]
    return [text for text in found if len(text) <= LARGEST and b"\\" not in text]


def request(strings: list[bytes], chance: random.Random) -> list[Asked]:
    """Return strings in any order, bait among them. The name says which it is."""
    asked: list[Asked] = []
    size = 0
    while size < REQUEST_BYTES:
        at = chance.randrange(len(strings))
        bait = chance.random() < 0.3
        data = chance.choice(BAIT).encode() if bait else strings[at]
        asked.append(Asked(b"" if bait else b"%d" % at, data, b""))
        size += len(data)
    return asked


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("vectors", type=Path)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--requests", type=int, default=100)
    given = options.parse_args()
    chance = random.Random(given.seed)
    strings = texts(given.vectors)
    alone = {b"%d" % at for at, text in enumerate(strings) if look(text)}
    places = 0
    missed: set[bytes] = set()
    for _ in range(given.requests):
        asked = request(strings, chance)
        kept = {one.name for one, suspect in sifted(asked, look) if suspect}
        told = {one.name for one in asked} & alone
        places += len(told)
        missed |= told - kept
    print(
        f"{len(strings)} strings, {len(alone)} with findings; {places} places, {len(missed)} missed"
    )
    for name in sorted(missed):
        print(f"  missed: {strings[int(name)][:80]!r}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
