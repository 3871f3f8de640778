"""Servers of this user on this machine, for ``FORGATHER_DATASET_SERVER=auto``.

Those that made a token under the home (its file's name is the port), and the
default port. Only where a process of this user, or of root, listens: a port
another user took is not asked.
"""

from __future__ import annotations

import os

from forgather_spool.dataset.address import DEFAULT_PORT, SERVER_VARIABLE, Address, parse_address
from forgather_spool.dataset.remote.server import Server
from forgather_spool.errors import Missing
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths, default_home

ALIVE_S = 2.0
LISTENS = "0A"
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def nearby() -> list[Address]:
    """Those that answer, the default port's first. Raises Missing when there is none."""
    found = [answering(port) for port in sorted(_candidates(), key=lambda port: (port != DEFAULT_PORT, port))]
    if not any(found):
        raise Missing(
            f"{SERVER_VARIABLE}=auto, and no dataset server of yours runs on this machine",
            hint="forgather dataset-server start, or name one by its URL",
        )
    return [address for address in found if address]


def answering(port: int) -> Address | None:
    """The server on `port`, if it is ours or root's: with the scheme it speaks."""
    if port in _mine():
        for scheme in ("http", "https"):
            address = parse_address(f"{scheme}://127.0.0.1:{port}")
            if Server(address).is_alive(ALIVE_S):
                return address
    return None


def _candidates() -> set[int]:
    ports = {DEFAULT_PORT}
    for name in files.names(Paths(default_home()).dataset_server):
        port, dot, kind = name.partition(".")
        if kind == "token" and dot and port.isascii() and port.isdigit():
            ports.add(int(port))
    return ports


def _mine() -> set[int]:
    """Ports on which a process of ours or root's listens."""
    ports = set()
    for path in TABLES:
        try:
            with open(path) as file:
                rows = [line.split() for line in list(file)[1:]]
        except OSError:
            continue
        ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if _is_mine(row)}
    return ports


def _is_mine(row: list[str]) -> bool:
    return len(row) > 7 and row[3] == LISTENS and row[7] in (str(os.getuid()), "0")
