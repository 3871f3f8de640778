"""What our HTTP servers do alike with a request's body and with an answer, under aiohttp.

Who may speak to them is decided in `guard.py`. Knows no routes, no tokens, and
not whose server it is.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

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
