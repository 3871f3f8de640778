"""A listening socket on a port that is really ours.

Trying a port and binding it later is a race that two trainers started together
lose. A port is taken here by bind and listen, in one go, and kept. Listen is
part of it: with SO_REUSEADDR (a port just left may be had again at once) two
sockets may be bound to one port, but only one can listen.
"""

from __future__ import annotations

import errno
import socket

from forgather_spool.errors import Busy, Missing

FIRST_PORT = 8900
LAST_PORT = 8999
BACKLOG = 32


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; `port` None: the first free one of 8900 to 8999, else any.

    Raises:
        Busy: `port` is taken.
        Missing: this machine has no such address, or the port may not be had.
    """
    if not host:
        raise Missing("an empty address would be reachable from everywhere", hint='say "0.0.0.0" if that is meant')
    if port is not None:
        return _listen(host, port)
    for candidate in (*range(FIRST_PORT, LAST_PORT + 1), 0):
        try:
            return _listen(host, candidate)
        except Busy:
            continue
    raise Busy(f"no port on {host} is free")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise Missing(f"{host}:{port} is no address: {error}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise Busy(f"port {port} on {host} is taken", hint="leave the port out to have a free one") from None
        raise Missing(f"cannot listen on {host}:{port}: {error}") from None
    return listening
