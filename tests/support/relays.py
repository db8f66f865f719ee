"""A relay between two ends that a test has in its hands."""

from typing import Any

from tidegate.http.relay import Relay
from tidegate.http.upstream import Connection
from tidegate.pipeline.conclude import Course

TIMEOUT_S = 60.0


def relaying(upstream: Any, client: Any, course: Course) -> tuple[Relay, Connection]:
    """Return a relay that has sent its request, and the connection that gets the answer.

    `upstream` stands for the pool and the transport, `client` for the other transport.
    """
    relay = Relay(
        client,
        course,
        own_lines=b"x-tidegate-id: 1",
        http10=False,
        keep_alive=True,
        first_byte_timeout_s=TIMEOUT_S,
        idle_timeout_s=TIMEOUT_S,
    )
    connection = Connection(upstream)
    connection.connection_made(upstream)
    relay.send(connection, b"", b"")
    return relay, connection
