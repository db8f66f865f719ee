"""Packed segments: gzip in members of about a megabyte, each of whole lines.

Every member says in its extra field (RFC 1952, section 2.3.1.1) how long it is, packed and
unpacked, so that a reader finds its place without unpacking what is before it. Any `gunzip`
reads the file.
"""

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tidegate.journal.writer import sync_directory

MEMBER_BYTES = 1024 * 1024
"""Of lines in one member; the last line may take it beyond that."""

LEVEL = 6

_HEAD = struct.Struct("<4B I 2B H 2s H 2I")
"""Magic, method, flags; time; hints; extra length; its id and length; member, content."""
_TAIL = struct.Struct("<2I")
_ID = b"TG"
_EXTRA_FLAG = 4


class Damaged(OSError):
    """A packed segment is not what was packed."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member is in its file, and what it holds of the segment."""

    at: int
    length: int
    offset: int
    plain_length: int


def pack(source: Path, target: Path) -> None:
    """Write a packed copy, durable when this returns.

    Raises:
        OSError: there is no target, or what was there before.
    """
    fresh = target.with_name(target.name + ".new")
    try:
        with source.open("rb") as plain, fresh.open("wb") as packed:
            while batch := plain.read(MEMBER_BYTES):
                packed.write(_member(batch + plain.readline()))
            packed.flush()
            os.fsync(packed.fileno())
            written = os.fstat(plain.fileno())
        fresh.chmod(written.st_mode & 0o777)
        os.utime(fresh, ns=(written.st_atime_ns, written.st_mtime_ns))
        fresh.replace(target)
        sync_directory(target.parent)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def read(path: Path, offset: int) -> bytes:
    """Return what the segment holds from `offset` to the end of that member; nothing at its end.

    Raises:
        OSError: it cannot be read; `Damaged` if it is that.
    """
    with path.open("rb") as file:
        for member in members(file):
            if offset < member.offset + member.plain_length:
                file.seek(member.at)
                plain = _unpacked(file.read(member.length), path)
                if len(plain) != member.plain_length:
                    raise Damaged(f"{path.name}: a member is not as long as it says")
                return plain[offset - member.offset :]
    return b""


def plain_size(path: Path) -> int:
    """Return how long the segment is when unpacked.

    Raises:
        OSError: it cannot be read; `Damaged` if it is that.
    """
    with path.open("rb") as file:
        return sum(member.plain_length for member in members(file))


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield a packed segment's members in order.

    Raises:
        Damaged: there is something else.
    """
    at = offset = 0
    while head := file.read(_HEAD.size):
        length, plain_length = _lengths(head)
        yield Member(at, length, offset, plain_length)
        at += length
        offset += plain_length
        file.seek(at)


def _lengths(head: bytes) -> tuple[int, int]:
    if len(head) == _HEAD.size:
        *magic, _, _, _, _, id_, _, length, plain_length = _HEAD.unpack(head)
        if magic == [0x1F, 0x8B, zlib.DEFLATED, _EXTRA_FLAG] and id_ == _ID and length > len(head):
            return length, plain_length
    raise Damaged("is no packed segment, or a damaged one")


def _unpacked(member: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(member)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Damaged(f"{path.name}: {error}") from error


def _member(plain: bytes) -> bytes:
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(plain) + deflate.flush()
    length = _HEAD.size + len(packed) + _TAIL.size
    head = _HEAD.pack(
        *(0x1F, 0x8B, zlib.DEFLATED, _EXTRA_FLAG, 0, 0, 255),
        *(len(_ID) + 2 + 8, _ID, 8, length, len(plain)),
    )
    return head + packed + _TAIL.pack(zlib.crc32(plain), len(plain))
