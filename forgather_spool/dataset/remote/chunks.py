"""The chunked body of an answer, each chunk in one buffer that Arrow reads in place.

`http.client` reads such a body in the small steps its reader asks for, and each
of them costs more than the data. A server of ours sends a frame as one chunk,
so the kernel is asked for the whole of it at once. It need not be so: what was
chunked otherwise on its way is read as well. Knows HTTP/1.1's framing, not ours.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE_BYTES = 16 << 20  # of a chunk: a damaged size asks for no more memory than that
WAKE_BYTES = 256 << 10  # to be woken for each segment took a tenth of what a server on this machine can send
NEARBY_BYTES = 4 << 20  # on this machine: a server sends the next batch while its client looks at one
LINE_BYTES = 4096
HEX_DIGITS = b"0123456789abcdefABCDEF"


class Chunks:
    """What `answer` has left, taken from `connection`; used as an `http.client.HTTPResponse` is.

    Raises (while reading):
        OSError, http.client.HTTPException: cut, silent for too long, or not HTTP.
    """

    def __init__(self, answer: http.client.HTTPResponse, connection: socket.socket) -> None:
        self._answer = answer
        self._socket = connection
        self._flags = 0
        if not isinstance(connection, ssl.SSLSocket):
            _block(connection)
            _leave_room(connection)
            self._flags = socket.MSG_WAITALL
        self._carried = _read_with_the_head(answer, connection)
        self._buffer: pa.Buffer | None = None
        self._at = 0  # in the buffer
        self._due = 0  # of the chunk, behind the buffer
        self._begun = False

    def read(self, amount: int = -1, /) -> Any:
        """Up to `amount` bytes, of one chunk, not copied; b"" at the end. Without an amount: all, thrown away."""
        if amount < 0:
            while self._next():
                pass
            return b""
        if self._buffer is None or self._at == self._buffer.size:
            if not self._next():
                return b""
            assert self._buffer is not None
        piece = self._buffer.slice(self._at, min(amount, self._buffer.size - self._at))
        self._at += piece.size
        return piece

    def isclosed(self) -> bool:
        return self._answer.isclosed()

    def close(self) -> None:
        self._answer.close()

    def _next(self) -> bool:
        """The next buffer; False: the body is at its end, and the connection good for another request."""
        if self._answer.isclosed():
            return False
        if not self._due:
            self._due = self._size()
            if not self._due:
                while self._line():
                    pass  # trailers
                self._answer.close()
                return False
        import pyarrow as pa

        size = min(self._due, AT_ONCE_BYTES)
        self._buffer = None  # when nobody holds it any more, this is the next one's memory, still in the cache
        self._buffer, self._at = pa.allocate_buffer(size), 0
        self._fill(memoryview(self._buffer).cast("B"))
        self._due -= size
        return True

    def _size(self) -> int:
        if self._begun and self._line():
            raise http.client.IncompleteRead(b"")
        self._begun = True
        digits = self._line().partition(b";")[0].strip()
        if not digits or digits.strip(HEX_DIGITS):
            raise http.client.IncompleteRead(b"")
        return int(digits, 16)

    def _line(self) -> bytes:
        """The next line, without its end."""
        while True:
            line, end, rest = self._carried.partition(b"\n")
            if end:
                self._carried = rest
                return line.rstrip(b"\r")
            found = self._socket.recv(64) if len(self._carried) < LINE_BYTES else b""
            if not found:
                raise http.client.IncompleteRead(b"")
            self._carried += found

    def _fill(self, view: memoryview) -> None:
        at = min(len(view), len(self._carried))
        view[:at] = self._carried[:at]
        self._carried = self._carried[at:]
        if self._flags and len(view) - at > WAKE_BYTES:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, WAKE_BYTES)
            at = self._receive(view, at, len(view) - WAKE_BYTES)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)  # nothing need follow the rest
        self._receive(view, at, len(view))

    def _receive(self, view: memoryview, at: int, end: int) -> int:
        """Fill `view` from `at` up to `end`; where it is filled to then."""
        while at < end:
            count = self._socket.recv_into(view[at:end], 0, self._flags)
            if not count:
                raise http.client.IncompleteRead(b"")
            at += count
        return at


def _read_with_the_head(answer: http.client.HTTPResponse, connection: socket.socket) -> bytes:
    """What the buffer of `answer` holds. A peek into an empty one would wait for the server, and once more in vain."""
    seconds = connection.gettimeout()
    connection.settimeout(0)
    try:
        return bytes(answer.fp.peek())
    except ssl.SSLWantReadError:
        return b""
    finally:
        connection.settimeout(seconds)


def _leave_room(connection: socket.socket) -> None:
    """Of itself the kernel finds the room that a long way needs, and on this machine too little for a batch."""
    with contextlib.suppress(OSError):
        if connection.getsockname()[:1] == connection.getpeername()[:1]:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NEARBY_BYTES)


def _block(connection: socket.socket) -> None:
    """Leave the timeout to the kernel: with one of Python's, a socket is polled, and gives only what is there."""
    seconds = connection.gettimeout()
    if seconds is not None:
        whole = int(seconds)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6))
        )
        connection.settimeout(None)
