"""One server: what it has, and streams from it. Synchronous; no asyncio, no thread, nothing tried twice.

A failure is one of three, and the caller acts by which:

    ServerUnreachable    may pass: ask again later, or somebody else
    ServerRefused        it will say the same next time
    ContentChanged       it has other data than those meant

Connections stay open for the next request. They are one process's: after a fork each opens its own.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from forgather_spool.dataset.address import LOOPBACK, TOKEN_VARIABLE, Address, connection_hint, verification_hint
from forgather_spool.dataset.errors import BrokenStream, ContentChanged, ServerRefused, ServerUnreachable
from forgather_spool.dataset.frames import MEDIA_TYPE
from forgather_spool.dataset.order import Order
from forgather_spool.dataset.remote.chunks import Chunks
from forgather_spool.dataset.walk import Walk

CONNECT_S = 10.0
ANSWER_S = 60.0  # without a byte for so long, a connection is dead: data come from a disk in a fraction of it
MAX_ANSWER_BYTES = 16 << 20
MAX_IDLE = 4
LATER = frozenset({408, 429})  # of the 4xx; all others but these will be the same next time


class NoAnswer(ServerUnreachable):
    """Nothing came in time."""


class HandleGone(ServerUnreachable):
    """The server does not know the handle (any more), or the files changed: load again."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server made of a request."""

    handle: str
    length: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stream: these rows of this content."""

    order: Order
    walk: Walk
    columns: tuple[str, ...] | None
    batch_bytes: int
    fingerprint: str

    @property
    def query(self) -> str:
        words = {"order": self.order.text, "walk": self.walk.text, "batch_bytes": str(self.batch_bytes)}
        if self.columns is not None:
            words["columns"] = ",".join(quote(name, safe="") for name in self.columns)
        return urlencode(words)


@dataclass(slots=True)
class Stream:
    """An open answer. `body` is read from; `connection` is to be given back, or closed."""

    body: http.client.HTTPResponse | Chunks
    connection: http.client.HTTPConnection


class Server:
    """See above. May be pickled, the token with it: a DataLoader sends it to its processes."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[http.client.HTTPConnection] = []
        self._pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return Server, (self.address,)

    @property
    def url(self) -> str:
        return self.address.url

    def load(self, request: Mapping[str, Any], timeout_s: float = ANSWER_S) -> Loaded:
        """The data set `request` names. An index may have to be built first; asking again waits for the same build."""
        body = json.dumps(request).encode()
        connection, answer = self._ask("POST", "/v1/load", body, {"Content-Type": "application/json"}, timeout_s)
        found = self._object(answer, connection)
        if answer.status != 200:
            raise self._error(answer, found)
        try:
            return Loaded(str(found["handle"]), int(found["length"]), str(found["fingerprint"]))
        except (KeyError, TypeError, ValueError):
            raise ServerRefused(
                f"{self.url} says nothing of the content of its data sets", hint="it needs a newer server"
            ) from None

    def is_alive(self, timeout_s: float) -> bool:
        """Whether a dataset server answers here. The token is not shown to it."""
        connection = self.address.connect(timeout_s)
        try:
            connection.request("GET", f"{self.address.prefix}/v1/health")
            answer = connection.getresponse()
            found = json.loads(answer.read(MAX_ANSWER_BYTES))
            return isinstance(found, dict) and found.get("service") == "forgather-dataset-server"
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()

    def stream(self, handle: str, wanted: Wanted) -> Stream:
        """The rows, as frames. What it is a stream of has been checked.

        Raises, beside the three:
            BrokenStream: it says it is of something else. A server of other content refuses `If-Match`: this is damage.
        """
        headers = {"Accept": MEDIA_TYPE, "If-Match": f'"{wanted.fingerprint}"'}
        path = f"/v1/datasets/{quote(handle, safe='')}/iter?{wanted.query}"
        connection, answer = self._ask("GET", path, None, headers, ANSWER_S)
        if answer.status != 200:
            raise self._error(answer, self._object(answer, connection))
        try:
            self._check(answer, wanted)
            in_place = answer.chunked and connection.sock is not None
            return Stream(Chunks(answer, connection.sock) if in_place else answer, connection)
        except BaseException:  # Ctrl-C too: a connection with half an answer on it is of no use to the next
            connection.close()
            raise

    def give_back(self, stream: Stream) -> None:
        """Its end frame came: read what little is left, and keep the connection."""
        try:
            stream.body.read()
        except (OSError, http.client.HTTPException):
            stream.connection.close()
            return
        if stream.body.isclosed() and stream.connection.sock is not None:
            self._keep(stream.connection)

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        if self._pid != os.getpid():
            self._pid, self._idle = os.getpid(), []
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection of this process that nobody uses; of two threads that ask for the last, one gets it."""
        try:
            return self._idle.pop() if self._pid == os.getpid() else None
        except IndexError:
            return None

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The answer's head; over a kept connection if that is still good."""
        sent = {**self.address.headers(), **headers}
        while kept := self._kept():
            try:
                return self._asked(kept, method, path, body, sent, timeout_s)
            except TimeoutError as error:  # not closed, but silent, as any other to it would be
                kept.close()
                raise NoAnswer(f"{self.url}: {_words(error)}", hint="forgather dataset-server status") from None
            except (OSError, http.client.HTTPException):
                kept.close()  # the server closed it meanwhile
        connection = self.address.connect(CONNECT_S)
        try:
            return self._asked(connection, method, path, body, sent, timeout_s)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            hint = verification_hint(error.verify_code)
            raise ServerRefused(f"{self.url} cannot be verified: {error.verify_message}", hint=hint) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            kind = NoAnswer if isinstance(error, TimeoutError) else ServerUnreachable
            hint = connection_hint(self.address, error, "forgather dataset-server status")
            raise kind(f"{self.url}: {_words(error)}", hint=hint) from None

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout_s)
        connection.request(method, self.address.prefix + path, body, dict(headers))
        return connection, connection.getresponse()

    def _object(self, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> dict[str, Any]:
        """A short answer, whole (empty when it is no JSON object). Its connection is kept when it may be."""
        try:
            found = json.loads(answer.read(MAX_ANSWER_BYTES))
            if answer.isclosed() and connection.sock is not None:
                self._keep(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerUnreachable(f"{self.url}: {_words(error)}") from None
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}

    def _error(self, answer: http.client.HTTPResponse, found: Mapping[str, Any]) -> Exception:
        said = " ".join(str(found.get("error", "no reason given")).split())[:500]
        message = f"{self.url}: {answer.status}: {said}"
        if answer.status == 401:
            return ServerRefused(f"{self.url}: {self._token_words}", hint=self._token_hint)
        if answer.status == 412:
            return ContentChanged(message, hint="load the data set again, and start the epoch anew")
        if answer.status == 409 or (answer.status == 404 and "handle" in said):
            return HandleGone(message)
        if answer.status in LATER or not 400 <= answer.status < 500:  # a 3xx or 2xx is damage, or no server of ours
            return ServerUnreachable(message, retry_after_s=_seconds(answer.headers.get("Retry-After")))
        hint = "forgather dataset-server local and cache list what a server has"
        if "Host header" in said:
            hint = "use the address the server listens on, or start it with --allow-host NAME"
        return ServerRefused(message, hint=hint)

    @property
    def _token_words(self) -> str:
        return "asks for a token" if self.address.token is None else "does not take this token"

    @property
    def _token_hint(self) -> str:
        if self.address.token is None or os.environ.get(TOKEN_VARIABLE) or self.address.host not in LOOPBACK:
            return f"look at {TOKEN_VARIABLE}"
        return f"its token may have been made anew: load the data set again; for a tunnel's other end, {TOKEN_VARIABLE}"

    def _check(self, answer: http.client.HTTPResponse, wanted: Wanted) -> None:
        """Whether it is a stream of what was asked: the server's own words for it, compared with ours."""
        expected = {
            "Content-Type": MEDIA_TYPE,
            "ETag": f'"{wanted.fingerprint}"',
            "X-Forgather-Order": wanted.order.text,
            "X-Forgather-Walk": wanted.walk.text,
            "X-Forgather-Total": str(wanted.order.total),
        }
        for name, value in expected.items():
            found = answer.headers.get(name)
            if found != value:
                raise BrokenStream(f"{name} is {found}, and {value} was asked for")


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    found = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(found).split())[:200]
