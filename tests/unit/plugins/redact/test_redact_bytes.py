"""From decoded text back to the bytes that wrote it."""

import json

import pytest

from tidegate.wire.body import parse
from tidegate_plugins.redact.locate import inside, literals
from tidegate_plugins.redact.unescape import unescape
from tidegate_plugins.redact.walk import leaves, pointer


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"plain", "plain"),
        (rb"a\nb\/c\"d\\e", 'a\nb/c"d\\e'),
        (rb"\u0041KIA", "AKIA"),
        (rb"\u00e9\u20ac", "é€"),
        (rb"\ud83d\ude00x", "😀x"),
        (rb"\ud800x", "\ud800x"),
        (rb"\ude00\ud83d", "\ude00\ud83d"),
        (rb"\d \x41 \u12", "\\d \\x41 \\u12"),
        ("é😀".encode(), "é😀"),
    ],
)
def test_unescape_says_what_json_says(written: bytes, text: str) -> None:
    assert unescape(written).text == text.encode("utf-8", "surrogatepass")


def test_every_span_goes_back() -> None:
    written = rb'x\nA\u0041\ud83d\ude00\/z"'
    found = unescape(written)
    for start in range(len(found.text)):
        for end in range(start + 1, len(found.text) + 1):
            first, last = found.written(start, end)
            assert unescape(written[first:last]).text.startswith(found.text[start:end]) or (
                found.text[start:end] in unescape(written[first:last]).text
            )


def test_a_span_starts_after_the_escape_in_front_of_it() -> None:
    assert unescape(rb"a\nsecret\n").written(2, 8) == (3, 9)
    assert unescape(rb"\u0041KIA,").written(0, 4) == (0, 9)


def test_literals_are_counted_through_keys_and_look_alikes() -> None:
    document = {",": "x", "a": [",", {"k,": ","}, 1, None, '","'], "b": ["", ","]}
    body = parse(json.dumps(document).encode())
    wanted = {leaf.path for leaf in leaves(document)}
    found = literals(body.raw, body.document, wanted)
    for leaf in leaves(document):
        start, end = found[leaf.path]
        assert json.loads(body.raw[start - 1 : end + 1]) == leaf.text, pointer(leaf.path)


def test_literals_of_nothing() -> None:
    assert literals(b"{}", {}, set()) == {}


def test_inside_counts_in_utf8() -> None:
    raw = '{"k": "é\\u00e9abc"}'.encode()
    ((start, end),) = inside(raw, (7, len(raw) - 2), [(4, 7)])
    assert raw[start:end] == b"abc"
