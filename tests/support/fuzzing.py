"""Hunts for a body that the gateway reads otherwise than another parser reads the same bytes.

Mutates request bodies: bytes, tokens, keys, numbers, escapes, encodings. Of whatever the
gateway accepts, the standard library's parser must make exactly the same document, with no
key twice; the places of its values must hold those values; and the view must say what a
plain reader sees. Run for longer by hand:

    python tests/support/fuzzing.py --seconds 600 [--seed 1]
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from typing import Any

from tidegate.wire.body import BodyError, insertion, parse, splice
from tidegate.wire.messages import view
from tidegate.wire.routes import Kind
from tidegate.wire.spans import locate, scan

SEEDS = (
    b'{"model":"claude-x","max_tokens":5,"messages":[]}',
    b'{ "messages" : [{"role":"user","content":"h\\u00e9 \xc3\xa9 \\ud83d\\ude00"}], "max_tokens":1 ,"model":"m"}',
    b'{"model":"m","max_tokens":5,"messages":[{"content":[{"type":"text","text":"\\": \\\\"}]}],"tools":[{"name":"a"}]}',
    b'{"model":"m","max_tokens":5,"messages":["\\ud800",":x",{"a":1,"b":{"a":2}}],"x":1e3,"y":-0.0}',
    b'{"requests":[{"custom_id":"a","params":{"model":"m","max_tokens":5,"messages":[]}}]}',
)  # fmt: skip
NUMBERS = (
    *(b"0", b"-0", b"1e9", b"8192.0", b"1E400", b"-1", b"05", b"+5", b".5", b"5.", b"0x5", b"1e"),
    *(b"9" * 25, b"18446744073709551616", b"-9223372036854775809", b"1e-999", b"NaN", b"Infinity"),
)
TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"false", b" ", b"\t", b"\r\n"),
    *(b'"model"', b'"mod\\u0065l"', b'"\\u006dodel"', b'"MODEL"', b'"max_tokens"', b'"stream"'),
    *(b'"a":1,', b'"model":"no",', b'"":0,', b"//", b"/**/", b"'", b"\\", b"\\u0000", b"\\ud800"),
    *(b"\\udc00", b"\0", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\xa0", b"\xc2\x85", b"\xe2\x80\xa8"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\/", b"\\x"),
    *(b"\\U0041", b'\\u00"', b'":', b'"\\":', b'": "', b"\x1e", b"\xe3\x80\x80", b"\xc2\xa0"),
    *NUMBERS,
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7")
MAX_BYTES = 2000


def mutated(source: random.Random, raw: bytes) -> bytes:
    """Return the body with a few things changed about it."""
    for _ in range(source.choice((1, 1, 2, 3, 6))):
        raw = source.choice(_MUTATIONS)(source, raw)
    return raw[:MAX_BYTES]


def _insert(source: random.Random, raw: bytes) -> bytes:
    at = source.randint(0, len(raw))
    return raw[:at] + source.choice(TOKENS) + raw[at:]


def _replace(source: random.Random, raw: bytes) -> bytes:
    at, size = source.randint(0, len(raw)), source.randint(0, 6)
    return raw[:at] + source.choice(TOKENS) + raw[at + size :]


def _delete(source: random.Random, raw: bytes) -> bytes:
    at = source.randint(0, len(raw))
    return raw[:at] + raw[at + source.randint(1, 8) :]


def _flip(source: random.Random, raw: bytes) -> bytes:
    if not raw:
        return raw
    at = source.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << source.randrange(8))]) + raw[at + 1 :]


def _repeat(source: random.Random, raw: bytes) -> bytes:
    start = source.randint(0, len(raw))
    piece = raw[start : start + source.randint(1, 40)]
    at = source.randint(0, len(raw))
    return raw[:at] + piece + raw[at:]


def _member(source: random.Random, raw: bytes) -> bytes:
    """Put a member in after some brace: often the same key twice."""
    braces = [at for at, char in enumerate(raw) if char == 0x7B]
    if not braces:
        return raw
    at = source.choice(braces) + 1
    key = source.choice(
        (b'"model"', b'"mod\\u0065l"', b'"a"', b'"\\u0061"', b'"max_tokens"', b'"x"')
    )
    value = source.choice((b"1", b'"no"', b"{}", b'{"a":1}', b'": "', b'":{\\"a\\":1}"', *NUMBERS))
    space = source.choice((b"", b" ", b"\n\t", b"\r"))
    return raw[:at] + key + space + b":" + space + value + b"," + raw[at:]


def _number(source: random.Random, raw: bytes) -> bytes:
    return raw.replace(b'"max_tokens":5', b'"max_tokens":' + source.choice(NUMBERS))


def _escape(source: random.Random, raw: bytes) -> bytes:
    """Write some letter as an escape, which changes nothing, or something."""
    if not raw:
        return raw
    at = source.randrange(len(raw))
    return raw[:at] + b"\\u%04x" % raw[at] + raw[at + 1 :]


def _encode(source: random.Random, raw: bytes) -> bytes:
    try:
        return raw.decode().encode(source.choice(ENCODINGS))
    except UnicodeError:
        return raw


_MUTATIONS = (_insert, _insert, _replace, _replace, _delete, _flip, _repeat, _member, _member,
              _member, _number, _escape, _escape, _encode)  # fmt: skip


class Difference(AssertionError):
    """Two readers of the same bytes do not agree."""


def check(raw: bytes) -> str:
    """Return `accepted` or `refused`.

    Raises:
        Difference: the gateway accepts it, and reads it otherwise than others.
    """
    try:
        body = parse(raw)
    except BodyError:
        return "refused"
    try:
        other = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_never)
    except ValueError as error:
        raise Difference(f"accepted here, refused by json: {error}") from None
    if not same(body.document, other):
        raise Difference("read as another document")
    _places(raw, other)
    _view(other, body.document)
    edit = insertion(body, "", "\0new", 1, "fuzz")
    if parse(splice(raw, [edit])).document != {**body.document, "\0new": 1}:
        raise Difference("an insertion changes more than it should")
    return "accepted"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Difference("a key twice")
    return dict(pairs)


def _never(name: str) -> None:
    raise Difference(f"{name} is no JSON")


def same(one: Any, other: Any) -> bool:
    """Whether two documents are equal, types included."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and str(one) == str(other)


def _places(raw: bytes, document: Any) -> None:
    for value in list(scan(raw))[:20]:
        found = json.loads(raw[slice(*_span(raw, value.pointer))])
        if not same(found, _at(document, value.pointer)):
            raise Difference(f"{value.pointer} is not where it is said to be")


def _span(raw: bytes, pointer: str) -> tuple[int, int]:
    value = locate(raw, pointer)
    return value.start, value.end


def _at(document: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if type(document) is list else document[key]
    return document


def _view(document: Any, ours: Any) -> None:
    try:
        seen = view(ours, Kind.MESSAGES)
    except BodyError:
        return
    if (seen.model, seen.max_tokens) != (document["model"], document.get("max_tokens")):
        raise Difference("the view says something else")
    if seen.stream is not (document.get("stream") is True):
        raise Difference("the view says something else about stream")


def hunt(source: random.Random, inputs: int, until: float | None = None) -> Counter[str]:
    """Check that many inputs, or as many as there is time for; return how they went.

    Raises:
        Difference: naming the input.
    """
    found: Counter[str] = Counter()
    pool = list(SEEDS)
    for _ in range(inputs):
        raw = mutated(source, source.choice(pool))
        try:
            how = check(raw)
        except Difference as error:
            raise Difference(f"{raw!r}: {error}") from None
        found[how] += 1
        if how == "accepted" and len(pool) < 5000:
            pool.append(raw)
        if until is not None and not found.total() % 1000 and time.monotonic() > until:
            break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    began = time.monotonic()
    found = hunt(random.Random(seed), sys.maxsize, began + options.seconds)
    print(f"seed {seed}: {found.total()} inputs in {time.monotonic() - began:.0f} s, {dict(found)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
