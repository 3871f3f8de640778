"""Who may speak to the endpoint: decided from a request's headers alone, before its path or body matters.

Loopback is no fence: any page in a browser on this host can send requests to
it (DNS rebinding gives it our address under its own name). So a request names
one host that is ours, comes from no foreign page, and carries the token, on
every route, known or not.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Sequence

REALM = "forgather-trainer"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})


class Refused(Exception):
    """The request is turned away with `status`; `str(error)` may be told to whoever asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check(hosts: Sequence[str], origins: Sequence[str], authorizations: Sequence[str], bound: str, token: str) -> None:
    """Raise Refused unless the request is ours; each argument is every header of that name.

    `bound` is the address the endpoint listens on.
    """
    if len(hosts) != 1:
        raise Refused(400, "one Host header is needed")
    if not is_our_host(hosts[0], bound):
        raise Refused(403, "the Host header names another host")
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        raise Refused(403, "requests from other origins are not taken")
    expected = f"Bearer {token}".encode()
    given = authorizations[0].encode("utf-8", "surrogateescape") if len(authorizations) == 1 else b""
    if not hmac.compare_digest(given, expected):
        raise Refused(401, "a bearer token is needed: jobs/<job_id>/auth_token")


def is_our_host(header: str, bound: str) -> bool:
    """Whether a Host header names loopback or `bound`. Any port will do: a tunnel has its own.

    Bound to all addresses, any IP address is ours (a foreign page cannot be
    reached by a number) and so is this machine's name.
    """
    name = _name_of(header)
    if name is None:
        return False
    if name in LOOPBACK_NAMES or name == bound.lower():
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
