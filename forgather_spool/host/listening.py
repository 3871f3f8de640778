"""A listening socket: bind and listen in one go, so that the port is really ours.

Listen is part of it: with SO_REUSEADDR (a port just left may be had again at
once) two sockets may be bound to one port, but only one can listen.
"""

from __future__ import annotations

import errno
import socket

from forgather_spool.errors import Busy, Missing


def listen(host: str, port: int, *, backlog: int = 32, share: bool = False) -> socket.socket:
    """A listening socket that does not block; port 0: any free one.

    With `share`, further sockets of this user may listen on the same port, and
    the kernel spreads connections over them (SO_REUSEPORT).

    Raises:
        Busy: the port is taken.
        Missing: this machine has no such address, or the port may not be had.
    """
    if not host:
        raise Missing("an empty address would be reachable from everywhere", hint='say "0.0.0.0" if that is meant')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise Missing(f"{host}:{port} is no address: {error}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(backlog)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise Busy(f"port {port} on {host} is taken", hint="choose another port") from None
        raise Missing(f"cannot listen on {host}:{port}: {error}") from None
    return listening
