"""The server as a program: its socket, its token, its processes, and how it ends.

In this sequence, so that nothing is half done when it cannot start: settings
that contradict each other are refused, the port is taken, then the token is
read or made, then processes part (before there is a thread), then each serves
until SIGTERM or SIGINT. Streams are cut off then: clients go on elsewhere, or
here after a restart, at the position they had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from forgather_spool import guard
from forgather_spool.dataset_server import loading, policy
from forgather_spool.dataset_server.api import Api
from forgather_spool.dataset_server.handles import Handles, Load
from forgather_spool.dataset_server.memory import leave_pandas_out
from forgather_spool.dataset_server.notes import folder_of_notes
from forgather_spool.dataset_server.processes import ENDS, Processes
from forgather_spool.dataset_server.settings import Settings
from forgather_spool.dataset_server.stats import Stats
from forgather_spool.dataset_server.tokens import Token, token_for
from forgather_spool.errors import UsageError
from forgather_spool.host.listening import listen
from forgather_spool.spool.paths import Paths
from forgather_spool.tls.contexts import server_context
from forgather_spool.tls.store import default_store
from forgather_spool.web import Server

log = logging.getLogger("forgather_spool.dataset_server")
BACKLOG = 1024
REQUEST_S = 15.0  # from a connection, or the last answer on it, to the end of the next request's headers
CLOSE_S = 0.5
MAPPED_GB = 1 << 30
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
KEPT_BYTES, HEAP_BYTES = 4 << 20, 32 << 20


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that has its port and its token, and serves when `serve` is called."""

    settings: Settings
    sockets: tuple[socket.socket, ...]
    context: ssl.SSLContext | None
    token: Token

    @property
    def port(self) -> int:
        port: int = self.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where clients on this host reach it."""
        host = self.settings.host
        if host in guard.WILDCARDS:
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"
        return f"{'https' if self.context else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def prepare(settings: Settings, paths: Paths) -> Listening:
    """Take the port and the token.

    Raises:
        UsageError: reachable by others without TLS, and not --insecure.
        Busy: the port is taken.
        Missing, UnreadableFile: the address, the certificate or the token cannot be had.
    """
    context = _context(settings)
    _refuse_in_the_clear(settings, context is not None)
    sockets = _sockets(settings)
    try:
        token = token_for(settings, paths, sockets[0].getsockname()[1])
    except BaseException:  # Ctrl-C too: a port without a server behind it lets clients wait
        for one in sockets:
            one.close()
        raise
    return Listening(settings, sockets, context, token)


def check_reach(settings: Settings) -> None:
    """Raise UsageError where a start with these settings here and now would go in the clear; takes nothing."""
    has_own = settings.tls is not False and default_store().has_server()
    _refuse_in_the_clear(settings, settings.tls_cert is not None or bool(settings.tls) or has_own)


def _refuse_in_the_clear(settings: Settings, speaks_tls: bool) -> None:
    if speaks_tls or settings.insecure or guard.is_loopback(settings.host):
        return
    message = f"{settings.host} can be reached by others, and there is no TLS: tokens and data would go in the clear"
    raise UsageError(message, hint="forgather tls init, or --host 127.0.0.1 and an SSH tunnel, or --insecure")


def _context(settings: Settings) -> ssl.SSLContext | None:
    store = default_store()
    if settings.tls_cert is not None:
        return server_context(store, settings.tls_cert, settings.tls_key)
    if settings.tls or (settings.tls is None and store.has_server()):
        return server_context(store)
    return None


def _sockets(settings: Settings) -> tuple[socket.socket, ...]:
    """One for each process. Alone on the port: two servers that share it would answer for each other."""
    if settings.workers == 1:
        return (listen(settings.host, settings.port, backlog=BACKLOG),)
    port = settings.port
    if port:
        listen(settings.host, port).close()  # Busy when anybody has it, also who would share it
    sockets = [listen(settings.host, port, backlog=BACKLOG, share=True)]
    port = sockets[0].getsockname()[1]
    while len(sockets) < settings.workers:
        sockets.append(listen(settings.host, port, backlog=BACKLOG, share=True))
    return tuple(sockets)


def serve(listening: Listening) -> int:
    """Serve until told to stop; the exit code."""
    settings = listening.settings
    load = partial(loading.load, downloads=settings.allow_downloads)
    loading.offline(settings.allow_downloads)
    _allow_many_files()
    if (limit := connection_limit(settings.max_connections)) < settings.max_connections:
        log.warning("at most %d connections of %d: ulimit -n is too low", limit, settings.max_connections)
    _keep_little_memory()
    if not settings.allow_downloads:  # those the `datasets` library reads, which may use pandas for it
        leave_pandas_out()
    stats = Stats(settings.workers)
    with folder_of_notes() as folder:
        if settings.workers == 1:
            return asyncio.run(_serve(listening, listening.sockets[0], stats, folder, load))
        return Processes(len(listening.sockets), partial(_serve_at, listening, stats, folder, load)).run()


def _serve_at(listening: Listening, stats: Stats, folder: str, load: Load, place: int) -> int:
    """In a process of several: serve on the socket at `place`."""
    stats.mine = place
    mine = listening.sockets[place]
    for other in listening.sockets:
        if other is not mine:
            other.close()
    return asyncio.run(_serve(listening, mine, stats, folder, load))


async def _serve(listening: Listening, mine: socket.socket, stats: Stats, folder: str, load: Load) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in ENDS:
        loop.add_signal_handler(number, stop.set)
    await serve_on(listening, mine, stats, folder, load, stop)
    return 0


async def serve_on(
    listening: Listening, mine: socket.socket, stats: Stats, folder: str, load: Load, stop: asyncio.Event
) -> None:
    """Serve on one of its sockets until `stop` is set. `folder` is where processes of one server tell of handles."""
    settings = listening.settings
    stats.clear()
    handles = Handles(
        load,
        partial(policy.allowed, settings=settings),
        folder,
        limit=settings.max_handles,
        limit_bytes=int(settings.max_mapped_gb * MAPPED_GB),
    )
    api = Api(
        settings, handles, stats,
        token=listening.token.text, bound=mine.getsockname()[0], tls=listening.context is not None,
    )  # fmt: skip
    limit = connection_limit(settings.max_connections)
    door = Door(api.handle, limit, stats)
    loop = asyncio.get_running_loop()
    backlog = BACKLOG if limit == settings.max_connections else max(1, limit // 4)  # so many come before one counts
    server = await loop.create_server(door, sock=mine, ssl=listening.context, backlog=backlog)
    mine.listen(BACKLOG)  # the others wait in the kernel
    await stop.wait()
    server.close()
    door.pre_shutdown()
    await door.shutdown(CLOSE_S)
    api.close()
    handles.close()


class Door(Server):
    """Takes connections, and keeps no more than `limit`.

    Beyond that, whoever has connected and asked nothing for longest has to go:
    two thousand half-open connections keep no client out.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Any], limit: int, stats: Stats) -> None:
        super().__init__(
            self._handle,
            access_log=None,  # URLs are nobody's business, and headers hold tokens
            logger=_silence(),
            keepalive_timeout=REQUEST_S,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._answer = handler
        self._limit = limit
        self._stats = stats
        self._silent: OrderedDict[Any, None] = OrderedDict()  # those that have asked nothing yet, oldest first

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._silent.pop(request.protocol, None)
        response: web.StreamResponse = await self._answer(request)
        return response

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._stats.add("connections", 1)
        self._silent[handler] = None
        if len(self.connections) > self._limit:
            oldest, _ = self._silent.popitem(last=False)
            if oldest.transport is not None:
                oldest.transport.abort()

    def connection_lost(self, handler: Any, error: BaseException | None = None) -> None:
        super().connection_lost(handler, error)
        self._stats.add("connections", -1)
        self._silent.pop(handler, None)


def _allow_many_files() -> None:
    """As many open files as the system lets us have: connections and maps are files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limit(wanted: int) -> int:
    """As many as leave half of the open files to data sets; one that streams has two.

    Without a file for the next connection asyncio tries a thousand times, logs each, and does so each second for each.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if allowed == resource.RLIM_INFINITY else min(wanted, max(1, allowed // 4))


def _keep_little_memory() -> None:
    """Have the C library (mallopt(3)) keep `KEPT_BYTES` of what is freed: of the first batches it learns to keep more.

    Up to `HEAP_BYTES` come from a heap, as pages mapped for one batch alone would be made anew for each. One
    heap for all threads but the loop's: with one each, freed batches stay in many places.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # a C library that is not glibc
        for option, value in ((M_ARENA_MAX, 2), (M_MMAP_THRESHOLD, HEAP_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES)):
            ctypes.CDLL(None).mallopt(option, value)


def _silence() -> logging.Logger:
    """aiohttp logs what it cannot parse, headers and thereby tokens included."""
    logger = logging.getLogger("forgather_spool.dataset_server.http")
    logger.disabled = True
    return logger
