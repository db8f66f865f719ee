"""The head of a client's request: what its lines come to, worked out once while they stay the same.

Nearly every client sends the same lines with each request of a connection, all but the length of
the body. What they come to is kept with the connection: it depends on nothing else, and is used
for lines that are equal byte by byte. So a kept `Head` decides as a new one would.
"""

from aiohttp import web

from tidegate.exchange import Client, Credential
from tidegate.http.connection import ClientConnection
from tidegate.http.request import (
    Fields,
    check_body_headers,
    check_overrides,
    client_of,
    credential_of,
)
from tidegate.wire.headers import Pair

LENGTH = frozenset((b"Content-Length", b"content-length"))
"""Spellings that are common; lines with another one are new each time, and nothing else."""


class Head:
    """The lines of a head but for its length, and what they come to."""

    __slots__ = ("_body_checked", "_checked", "_credential", "_presented", "client", "pairs", "sent")  # fmt: skip

    def __init__(self, pairs: list[Pair], fields: Fields) -> None:
        self.pairs = pairs
        self.client: Client = client_of(fields)
        self.sent: tuple[object, bytes] | None = None
        """Under what the lines have left last, and how they did (`http.sending`)."""
        self._checked = self._presented = self._body_checked = False
        self._credential: Credential | None = None

    def forget(self) -> None:
        """Let go of what was worked out; its owner, too, is to let go of this."""
        self.pairs = []
        self.sent = self._credential = None

    def check(self, fields: Fields) -> None:
        """Refuse what might be another request to whoever reads it next.

        Raises:
            Refusal: naming the header.
        """
        if not self._checked:
            check_overrides(fields)
            self._checked = True

    def credential(self) -> Credential | None:
        """Return what the caller presents.

        Raises:
            Refusal: two credentials that differ.
        """
        if not self._presented:
            self._credential = credential_of(self.pairs)
            self._presented = True
        return self._credential

    def check_body(self, fields: Fields) -> None:
        """Refuse bodies in a form that we cannot see into.

        Raises:
            Refusal: saying which header, and what to send instead.
        """
        if not self._body_checked:
            check_body_headers(fields)
            self._body_checked = True


def head_of(request: web.BaseRequest) -> Head:
    """Return the head of a request: the connection's last one, if it says the same."""
    pairs = [pair for pair in request.raw_headers if pair[0] not in LENGTH]
    connection = request.protocol
    if not isinstance(connection, ClientConnection):
        return Head(pairs, request.headers)
    head = connection.head
    if head is None or head.pairs != pairs:
        head = connection.head = Head(pairs, request.headers)
    return head
