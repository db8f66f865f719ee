"""The reader of answer heads, held against aiohttp's: what it takes, both read alike."""

import asyncio

from aiohttp.http import HttpProcessingError, HttpResponseParser
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.wire.answer import HeadError, read_head

_names = st.text("abcXYZ019-_.!", min_size=1, max_size=12).map(str.encode)
_values = st.text("ab ,;=\t\"'é/", max_size=20).map(lambda text: text.encode("latin-1"))
_fields = st.lists(st.tuples(_names, st.sampled_from([b"", b" ", b"\t "]), _values), max_size=8)
_damage = st.sampled_from(
    [b"", b"\n", b"\r", b"\x00", b" ", b":", b"\r\n", b"\r\n ", b"\x7f", b"\xff"]
)


class _Sink:
    def pause_reading(self):
        pass

    def resume_reading(self, resume_parser=True):
        pass


def _as_aiohttp_reads(head: bytes):
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParser(_Sink(), loop, 65536, max_headers=512, auto_decompress=False)
        messages, _, _ = parser.feed_data(head)
        return messages[0][0] if messages else None
    except HttpProcessingError:
        return None
    finally:
        loop.close()


@given(fields=_fields, damage=_damage, at=st.floats(0, 1))
@example(fields=[(b"a", b" ", b"b")], damage=b"\n", at=1.0)
def test_no_head_is_taken_that_aiohttp_reads_otherwise(fields, damage, at):
    lines = b"".join(b"%s:%s%s\r\n" % field for field in fields)
    head = b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n"
    place = int(at * len(head))
    head = head[:place] + damage + head[place:]
    head = head[: head.find(b"\r\n\r\n") + 4]
    try:
        ours = read_head(head)
    except HeadError:
        return
    theirs = _as_aiohttp_reads(head)
    assert theirs is not None
    assert theirs.code == ours.status
    kept = [line.partition(b":") for line in ours.kept]
    assert [(name, value.strip(b" \t")) for name, _, value in kept] == [
        (name, value.strip(b" \t")) for name, value in theirs.raw_headers
    ]


@given(fields=_fields)
def test_every_well_formed_head_is_taken(fields):
    lines = [b"%s:%s%s" % field for field in fields]
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    assert read_head(head).kept == lines
