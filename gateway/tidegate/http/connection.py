"""The server side's connection: aiohttp's, with our error answers and a line to the relay."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tidegate.http import reply

if TYPE_CHECKING:
    from tidegate.http.head import Head
    from tidegate.http.relay import Relay

log = logging.getLogger(__name__)


class _Waiting(list[Any]):
    """Requests that wait for their turn on one connection, nearly always none.

    In place of aiohttp's deque, which takes 760 bytes when it is empty.
    """

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


class ClientConnection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_relay", "_slow", "head")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._relay: Relay | None = None
        self._slow = False
        self._messages = _Waiting()  # type: ignore[assignment]
        self.head: Head | None = None
        """Of the last request."""

    def attach(self, relay: "Relay | None", *, lasting: bool = False) -> None:
        """Tell `relay` from now on when the client is slow; it may be so already.

        While an answer is `lasting`, what can be made again takes no memory: what was worked
        out of the head, and aiohttp's timer for idle connections, which it sets after each
        answer and which does nothing while there is a request. A kilobyte for each stream.
        """
        self._relay = relay
        if lasting:
            self.keep_alive(True)
            if self.head is not None:
                self.head.forget()
                self.head = None
        if relay is not None and self._slow:
            relay.pause()

    def pause_writing(self) -> None:
        """The client takes less than comes: let the upstream wait."""
        super().pause_writing()
        self._slow = True
        if self._relay is not None:
            self._relay.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._slow = False
        if self._relay is not None:
            self._relay.resume()

    def close_if_idle(self) -> None:
        """Close now if no request is being read or served."""
        if self._current_request is None and not self._messages:
            self.close()
            if self.transport is not None:  # aiohttp's `close` leaves it to a later request
                self.transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP. Nothing of it is repeated: it may hold a credential."""
        log.info("not an HTTP request: %s", type(exc).__name__)
        manager = self._manager
        exchange_id = manager.record_malformed() if isinstance(manager, Server) else ""
        if request.transport is not None:
            refusal = reply.refuse(400, "the request is not valid HTTP/1.1", "http")
            body, fields = reply.refusal_answer(refusal, exchange_id)
            request.transport.write(reply.answer(400, body, fields, keep_alive=False))
        return reply.Written(400, keep_alive=False)


class Server(web.Server):
    """aiohttp's low-level server, making connections of ours."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        *,
        record_malformed: Callable[[], str],
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, **kwargs)
        self.record_malformed = record_malformed
        """Writes the record of what was no request, and returns its id."""

    def __call__(self) -> RequestHandler:
        """Return the protocol for a connection just accepted."""
        return ClientConnection(self, loop=self._loop, **self._kwargs)
