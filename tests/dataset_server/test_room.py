"""The next batch is made when its connection has room for it, and as large as that room: what waits is the kernel's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pa = pytest.importorskip("pyarrow")

from forgather_spool.dataset.rows import FIRST_BATCH_ROWS
from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.dataset_server import streams
from forgather_spool.dataset_server.body import Body
from forgather_spool.dataset_server.handles import Handle
from forgather_spool.dataset_server.query import parse_query
from forgather_spool.dataset_server.streams import Stream
from tests.dataset.tables import write_stream

ROW_BYTES, ROWS = 1024, 12_000
TURNS = 50  # of the loop: what is going to happen without anybody's doing has happened by then


class Connection:
    """As much of a `Body` as decides when a batch is made. It has room when the test says so."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.bytes: int | None = 0

    async def until_room(self) -> None:
        await self.room.wait()
        self.room.clear()

    def room_bytes(self) -> int | None:
        return self.bytes


@pytest.fixture
def stream(tmp_path: Path, cache: None) -> Callable[..., Stream]:
    table = pa.table({"text": ["x" * ROW_BYTES] * ROWS})
    rows = open_files(
        [write_stream(tmp_path / "x.arrow", table, [ROWS])], "arrow"
    )  # one stored batch: nothing else cuts
    handle = Handle("0" * 16, {}, "local", rows, 0)

    def made(*query: tuple[str, str], streams: int = 1) -> Stream:
        return Stream(handle, rows, parse_query(query, ROWS, ["text"]), lambda: streams, arrow=True)

    return made


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


async def is_waiting(task: asyncio.Future[Any]) -> bool:
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return not task.done()


@pytest.mark.parametrize("seed", [(), (("seed", "3"),)])
def test_no_batch_is_made_while_its_connection_is_full(
    stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch, seed: tuple[tuple[str, str], ...]
) -> None:
    """A server holds a batch or two, and not one for each client that takes its time."""
    batches: list[int] = []
    make = streams._next

    def made_at_once(one: Any) -> streams.Made | None:  # what takes long is made in a thread, one ahead
        found = make(one)
        batches.append(found[0] if found else -1)
        return found and (found[0], found[1], False)

    monkeypatch.setattr(streams, "_next", made_at_once)

    async def story() -> None:
        connection, answer = Connection(), stream(*seed)
        async with aclosing(answer._made(connection, ThreadPoolExecutor(1))) as made:
            await anext(made)

            following = asyncio.ensure_future(anext(made))
            assert await is_waiting(following) and len(batches) == 1

            connection.room.set()
            await following
            assert len(batches) == 2

    run(story())


@pytest.mark.parametrize("seed", [(), (("seed", "3"),)])
def test_a_batch_is_as_large_as_the_room_its_connection_has(
    stream: Callable[..., Stream], seed: tuple[tuple[str, str], ...]
) -> None:
    """Between a quarter of a megabyte, below which each costs too much, and what was asked for."""
    asked_bytes = 1 << 20

    async def story() -> None:
        connection, answer = Connection(), stream(*seed, ("batch_bytes", str(asked_bytes)))
        answer._body = connection
        found, before = [], 0
        async with aclosing(answer._made(connection, ThreadPoolExecutor(1))) as made:
            for room_bytes in (0, 0, 512 << 10, 100 << 20, 100 << 20):
                connection.bytes = room_bytes
                connection.room.set()
                so_far, _, _ = await anext(made)
                found.append((so_far - before) * ROW_BYTES)
                before = so_far

        assert found[0] == FIRST_BATCH_ROWS * ROW_BYTES
        # the largest of two: a shuffle looks up few positions ahead at first, and one of them is what was left
        assert [*found[1:3], max(found[3:])] == pytest.approx([streams.LEAST_BYTES, 512 << 10, asked_bytes], rel=0.1)

    run(story())


def test_where_the_room_is_not_known_all_streams_share_what_may_be_held(stream: Callable[..., Stream]) -> None:
    """As over TLS: with twenty, each has batches of a twentieth."""

    async def story() -> None:
        connection, answer = Connection(), stream(("batch_bytes", str(4 << 20)), streams=20)
        answer._body, connection.bytes = connection, None
        async with aclosing(answer._made(connection, ThreadPoolExecutor(1))) as made:
            first, _, _ = await anext(made)
            connection.room.set()
            so_far, _, _ = await anext(made)

        assert (so_far - first) * ROW_BYTES == pytest.approx(streams.HELD_BYTES / 20, rel=0.1)

    run(story())


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, not blocking, and the client's."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        closing(socket.create_connection(listening.getsockname())) as client,
        closing(listening.accept()[0]) as server,
    ):
        server.setblocking(False)
        yield server, client


def test_the_room_of_a_connection_is_what_the_kernel_takes(ends: tuple[socket.socket, socket.socket]) -> None:
    """None of it when the client reads nothing, all of it again when it has read everything."""
    server, client = ends

    async def story() -> None:
        body = _body(server)
        empty = body.room_bytes()
        await body.until_room()
        sent = _filled(server)

        assert empty is not None and empty > 0
        assert (body.room_bytes() or 0) < server.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) / 2
        waiting = asyncio.ensure_future(body.until_room())
        assert await is_waiting(waiting)

        await _read(client, sent)
        await waiting
        assert (body.room_bytes() or 0) > server.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) / 4
        body.close()

    run(story())


def test_who_waits_for_room_is_told_when_the_connection_is_dropped(ends: tuple[socket.socket, socket.socket]) -> None:
    server, _ = ends

    async def story() -> None:
        body = _body(server)
        _filled(server)
        waiting = asyncio.ensure_future(body.until_room())
        assert await is_waiting(waiting)

        body.abort()

        with pytest.raises(ConnectionResetError):
            await waiting
        body.close()

    run(story())


def test_a_client_that_takes_little_at_a_time_is_not_idle(ends: tuple[socket.socket, socket.socket]) -> None:
    """Less than a batch in all that time: it was dropped. One that takes nothing is."""
    server, client = ends

    async def story() -> None:
        body, dropped = _body(server), []
        body.abort = lambda: dropped.append(1)  # type: ignore[method-assign]
        writing = asyncio.ensure_future(body.write([b"x" * (32 << 20)]))
        assert await is_waiting(writing)
        watch = streams._Watch(body, 1000)
        watch._look()

        await _read(client, 4 << 20)
        watch._look()
        assert not dropped and not writing.done()

        while not dropped:  # what the kernel hands on without anybody's reading has an end
            await asyncio.sleep(0)
            watch._look()
        watch.stop()
        writing.cancel()
        body.close()

    run(story())


def test_a_client_that_has_all_there_is_waits_for_us(ends: tuple[socket.socket, socket.socket]) -> None:
    """A disk that takes its time cost it the connection."""
    server, client = ends

    async def story() -> None:
        body, dropped = _body(server), []
        body.abort = lambda: dropped.append(1)  # type: ignore[method-assign]
        size = await body.write([b"x" * 1000])
        await _read(client, size)
        while body.waiting_bytes():
            await asyncio.sleep(0)
        watch = streams._Watch(body, 1000)

        for _ in range(3):
            watch._look()

        assert not dropped
        watch.stop()
        body.close()

    run(story())


def test_what_is_sent_from_a_file_counts(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    (tmp_path / "piece").write_bytes(b"x" * 1000)

    async def story() -> None:
        body = _body(ends[0])
        with (tmp_path / "piece").open("rb") as file:
            part: Any = SimpleNamespace(piece=bytes(900), file=SimpleNamespace(fd=file.fileno()), offset=100)
            await body._send_file(ends[0], part)

        assert body.sent_bytes == 900
        body.close()

    run(story())


def _body(server: socket.socket) -> Body:
    """One whose headers have been sent."""
    transport = SimpleNamespace(
        is_closing=lambda: False,
        abort=lambda: None,
        set_write_buffer_limits=lambda: None,
        get_write_buffer_size=lambda: 0,
    )
    body = Body(SimpleNamespace(transport=transport), lambda address: None)
    body._sent_headers = True
    body._socket = server.dup()
    body._poll.register(body._socket, 4)
    return body


def _filled(connection: socket.socket) -> int:
    """How much went in until no more did."""
    sent = 0
    while True:
        try:
            sent += connection.send(b"x" * 65536)
        except BlockingIOError:
            return sent


def _read(connection: socket.socket, size: int) -> Awaitable[None]:
    def read() -> None:
        left = size
        while left:
            left -= len(connection.recv(min(left, 1 << 20)))

    return asyncio.to_thread(read)
