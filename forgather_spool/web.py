"""What our HTTP servers do alike with a request, its body and an answer, under aiohttp.

Who may speak to them is decided in `guard.py`. Knows no routes, no tokens, and
not whose server it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import http_exceptions, web

from forgather_spool import guard
from forgather_spool.document import Document, dump


async def body_of(request: web.BaseRequest, *, limit_bytes: int, within_s: float) -> bytes:
    """The whole of it. Raises guard.Refused: it is larger, or does not come in time."""
    data = b""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(within_s):
            while chunk := await request.content.readany():
                data += chunk
                if len(data) > limit_bytes:
                    raise guard.Refused(413, f"the body is larger than {limit_bytes} bytes")
    except TimeoutError:
        raise guard.Refused(408, f"the body did not come within {within_s:g} s") from None
    return data


def json_response(status: int, document: Document, *, realm: str, last: bool, **headers: str) -> web.Response:
    """An answer nobody stores. `realm` is what a 401 names; `last` closes the connection behind it."""
    if status == 401:
        headers["WWW-Authenticate"] = f'Bearer realm="{realm}"'
    headers["Cache-Control"] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"
    response = web.Response(status=status, body=dump(document), content_type="application/json", headers=headers)
    if last:
        response.force_close()
    return response


class Server(web.Server):  # type: ignore[misc]
    """aiohttp's; what is no request is answered as every error is, and repeats nothing that was sent.

    `options` are those of its RequestHandler.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Any], **options: Any) -> None:
        super().__init__(handler, **options)
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


class _Connection(web.RequestHandler):  # type: ignore[misc]
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp calls where no handler of ours can answer. Raises ConnectionError: an answer has begun."""
        super().handle_error(request, status, exc, message)
        said = "internal error" if status >= 500 else f"no request that can be read: {_problem(exc, message)}"
        return json_response(status, {"error": said}, realm="", last=True)


def _problem(error: BaseException | None, message: str | None) -> str:
    """E.g. "Duplicate Content-Length": what comes behind a colon was sent to us, and may be a token."""
    if isinstance(error, http_exceptions.InvalidURLError):
        return "its URL is none"
    return (message or "").partition("\n")[0].partition(":")[0] or "it is no HTTP"
