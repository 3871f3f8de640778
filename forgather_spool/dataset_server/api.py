"""The HTTP API: what each route answers, and who may ask.

The predecessor's JSON and status codes. No path of a client ever becomes a path
of a file. Every error is ``{"error": text}``. Which routes there are: routes.py.

    health, auth/status     open to all who name us as their host
    everything else         the token, also for what does not exist
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from aiohttp import web

from forgather_spool import __version__, guard
from forgather_spool.dataset.errors import BadDataset, ContentChanged
from forgather_spool.dataset.frames import MEDIA_TYPE
from forgather_spool.dataset_server import hf_cache, openapi, policy
from forgather_spool.dataset_server.handles import Handle, Handles
from forgather_spool.dataset_server.memory import GivingBack, anonymous_bytes
from forgather_spool.dataset_server.policy import Denied
from forgather_spool.dataset_server.query import Asked, parse_query
from forgather_spool.dataset_server.routes import API_VERSION, found_at
from forgather_spool.dataset_server.settings import Settings
from forgather_spool.dataset_server.stats import Stats
from forgather_spool.dataset_server.streams import Stream
from forgather_spool.document import Document, parse
from forgather_spool.errors import BadDocument, ForgatherError, Missing, UsageError
from forgather_spool.web import body_of, json_response

log = logging.getLogger("forgather_spool.dataset_server")
REALM = "forgather-dataset"
SERVICE = "forgather-dataset-server"
MAX_BODY_BYTES = 64 * 1024
BODY_S = 10.0
POOL_THREADS = 8  # compression and cold reads


Answer: TypeAlias = "Document | web.StreamResponse"


class Api:
    """Answers requests. `token` None: none is asked for; `bound` is the address the server listens on."""

    def __init__(
        self, settings: Settings, handles: Handles, stats: Stats, *, token: str | None, bound: str, tls: bool
    ) -> None:
        self._settings = settings
        self._handles = handles
        self._stats = stats
        self._token = token
        self._bound = bound
        self._scheme = "https" if tls else "http"
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="stream")
        self._streams = 0
        self._memory = GivingBack()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request; what goes wrong in ours is a 500 and no more is told."""
        self._stats.add("requests", 1)
        try:
            found = await self._routed(request)
            return found if isinstance(found, web.StreamResponse) else _response(200, found)
        except (guard.Refused, Denied) as error:
            self._stats.add("refused", 1)
            return _response(error.status, {"error": str(error)})
        except BadDocument as error:  # NUL in a column's name, as Arrow allows it
            return _response(500, {"error": f"what there is to say has no form in JSON: {error}"})
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # one request of many: a route that breaks ends itself, never the streams of others
            log.exception("%s %s failed", request.method, request.path[:200])
            return _response(500, {"error": "internal error"})

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _routed(self, request: web.BaseRequest) -> Answer:
        headers = request.headers
        hosts, origins = headers.getall("Host", []), headers.getall("Origin", [])
        names = self._settings.allow_host
        guard.check_host(hosts, origins, self._bound, scheme=self._scheme, names=names)
        found = found_at(request.path)
        open_to_all = bool(found) and all(route.open for route, _ in found)
        if self._token is not None and not open_to_all:
            guard.check_token(headers.getall("Authorization", []), self._token, "authentication required")
        for route, name in found:
            if route.method == request.method:
                answer: Callable[[web.BaseRequest, str], Awaitable[Answer]] = getattr(self, f"_{route.answer}")
                return await answer(request, name)
        if not found:
            raise Denied(404, "no such path")
        methods = ", ".join(route.method for route, _ in found)
        return _response(405, {"error": "the method is not allowed"}, Allow=methods)

    # -- open ---------------------------------------------------------------------------------------------------------

    async def _health(self, request: web.BaseRequest, name: str) -> Answer:
        settings = self._settings
        return {
            "status": "ok",
            "service": SERVICE,
            "version": API_VERSION,
            "release": __version__,
            "policy": {
                "auth_required": self._token is not None,
                "hf_cache_enabled": not settings.no_hf,
                "allow_paths": settings.allow_paths,
                "allow_downloads": settings.allow_downloads,
                "local_count": len(settings.local),
            },
            "anonymous_bytes": anonymous_bytes(),
        }

    async def _auth_status(self, request: web.BaseRequest, name: str) -> Answer:
        return {"auth_required": self._token is not None}

    # -- with the token -----------------------------------------------------------------------------------------------

    async def _datasets(self, request: web.BaseRequest, name: str) -> Answer:
        return {"handles": [handle.described() for handle in self._handles.listed()]}

    async def _dataset(self, request: web.BaseRequest, name: str) -> Answer:
        handle = await self._opened(name)
        schema = handle.rows.schema
        fields = [{"name": field.name, "type": str(field.type)} for field in schema]
        return {**handle.described(), "columns": fields, "features": _plain(handle.rows.features)}

    async def _length(self, request: web.BaseRequest, name: str) -> Answer:
        return {"length": len((await self._opened(name)).rows)}

    async def _unload(self, request: web.BaseRequest, name: str) -> Answer:
        readers = self._handles.unload(name)
        log.info("unloaded %s", name)
        return {"unloaded": name, "readers": readers}

    async def _load(self, request: web.BaseRequest, name: str) -> Answer:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Denied(415, "the body must not be compressed")
        try:
            body = parse(await _body(request))
        except BadDocument as error:
            raise Denied(400, str(error)) from None
        wanted = policy.allowed(body, self._settings)
        with self._stats.during("loads"):
            handle = await self._loaded(wanted)
        log.info("loaded %s: %s, %d rows", handle.name, dict(handle.asked), len(handle.rows))
        return handle.described()

    async def _cache_hf(self, request: web.BaseRequest, name: str) -> Answer:
        if self._settings.no_hf:
            return hf_cache.CLOSED
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, hf_cache.listed)

    async def _local(self, request: web.BaseRequest, name: str) -> Answer:
        local = self._settings.local
        return {"local": [{"name": one, "path": local[one]} for one in sorted(local)]}

    async def _statistics(self, request: web.BaseRequest, name: str) -> Answer:
        return {
            **self._stats.told(),
            "handles": len(self._handles.listed()),
            "loading": self._handles.loading,
            "mapped_bytes": self._handles.mapped_bytes,
            "clients": self._stats.readers(),
        }

    async def _openapi(self, request: web.BaseRequest, name: str) -> Answer:
        return openapi.document(API_VERSION)

    async def _iter(self, request: web.BaseRequest, name: str) -> Answer:
        if self._streams >= self._settings.max_streams:
            return _response(503, {"error": "too many streams at once"}, **{"Retry-After": "1"})
        if request.version < (1, 1):
            raise Denied(505, "HTTP/1.0 cannot tell a whole stream from one that was cut")
        handle = await self._opened(name)
        with self._handles.reading(handle) as rows:
            asked = self._asked(request, handle)
            wanted = request.headers.get("If-Match")
            if wanted is not None and wanted.strip() not in ("*", f'"{rows.fingerprint}"'):
                raise Denied(412, f"the data set has another content: {rows.fingerprint}")
            try:
                arrow = wants_arrow(request.headers.getall("Accept", []))
                stream = Stream(handle, rows, asked, lambda: self._streams, arrow=arrow)
            except UsageError as error:
                raise Denied(406, str(error)) from None
            except ContentChanged as error:
                self._handles.unload(name)
                raise Denied(409, "the data changed on disk: load the data set again") from error
            response = web.StreamResponse(headers=stream.headers())
            response.enable_chunked_encoding()
            self._streams += 1
            try:
                path = str(handle.asked.get("path", ""))
                with self._stats.reading(_client(request), handle.name, path) as reader:
                    idle_s = self._settings.idle_timeout
                    await stream.send(request, response, self._stats, reader, self._pool, idle_s)
            finally:
                self._streams -= 1
                self._memory.soon()
            return response

    def _asked(self, request: web.BaseRequest, handle: Handle) -> Asked:
        try:
            return parse_query(list(request.query.items()), len(handle.rows), handle.rows.column_names)
        except UsageError as error:
            raise Denied(400, str(error)) from None

    async def _opened(self, name: str) -> Handle:
        return await self._loading(self._handles.get(name), "")

    async def _loaded(self, wanted: policy.Wanted) -> Handle:
        return await self._loading(self._handles.load(wanted), wanted.location)

    async def _loading(self, load: Awaitable[Handle], location: str) -> Handle:
        """What a load gives, its errors as the API tells them: without the place where the data lie."""
        try:
            return await load
        except (Missing, FileNotFoundError) as error:
            raise Denied(404, _told(error, location)) from None
        except UsageError as error:
            raise Denied(400, _told(error, location)) from None
        except (BadDataset, ContentChanged) as error:
            raise Denied(500, _told(error, location)) from None
        except ForgatherError as error:
            log.warning("a load failed: %s", error)
            raise Denied(503, _told(error, location)) from None


def wants_arrow(accepts: list[str]) -> bool:
    """Whether the Accept headers name Arrow, and not as worth less than JSON lines. Absent or ``*/*``: they do not."""
    worth = {}
    for part in ",".join(accepts).split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece.removeprefix("q=") for piece in parameters if piece.startswith("q=")), "1")
        worth[media] = float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 0.0
    arrow = worth.get(MEDIA_TYPE, 0.0)
    return arrow > 0 and arrow >= worth.get("application/x-ndjson", 0.0)


def _told(error: Exception, location: str) -> str:
    hint = getattr(error, "hint", "")
    text = " ".join((f"{error}: {hint}" if hint and "/" not in hint else str(error)).split())
    if location.startswith("/"):
        text = text.replace(location, "the data set")
    return text if "/" not in text or not location.startswith("/") else f"cannot be loaded: {type(error).__name__}"


def _client(request: web.BaseRequest) -> str:
    """Address and port of who asks."""
    found = None if request.transport is None else request.transport.get_extra_info("peername")
    if not isinstance(found, tuple) or len(found) < 2:
        return "gone"
    return f"[{found[0]}]:{found[1]}" if ":" in str(found[0]) else f"{found[0]}:{found[1]}"


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float, bool, list, dict)) else str(value)


async def _body(request: web.BaseRequest) -> bytes:
    return await body_of(request, limit_bytes=MAX_BODY_BYTES, within_s=BODY_S)


def _response(status: int, document: Document, **headers: str) -> web.Response:
    last = status >= 400  # what is left of a refused request is not read
    return json_response(status, document, realm=REALM, last=last, **headers)
