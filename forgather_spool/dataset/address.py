"""Where a dataset server is, and the token it takes.

    token: the one given, else $FORGATHER_DATASET_SERVER_TOKEN, else, where the
           URL names this host, dataset_server/<port>.token under the home, else none

A token goes into one header of one connection that has been verified, and
nowhere else: no URL, no `repr`, no message of an error holds it.
"""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from forgather_spool.errors import ForgatherError, UsageError

SERVER_VARIABLE = "FORGATHER_DATASET_SERVER"
TOKEN_VARIABLE = "FORGATHER_DATASET_SERVER_TOKEN"
DEFAULT_PORT = 8766
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}
HINT = f"such as http://127.0.0.1:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Address:
    """One server. `prefix` is what stands before ``/v1`` behind a proxy, mostly nothing."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection, not open yet. With https it verifies, always.

        Raises:
            UnreadableFile: a certificate to verify with is damaged.
        """
        if self.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        from forgather_spool.tls.contexts import client_context

        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=client_context())


def parse_address(url: str, token: str | None = None) -> Address:
    """The server at `url` (http, https or a ``forgather-dataset:`` bundle), with the token for it.

    Raises:
        UsageError: it is none of these, or a token stands where it would be seen.
    """
    if url.startswith("forgather-dataset:"):
        from forgather_spool.tls import bundle

        found = bundle.parse(url)
        if not _is_host(found.host) or not found.port:
            raise UsageError("this bundle names no host", hint=HINT)
        scheme, host, port, prefix = "https" if found.tls else "http", found.host, found.port, ""
        token = token or found.token
    else:
        scheme, host, port, prefix = _split(url)
    return Address(scheme, host, port, prefix, _checked(token or _token_for(host, port)))


def named(text: str, token: str | None = None) -> list[Address]:
    """The servers of several URLs with commas between them, each once.

    Raises:
        UsageError: one is no URL, or there is none.
    """
    urls = [part.strip() for part in text.split(",") if part.strip()]
    if not urls:
        raise UsageError(f"{SERVER_VARIABLE} names no server")
    return list({address.url: address for address in (parse_address(url, token) for url in urls)}.values())


def _split(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise UsageError("this is no URL of a dataset server", hint=HINT) from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError("a dataset server's URL holds no name, token or query", hint=f"{TOKEN_VARIABLE} for the token")
    if parts.scheme not in _PORTS or not _is_host(parts.hostname) or port == 0 or not parts.path.isascii():
        raise UsageError("this is no URL of a dataset server", hint=HINT)
    return parts.scheme, str(parts.hostname), port or _PORTS[parts.scheme], parts.path.rstrip("/")


def _is_host(name: str | None) -> bool:
    """Whether the HTTP library takes it for one: it raises at blanks, control characters, and what no DNS can ask."""
    try:
        (name or "").encode("idna")
    except UnicodeError:
        return False
    return bool(name) and all(letter > " " and letter != "\x7f" for letter in str(name))


def connection_hint(address: Address, error: Exception, otherwise: str) -> str:
    """What may help where no connection came about: TLS met by none, or the other way, looks like noise."""
    if address.scheme == "https" and "WRONG_VERSION_NUMBER" in str(error):
        return f"it speaks no TLS: {replace(address, scheme='http').url}"
    if address.scheme == "http" and isinstance(error, http.client.RemoteDisconnected):
        return f"it may speak TLS: {replace(address, scheme='https').url}"
    return otherwise


def verification_hint(code: int) -> str:
    """What helps when a certificate could not be verified, by its X509_V_ERR (62, 64: another name; 10: expired)."""
    if code in (62, 64):
        return "use a name it is for, or on its host: forgather tls renew --add-hostname NAME (--add-ip ADDRESS)"
    if code == 10:
        return "on its host: forgather tls renew, and start the server again"
    return "forgather tls import-ca CA.crt, from the server's forgather tls export-ca"


def _token_for(host: str, port: int) -> str | None:
    if given := os.environ.get(TOKEN_VARIABLE):
        return given
    if host not in LOOPBACK:
        return None
    from forgather_spool.spool.files import read_bytes
    from forgather_spool.spool.paths import Paths, default_home

    try:
        return read_bytes(Paths(default_home()).dataset_token(port), 4096).decode("ascii", "replace").strip()
    except (FileNotFoundError, ForgatherError):
        return None  # a tunnel's other end has a token of its own: the server's 401 says what is needed


def _checked(token: str | None) -> str | None:
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("the token is not one word of ASCII characters", hint=f"look at {TOKEN_VARIABLE}")
    return token
