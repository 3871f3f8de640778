"""The port of a trainer's endpoint: one that is really ours.

Trying a port and binding it later is a race that two trainers started together
lose. A port is taken here by bind and listen, in one go, and kept.
"""

from __future__ import annotations

import socket

from forgather_spool.errors import Busy
from forgather_spool.host import listening

FIRST_PORT = 8900
LAST_PORT = 8999


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; `port` None: the first free one of 8900 to 8999, else any.

    Raises:
        Busy: `port` is taken.
        Missing: this machine has no such address, or the port may not be had.
    """
    if port is not None:
        return listening.listen(host, port)
    for candidate in (*range(FIRST_PORT, LAST_PORT + 1), 0):
        try:
            return listening.listen(host, candidate)
        except Busy:
            continue
    raise Busy(f"no port on {host} is free")
