"""The chunked body of a long answer, handed to the kernel from where the data lie.

Through aiohttp each byte of a batch is copied twice on its way to the socket,
which costs a fifth of what a stream can carry. So what a batch consists of is
given to writev(2) as it is, provided that the transport holds nothing back and
there is no TLS; what the socket does not take at once goes through the transport, and is waited for.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Any

MAX_PIECES = 512  # of one writev: IOV_MAX is 1024


class Body:
    """`writer` is what ``StreamResponse.prepare`` gave, of a chunked answer."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._fd = -1
        self._sent_headers = False

    async def write(self, pieces: Sequence[Any]) -> int:
        """One chunk of these pieces (each has the buffer interface); its size. Returns when the client may have more.

        Raises:
            ConnectionError: the client is gone.
        """
        size = sum(map(len, pieces))
        if not size:
            return 0
        if not self._sent_headers:
            self._sent_headers = True
            await self._writer.write(b"".join(pieces))  # aiohttp sends its headers with the first
            self._fd = _file_of(self._writer.transport)
            return size
        transport = self._writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        whole = [b"%x\r\n" % size, *pieces, b"\r\n"]
        if self._fd >= 0 and len(whole) <= MAX_PIECES and not transport.get_write_buffer_size():
            whole = _rest(whole, _written(self._fd, whole))
        if whole:
            for piece in whole:  # joined first, they would lie in memory once more for each slow client
                transport.write(memoryview(piece))
            await self._writer.drain()
        return size


def _file_of(transport: Any) -> int:
    """The socket's descriptor; -1 where it must not be written to: TLS, or a transport without one."""
    if transport is None or isinstance(transport.get_extra_info("ssl_object"), (ssl.SSLObject, ssl.SSLSocket)):
        return -1
    found = transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())


def _written(fd: int, pieces: list[Any]) -> int:
    try:
        return os.writev(fd, pieces)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise ConnectionResetError(f"the client is gone: {error.strerror}") from None


def _rest(pieces: list[Any], written: int) -> list[Any]:
    """What `written` bytes leave of `pieces`."""
    for place, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[place + 1 :]]
        written -= len(piece)
    return []
