"""The chain: each line of a writer carries a hash over the one before and itself.

A line is a record's JSON with one more field at its end, `"chain"`: the first 128 bits, in
hex, of SHA-256 over the chain of the line before, as written, and the record's own line
without that field. The first line of a segment goes on from the last of the segment before,
which it names (`previous`); a writer's very first goes on from nothing. So whatever is cut
out, put in, swapped or changed breaks the chain where that was done.
"""

from binascii import hexlify
from hashlib import sha256

NONE = b""
"""The chain before a writer's first line; also that of lines written before there were chains."""

DIGITS = 32

_KEY = b',"chain":"'
_END = b'"}\n'
_SUFFIX = len(_KEY) + DIGITS + len(_END)

OVERHEAD = _SUFFIX - len(b"}\n")
"""Bytes that a link adds to a line."""


def extend(before: bytes, line: bytes) -> tuple[bytes, bytes]:
    """Return an encoded record with its link in the chain, and the chain with it."""
    link = hexlify(sha256(before + line).digest()[: DIGITS // 2])
    return b"".join((line[:-2], _KEY, link, _END)), link


def split(line: bytes) -> tuple[bytes, bytes]:
    """Return the record's own line, and its link; `NONE` where it has none."""
    if line[-_SUFFIX : -DIGITS - 3] != _KEY:
        return line, NONE
    return line[:-_SUFFIX] + b"}\n", line[-DIGITS - 3 : -3]


def holds(before: bytes, line: bytes) -> bool:
    """Whether this whole line, link included, follows from the chain before it."""
    plain, link = split(line)
    return bool(link) and extend(before, plain) == (line, link)
