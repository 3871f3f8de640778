"""Who may speak to a server of ours: decided from a request's headers alone, before its path or body matters.

Loopback is no fence: any page in a browser on this host can send requests to
it (DNS rebinding gives it our address under its own name). So a request names
one host that is ours, comes from no foreign page, and carries the token, on
every route, known or not. Knows no server; each says what is open and what its realm is.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Collection, Sequence

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})


class Refused(Exception):
    """The request is turned away with `status`; `str(error)` may be told to whoever asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_host(
    hosts: Sequence[str],
    origins: Sequence[str],
    bound: str,
    *,
    scheme: str = "http",
    names: Collection[str] = (),
) -> None:
    """Raise Refused unless the request is meant for us and no foreign page sent it.

    `hosts` and `origins` are every header of that name. `bound` is the address
    the server listens on, `names` are further ones it goes by (in lower case).
    """
    if len(hosts) != 1:
        raise Refused(400, "one Host header is needed")
    if not is_our_host(hosts[0], bound, names):
        raise Refused(403, "the Host header names another host")
    if any(origin != f"{scheme}://{hosts[0]}" for origin in origins):
        raise Refused(403, "requests from other origins are not taken")


def check_token(authorizations: Sequence[str], token: str, absent: str) -> None:
    """Raise Refused, saying `absent`, unless the one Authorization header is ``Bearer <token>``."""
    expected = f"Bearer {token}".encode()
    given = authorizations[0].encode("utf-8", "surrogateescape") if len(authorizations) == 1 else b""
    if not hmac.compare_digest(given, expected):
        raise Refused(401, absent)


def is_our_host(header: str, bound: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header names loopback, `bound` or one of `names`. Any port will do: a tunnel has its own.

    Bound to all addresses, any IP address is ours (a foreign page cannot be
    reached by a number) and so is this machine's name.
    """
    name = _name_of(header)
    if name is None:
        return False
    if name in LOOPBACK_NAMES or name == bound.lower() or name in names:
        return True
    if is_loopback(bound):
        return False
    if name in {os.uname().nodename.lower(), os.uname().nodename.partition(".")[0].lower()}:
        return True
    return bound in WILDCARDS and _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name_of(header: str) -> str | None:
    """The host in a Host header, in lower case and without brackets; None: it is none."""
    name, colon, port = header.lower(), "", ""
    if header.startswith("["):
        name, bracket, rest = name[1:].partition("]")
        _, colon, port = rest.partition(":")
        if not bracket or (rest and not rest.startswith(":")):
            return None
    elif ":" in header:
        name, colon, port = name.rpartition(":")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return name or None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
