"""The secrets of one string."""

import json

import pytest

from redacting import KEY, engine, github, secret
from tidegate_plugins.redact.engine import EngineTimeout, Finding
from tidegate_plugins.redact.placeholder import PATTERN, around, digest, holes, placeholder
from tidegate_plugins.redact.search import OVERLAP, WINDOW, context, search


def cover(label: str, value: bytes) -> bytes:
    return placeholder(label, digest(KEY, value))


def look(data: bytes) -> list[Finding]:
    return engine().find(data, 5)


def clean(text: str, key: bytes = b"") -> str:
    data = text.encode("utf-8", "surrogatepass")
    for found in reversed(search(data, key, look, cover)):
        data = (
            data[: found.start]
            + cover(found.label, data[found.start : found.end])
            + data[found.end :]
        )
    return data.decode("utf-8", "surrogatepass")


TOKEN = github()
STAND_IN = cover("github-token", TOKEN.encode()).decode()
AWS = secret("AKIA{base32:16}")


@pytest.mark.parametrize(
    "text",
    [
        "{}", "\n{}", "x\n{}\ny", "'{}'", "<t>{}</t>", "{},", "é{}", "\ud800{}", "\0{}\0", "\ufeff{}",
        "TOKEN={}", "Bearer {}", "https://x:{}@host.example/", '{{"k": "{}"}}',
    ],
)  # fmt: skip
def test_replaces_the_token_and_only_it(text: str) -> None:
    assert clean(text.format(TOKEN)) == text.format(STAND_IN)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("text", ["a\n{}\nb", "\t{}", "{}"])
def test_json_in_json_does_not_hide_a_token(text: str, depth: int) -> None:
    inner = text.format(TOKEN)
    for _ in range(depth):
        inner = json.dumps({"k": inner})
    assert clean(inner) == inner.replace(TOKEN, STAND_IN)


def test_an_escaped_character_inside_of_a_token_does_not_hide_it() -> None:
    assert AWS[5:] not in clean(json.dumps({"k": AWS}).replace("AK", "\\u0041K"))
    url = "https://me:{}@host.example/x".format(secret("{alnum:20}"))
    assert secret("{alnum:20}") not in clean(json.dumps(url).replace("/", "\\/"))


def test_the_key_in_front_is_context() -> None:
    value = secret("{hex:32}")
    assert clean(value) == value
    assert clean(value, b"api_key") == cover("secret", value.encode()).decode()


def test_the_label_tells_of_the_value_only() -> None:
    for text in (
        "{}",
        "password={}",
        "Authorization: Bearer {}",
        "git clone https://u:{}@h.example/a",
    ):
        assert STAND_IN in clean(text.format(TOKEN))


def test_placeholders_stay() -> None:
    text = (
        f"password = '{STAND_IN}' token: {STAND_IN} key={STAND_IN} https://u:{STAND_IN}@h.example"
    )
    assert clean(text) == text


def test_what_a_placeholder_gives_away_is_found_at_once() -> None:
    """A label names a service, and so is context for what stands beside it."""
    text = f"{AWS},{secret('{b64:39}x')}"
    once = clean(text)
    assert clean(once) == once


def test_borders_of_windows_hide_nothing() -> None:
    step = WINDOW - OVERLAP
    for at in (WINDOW - 20, WINDOW, step - 20, step, step + OVERLAP - 10, 2 * step + 5, 3 * WINDOW):
        text = "lorem ipsum " * (at // 12 + 1)
        text = f"{text[:at]} {TOKEN} {text[:WINDOW]}"
        assert clean(text) == text.replace(TOKEN, STAND_IN), at


def test_a_long_key_over_a_border_goes_whole() -> None:
    lines = "\n".join(secret("{b64:64}", i) for i in range(50))
    pem = (
        secret("{dashes}BEGIN RSA PRIVATE KEY{dashes}\n")
        + lines
        + secret("\n{dashes}END RSA PRIVATE KEY{dashes}")
    )
    text = "x " * (WINDOW // 2 - 500) + pem + " y" * 9000
    out = clean(text)
    assert not any(line in out for line in lines.split("\n"))
    assert out.endswith(" y" * 9000)


def test_timeouts_pass_through() -> None:
    def slow(data: bytes) -> list[Finding]:
        raise EngineTimeout

    with pytest.raises(EngineTimeout):
        search(b"a long enough text", b"", slow, cover)


def test_short_strings_are_not_even_looked_at() -> None:
    assert search(b"short", b"password", lambda data: pytest.fail("looked"), cover) == ()


def test_spans_cut_no_character() -> None:
    def half(data: bytes) -> list[Finding]:
        return [Finding(3, 9, "x")] if data == "aé€😀bcd".encode() else []

    (found,) = search("aé€😀bcd".encode(), b"", half, cover)
    assert (found.start, found.end) == (3, 10)


def test_overlapping_findings_are_united_under_the_rule_that_knows_most() -> None:
    def two(data: bytes) -> list[Finding]:
        return [Finding(0, 8, "wide", 4), Finding(4, 12, "sure", 0)] if len(data) == 20 else []

    (found,) = search(b"x" * 20, b"", two, cover)
    assert (found.start, found.end, found.rule, found.label) == (0, 12, "sure", "secret")


@pytest.mark.parametrize(
    ("key", "used"),
    [("api_key", True), ("a b", True), ('a"b', False), ("x" * 65, False), ("a\n", False)],
)
def test_what_may_stand_as_context(key: str, used: bool) -> None:
    assert bool(context(key)) is used


def test_around_leaves_placeholders_out() -> None:
    data = b"abcdef" + STAND_IN.encode() + b"ghijkl--"
    size = len(STAND_IN)
    assert around((2, 10 + size), holes(data)) == [(2, 6), (6 + size, 10 + size)]
    assert around((5, 8 + size), holes(data)) == []
    assert PATTERN.fullmatch(STAND_IN.encode())
