"""The sockets that clients connect to. Owned by the supervisor, so this needs no aiohttp."""

import socket

from tidegate.config import Config


def bind(config: Config) -> list[socket.socket]:
    """Return one bound socket a worker, sharing the port.

    Each worker has a queue of its own, kept by the supervisor: connections that wait for
    a worker which dies are served by the next one.

    Raises:
        OSError: the address cannot be had.
    """
    listen = config.listen
    family, _, _, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sockets: list[socket.socket] = []
    # Sockets that share a port also share it with another gateway's; one that does not
    # share tells whether the port is free.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    try:
        for _ in range(listen.workers):
            bound = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(address if len(sockets) == 1 else sockets[0].getsockname())
            bound.listen(4096)
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    return sockets
