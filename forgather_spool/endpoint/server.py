"""The HTTP endpoint of a trainer: a thread of rank 0 with an event loop and a listening socket.

It only posts into and reads from the job's mailbox. Nothing here can hold up
training: the thread is a daemon, a client that dawdles is dropped by a timer,
and `close` waits for nobody longer than `CLOSE_S`. File access happens in the
loop itself: it is short, and the thread is there for it; an executor's threads
would be joined when the interpreter ends, at which point nothing may hang.

Nothing is logged, so no token is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

from aiohttp import web

from forgather_spool import guard
from forgather_spool.document import Document
from forgather_spool.endpoint.listening import listen
from forgather_spool.endpoint.routes import Routes
from forgather_spool.errors import Missing
from forgather_spool.spool.paths import Paths
from forgather_spool.web import Server, body_of, json_response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REALM = "forgather-trainer"
TOKEN_NEEDED = "a bearer token is needed: jobs/<job_id>/auth_token"
MAX_BODY_BYTES = 64 * 1024
HEADERS_S = 10.0  # from the connection to the end of its headers
BODY_S = 10.0
LINGER_S = 2.0  # reading off what a refused client still sends, so that it gets to read why
MAX_AT_ONCE = 32
CLOSE_S = 1.0  # whoever waits when the run ends gets this long to take its answer
START_S = 10.0


class EndpointServer:
    """Answers at once when it has been made; `port` is the port it got.

    `knows` says whether the trainer can carry out a command; default: the common ones.

    Raises:
        Busy: `port` is taken.
        Missing: the address or a thread cannot be had.
    """

    def __init__(
        self,
        paths: Paths,
        job_id: str,
        token: str,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        self._socket = listen(host, port)
        self.host: str = self._socket.getsockname()[0]
        self.port: int = self._socket.getsockname()[1]
        self._token = token
        self._routes = Routes(paths, job_id, knows)
        self._at_once = 0
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgather-http", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._socket.close()
            self._loop.close()
            raise Missing(f"no thread for the endpoint: {error}") from None
        self._ready.wait(START_S)

    def close(self) -> None:
        """Answer who waits, drop who dawdles, free the port. Returns within a few seconds whatever clients do."""
        try:
            self._loop.call_soon_threadsafe(self._ask_to_leave)
        except RuntimeError:
            return  # the loop has ended
        self._thread.join(timeout=3 * CLOSE_S)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        server = Server(
            self._handle,
            access_log=None,
            logger=_silence(),
            keepalive_timeout=HEADERS_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        listening = await self._loop.create_server(server, sock=self._socket)
        self._ready.set()
        await self._leave.wait()
        self._socket.shutdown(socket.SHUT_RDWR)  # forked data loaders hold it too, and would keep the port
        listening.close()
        server.pre_shutdown()
        for _ in range(int(CLOSE_S / 0.02)):
            if not self._at_once:
                break
            await asyncio.sleep(0.02)
        await server.shutdown(timeout=0.1)

    def _ask_to_leave(self) -> None:
        self._routes.leave()
        self._leave.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._at_once += 1
        try:
            return await self._answer(request)
        except guard.Refused as error:
            return _response(error.status, {"detail" if error.status == 401 else "error": str(error)})
        except Exception as error:  # the client gets to know that we failed, and training nothing of it
            return _response(500, {"error": type(error).__name__})
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        hosts, origins = headers.getall("Host", []), headers.getall("Origin", [])
        guard.check_host(hosts, origins, self.host)
        guard.check_token(headers.getall("Authorization", []), self._token, TOKEN_NEEDED)
        if self._at_once > MAX_AT_ONCE:
            raise guard.Refused(503, "too many requests at once")
        methods = self._routes.methods_of(request.path)
        if not methods:
            raise guard.Refused(404, "no such path")
        if request.method not in methods:
            return _response(405, {"error": "the method is not allowed"}, Allow=", ".join(methods))
        body = await _body(request) if request.method == "POST" else b""
        status, document = await self._routes.reply(request.path, request.query_string, body)
        return _response(status, document)


async def _body(request: web.BaseRequest) -> bytes:
    return await body_of(request, limit_bytes=MAX_BODY_BYTES, within_s=BODY_S)


def _response(status: int, document: Document, **headers: str) -> web.Response:
    last = True  # one request a connection: a timer that starts with it is enough
    return json_response(status, document, realm=REALM, last=last, **headers)


def _silence() -> logging.Logger:
    """aiohttp logs what it cannot parse, headers and thereby tokens included."""
    logger = logging.getLogger("forgather_spool.endpoint")
    logger.disabled = True
    return logger
