"""The body of an answer, read chunk by chunk: whole however it arrives, and an error when it does not."""

from __future__ import annotations

import http.client
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("pyarrow")

from forgather_spool.dataset.remote.chunks import WAKE_BYTES, Chunks

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the client's."""
    one, other = socket.socketpair()
    with one, other:
        other.settimeout(30)
        yield one, other


def body(client: socket.socket) -> Chunks:
    """What comes behind the head; what came with it is in there."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return Chunks(answer, client)


def read(chunks: Chunks) -> bytes:
    return b"".join(bytes(memoryview(piece)) for piece in iter(lambda: chunks.read(4), b""))


@pytest.mark.parametrize("with_the_head", range(len(BODY) + 1))
def test_chunks_that_came_with_the_head_are_read_as_well(
    ends: tuple[socket.socket, socket.socket], with_the_head: int
) -> None:
    """A short answer is there whole before it is asked for; a long one begins in the same packet."""
    server, client = ends
    server.sendall(HEAD + BODY[:with_the_head])
    chunks = body(client)
    server.sendall(BODY[with_the_head:])

    assert read(chunks) == b"firstsecond"
    assert chunks.isclosed()


def test_a_body_that_has_not_begun_is_waited_for_by_its_first_read_alone(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    client.settimeout(None)
    server.sendall(HEAD)
    with ThreadPoolExecutor() as threads, server:
        begun = threads.submit(body, client)

        chunks = begun.result(timeout=30)

        server.sendall(BODY)
        assert read(chunks) == b"firstsecond"


@pytest.mark.parametrize("sent", range(len(BODY)))
def test_chunks_that_are_cut_anywhere_are_an_error(ends: tuple[socket.socket, socket.socket], sent: int) -> None:
    server, client = ends
    server.sendall(HEAD + BODY[:sent])
    server.shutdown(socket.SHUT_WR)
    chunks = body(client)

    with pytest.raises(http.client.IncompleteRead):
        read(chunks)


@pytest.mark.parametrize("size", [b"-1", b"0x5", b"zz", b"", b"1_0", b"+5"])
def test_a_chunk_of_no_size_is_an_error(ends: tuple[socket.socket, socket.socket], size: bytes) -> None:
    server, client = ends
    server.sendall(HEAD + size + b"\r\nfirst\r\n0\r\n\r\n")

    with pytest.raises(http.client.IncompleteRead):
        read(body(client))


def test_the_end_of_a_large_chunk_waits_for_nothing_behind_it() -> None:
    """The kernel wakes its reader for a quarter of a megabyte at a time, but not where less than that may be all."""
    large = random.Random(1).randbytes(4 * WAKE_BYTES + 1000)
    with (
        ThreadPoolExecutor() as threads,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), timeout=30) as client,
        listening.accept()[0] as server,
    ):
        sent = threads.submit(server.sendall, HEAD + b"%x\r\n%b\r\n" % (len(large), large))
        chunks = body(client)

        found = chunks.read(len(large))

        assert bytes(memoryview(found)) == large
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        sent.result()
