"""Bundle URIs: where a dataset server is and the token it takes, in one text to hand over.

    forgather-dataset://host:port/?token=<percent-encoded>[&tls=1]

A bundle IS the token: whoever reads it reads every data set of that server.
It goes through a channel you would send a password through, is never printed
unless asked for, and never becomes a request's URL: what is parsed here gives
a plain base URL and a token apart from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from forgather_spool.errors import UsageError

SCHEME = "forgather-dataset"


@dataclass(frozen=True, slots=True)
class Bundle:
    """`token` is kept out of `repr`, and so out of logs and tracebacks."""

    host: str
    port: int
    token: str | None
    tls: bool = False

    def __repr__(self) -> str:
        return f"Bundle({self.base_url}, token={'***' if self.token else None})"

    @property
    def base_url(self) -> str:
        """``http(s)://host:port``, the token not in it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def spell(bundle: Bundle) -> str:
    """The URI. A secret, unless the server takes no token."""
    host = f"[{bundle.host}]" if ":" in bundle.host else bundle.host
    query = [f"token={quote(bundle.token, safe='')}"] if bundle.token else []
    query += ["tls=1"] if bundle.tls else []
    return f"{SCHEME}://{host}:{bundle.port}/" + (f"?{'&'.join(query)}" if query else "")


def parse(uri: str) -> Bundle:
    """The URI's parts. The error names no part of it: it may hold a token.

    Raises:
        UsageError: it is no bundle.
    """
    hint = f"{SCHEME}://HOST:PORT/?token=TOKEN"
    try:
        parts = urlsplit(uri.strip())
        port, host = parts.port, parts.hostname
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=8))
    except ValueError:
        raise UsageError("this is no bundle", hint=hint) from None
    if parts.scheme != SCHEME or not host or port is None or parts.username is not None:
        raise UsageError("this is no bundle", hint=hint)
    if parts.path not in ("", "/") or parts.fragment or not query.keys() <= {"token", "tls"}:
        raise UsageError("the bundle holds something we do not know", hint=hint)
    token = query.get("token") or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("the bundle's token could not stand in a header", hint=hint)
    if query.get("tls", "0") not in ("0", "1"):
        raise UsageError("the bundle's tls is neither 0 nor 1", hint=hint)
    return Bundle(host, port, token, query.get("tls") == "1")
