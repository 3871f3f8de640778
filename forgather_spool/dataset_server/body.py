"""The chunked body of a long answer, handed to the kernel from where the data lie.

Through aiohttp each byte of a batch is copied twice on its way to the socket,
and what the socket does not take at once is copied into the transport, to lie in
memory for each slow client. So what a batch consists of is given to writev(2)
as it is, by a descriptor of our own for the same connection: the event loop
says when there is room again, and nothing is held but what is being sent. What lies in
a file is not copied at all: the kernel is told where (sendfile(2)), and its own pages
wait for the client.
On this machine itself nothing is ever congested: a connection that stays on it is not
paced (BBR's pacing took a quarter of what a server can send).
With TLS, or a transport that has no socket, all goes through the transport, a
little at a time: it takes whatever it is given, and holds it twice for a slow client.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import ssl
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from forgather_spool.dataset.rows import OpenFile

MAX_PIECES = 512  # of one writev: IOV_MAX is 1024
UNPACED = b"reno"  # every Linux has it, and lets everybody use it
FILE_BYTES = 256 << 10  # a piece of a file is sent from there: of less, two more calls cost what a copy does
TLS_BYTES = 128 << 10  # given to a transport at once, which may hold as much again, encrypted
FileAt = Callable[[int], tuple[OpenFile, int] | None]


@dataclass(slots=True)
class _InFile:
    """A piece that lies in a file too, from `offset` on."""

    file: OpenFile
    offset: int
    piece: Any


class Body:
    """`writer` is what ``StreamResponse.prepare`` gave, of a chunked answer. To be closed.

    `file_at` tells which file is mapped at an address, and the offset there.
    """

    def __init__(self, writer: Any, file_at: FileAt) -> None:
        self._writer = writer
        self._file_at = file_at
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._room: asyncio.Future[None] | None = None
        self._sent_headers = False
        self.sent_bytes = 0  # so far; some of it is waiting

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
            await self._first(b"".join(pieces))
            return size
        whole = [b"%x\r\n" % size, *pieces, b"\r\n"]
        if self._socket is None or len(whole) > MAX_PIECES:
            await self._through_transport(whole)
            return size
        for part in self._parts(whole):
            if isinstance(part, _InFile):
                await self._send_file(self._socket, part)
            else:
                await self._send(self._socket, part)
        return size

    def _parts(self, pieces: list[Any]) -> Iterator[_InFile | list[Any]]:
        """What lies in files, and what is between it."""
        between: list[Any] = []
        for piece in pieces:
            if len(piece) >= FILE_BYTES and (found := self._file_at(getattr(piece, "address", 0))):
                yield between
                yield _InFile(*found, piece)
                between = []
            else:
                between.append(piece)
        yield between

    async def _send(self, connection: socket.socket, pieces: list[Any]) -> None:
        while pieces:
            written = _written(connection, pieces)
            self.sent_bytes += written
            if pieces := _rest(pieces, written):
                await self._until_room(connection)

    async def _send_file(self, connection: socket.socket, part: _InFile) -> None:
        sent, size = 0, len(part.piece)
        while sent < size:
            try:
                count = os.sendfile(connection.fileno(), part.file.fd, part.offset + sent, size - sent)
            except BlockingIOError:
                await self._until_room(connection)
                continue
            except ConnectionError as error:
                raise _gone(error) from None
            except OSError:  # a file system that cannot
                return await self._send(connection, [memoryview(part.piece)[sent:]])
            if not count:
                raise ConnectionResetError("a file was cut short")
            sent += count
            self.sent_bytes += count
        return None

    async def _first(self, whole: bytes) -> None:
        """By way of aiohttp, which sends its headers with it."""
        transport = self._transport()
        if _is_plain(transport):
            self.sent_bytes += len(whole)
            transport.set_write_buffer_limits(0)  # drained is then empty: what comes next may pass by it
            await self._writer.write(whole)
            await self._writer.drain()
            connection = self._transport().get_extra_info("socket")
            _leave_unpaced(connection)
            self._socket = connection.dup()  # the loop keeps its own to itself
            self._poll.register(self._socket, select.POLLOUT)
            return
        transport.set_write_buffer_limits(TLS_BYTES)  # not 0: a TLS transport of Python 3.11 would pause for ever
        self.sent_bytes += len(whole[:TLS_BYTES])
        await self._writer.write(whole[:TLS_BYTES])  # OpenSSL keeps the memory that the largest piece took
        await self._writer.drain()
        if rest := whole[TLS_BYTES:]:
            await self._through_transport([b"%x\r\n" % len(rest), rest, b"\r\n"])

    def abort(self) -> None:
        """Drop the connection. Whoever waits in `write` is told that the client is gone."""
        transport = self._writer.transport
        if transport is not None:
            transport.abort()
        if self._room is not None and not self._room.done():
            self._room.set_exception(ConnectionResetError("dropped"))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        transport = self._writer.transport
        if transport is not None:
            transport.set_write_buffer_limits()

    def _transport(self) -> Any:
        transport = self._writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        return transport

    async def _through_transport(self, pieces: list[Any]) -> None:
        for piece in pieces:  # joined first, they would lie in memory once more
            whole = memoryview(piece)
            for start in range(0, len(whole), TLS_BYTES):
                piece = whole[start : start + TLS_BYTES]
                self.sent_bytes += len(piece)
                self._transport().write(piece)
                await self._writer.drain()

    def waiting_bytes(self) -> int:
        """What lies here or with the kernel until the client takes it."""
        transport = self._writer.transport
        ours = 0 if transport is None else transport.get_write_buffer_size()
        return int(ours) + (_unsent_bytes(self._socket) if self._socket is not None else 0)

    def room_bytes(self) -> int | None:
        """What the kernel would take now, and not write to the network yet; None: it is not known, as with TLS."""
        if (connection := self._socket) is None:
            return None
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _unsent_bytes(connection)

    async def until_room(self) -> None:
        """Until the kernel would take a good part of a batch (a third of what it has room for at most)."""
        if self._socket is not None and not self._poll.poll(0):
            await self._until_room(self._socket)

    async def _until_room(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(connection, _wake, self._room)
        try:
            await self._room
        finally:
            loop.remove_writer(connection)
            self._room = None
        self._transport()


def _unsent_bytes(connection: socket.socket) -> int:
    """What the client has not acknowledged yet (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _wake(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


def _is_plain(transport: Any) -> bool:
    """Whether bytes written to its socket are what the client reads."""
    is_tls = isinstance(transport.get_extra_info("ssl_object"), (ssl.SSLObject, ssl.SSLSocket))
    return not is_tls and transport.get_extra_info("socket") is not None


def _leave_unpaced(connection: Any) -> None:
    """Have the kernel send at once what goes to this same machine (tcp(7), TCP_CONGESTION)."""
    with contextlib.suppress(OSError):  # a client that has left; a kernel that allows no other: then as before
        if connection.getsockname()[0] == connection.getpeername()[0]:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)


def _written(connection: socket.socket, pieces: list[Any]) -> int:
    try:
        return connection.sendmsg(pieces)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise _gone(error) from None


def _gone(error: OSError) -> ConnectionResetError:
    return ConnectionResetError(f"the client is gone: {error.strerror}")


def _rest(pieces: list[Any], written: int) -> list[Any]:
    """What `written` bytes leave of `pieces`."""
    for place, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[place + 1 :]]
        written -= len(piece)
    return []
