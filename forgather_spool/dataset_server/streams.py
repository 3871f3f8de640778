"""Streams: the rows a client asked for, written as fast as it takes them and no faster.

Gathering and framing a batch takes a fraction of a millisecond and is done on
the event loop; after every few batches the others get their turn (without,
the fairness among 16 clients was 0.5 of 1.0). What takes longer (compression,
rows that have to come from a disk) is done in a thread, one batch ahead. Whether
a batch did is told by page faults and processor time: the wall clock also
counts what other programs took, and handing over costs a third of the speed.

The next batch is made when the kernel has room for it, and as large as that room: so a
server holds a batch or two, and not one for each client; what waits for a client is the kernel's.

A stream that cannot go on says so in an error frame and breaks off; NDJSON,
which has no frames, only breaks off: the chunked body has no last chunk, and
each HTTP library raises. Nothing is ever ended that is not complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from itertools import chain
from resource import RUSAGE_THREAD, getrusage
from typing import TYPE_CHECKING

from aiohttp import web

from forgather_spool.dataset.errors import ContentChanged
from forgather_spool.dataset.frames import MEDIA_TYPE, FrameWriter, Piece
from forgather_spool.dataset.rows import BatchBytes, Rows
from forgather_spool.dataset_server import ndjson
from forgather_spool.dataset_server.body import Body
from forgather_spool.dataset_server.handles import Handle
from forgather_spool.dataset_server.query import Asked
from forgather_spool.dataset_server.stats import Reader, Stats
from forgather_spool.errors import ForgatherError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("forgather_spool.dataset_server")
TURNS = 2  # batches in a row before the others get their turn
SLOW_S = 0.010  # of the processor: a batch that takes longer is made in a thread
CALM = 16  # batches in a thread that needed none, until the next are made on the loop again
LINES_MEDIA_TYPE = "application/x-ndjson"
LEAST_BYTES = 256 << 10  # of a batch, however little room its connection has
HELD_BYTES = 8 << 20  # all streams through TLS together hold about as much: with many, each has smaller batches
LINES_BATCH_BYTES = 320 << 10  # as text they are larger, and take ten times as long to make

Made = tuple[int, list[Piece], bool]  # rows so far, what to send, whether making it was slow


class Stream:
    """One answer to GET .../iter, while `streams` tells how many there are.

    `idle_s`: a client that takes nothing for so long is dropped.
    """

    def __init__(self, handle: Handle, rows: Rows, asked: Asked, streams: Callable[[], int], *, arrow: bool) -> None:
        self._handle = handle
        self._rows = rows
        self._asked = asked
        self._streams = streams
        self._arrow = arrow
        self._body: Body | None = None
        self._encoder: _Arrow | _Lines = _Arrow(rows, asked, self._batch_bytes) if arrow else _Lines(rows, asked)

    def headers(self) -> dict[str, str]:
        """What a client checks before it trusts the rows to be those it meant."""
        return {
            "Content-Type": MEDIA_TYPE if self._arrow else LINES_MEDIA_TYPE,
            "ETag": f'"{self._rows.fingerprint}"',
            "X-Forgather-Order": self._asked.order.text,
            "X-Forgather-Walk": self._asked.walk.text,
            "X-Forgather-Total": str(len(self._rows)),
            "X-Forgather-Codec": self._asked.codec if self._arrow else "none",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept",
        }

    async def send(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        stats: Stats,
        reader: Reader,
        pool: Executor,
        idle_s: float,
    ) -> None:
        """All of it, or as much as the client takes.

        The connection is of no use afterwards, unless the stream is complete.
        """
        body = self._body = Body(await response.prepare(request), self._rows.file_at)
        watch = _Watch(body, idle_s)
        sent = 0
        data: list[Piece] = []
        try:
            async with contextlib.aclosing(self._made(body, pool)) as made:
                async for so_far, data, _ in made:
                    size = await body.write(data)
                    stats.given(reader, so_far - sent, size)
                    sent, data = so_far, []
            await response.write_eof()
            log.info("stream of %s: complete, %d rows", self._handle.name, sent)
        except (ConnectionError, asyncio.CancelledError) as error:
            stats.add("broken", 1)
            log.info("stream of %s: the client left after %d rows", self._handle.name, sent)
            traceback.clear_frames(error.__traceback__)  # they hold a batch, and the error lives until a collection
            raise
        except Exception as error:  # whatever a format's reader raises: without an end frame the client waits for rows
            stats.add("broken", 1)
            await self._break_off(request, body, sent, error)
        finally:
            del data  # the error keeps this frame, and would keep the batch
            del self._encoder
            watch.stop()
            body.close()

    def _batch_bytes(self) -> int:
        """As much as the kernel takes now: the rest would lie in memory until the client comes for it."""
        room_bytes = self._body.room_bytes() if self._body is not None else None
        most = HELD_BYTES // max(1, self._streams()) if room_bytes is None else max(LEAST_BYTES, room_bytes)
        return min(self._asked.batch_bytes, most)

    async def _break_off(self, request: web.BaseRequest, body: Body, sent: int, error: Exception) -> None:
        code, message = reason_of(error)
        log.error("stream of %s: broken off after %d rows: %s", self._handle.name, sent, error)
        data = self._encoder.error(sent, code, message)
        with contextlib.suppress(ConnectionError):
            await body.write(data)
        if request.transport is not None:
            request.transport.close()  # sends what is buffered, and no last chunk

    async def _made(self, body: Body, pool: Executor) -> AsyncGenerator[Made, None]:
        """Each piece of the body, ready to be sent, with the number of rows up to its end."""
        loop = asyncio.get_running_loop()
        make = self._encoder.made().__next__
        always = self._asked.codec != "none" and self._arrow
        calm, turn = 0 if always else CALM, 0
        ahead: asyncio.Future[Made | None] | None = None
        try:
            while True:
                if ahead is None and calm < CALM:
                    ahead = loop.run_in_executor(pool, _next, make)
                if ahead is not None:
                    found, ahead = await ahead, None
                else:
                    found = _next(make)
                if found is None:
                    return
                calm = 0 if always or found[2] else calm + 1
                if calm < CALM:
                    ahead = loop.run_in_executor(pool, _next, make)
                yield found
                del found  # nor is the next one made while its client has enough: it would lie in memory, and wait
                await body.until_room()
                turn += 1
                if turn % TURNS == 0:
                    await asyncio.sleep(0)
        finally:
            if ahead is not None:
                await asyncio.wait([ahead])  # a thread is reading: the rows must not be closed under it


def reason_of(error: Exception) -> tuple[str, str]:
    """A word for programs and a line for people: of our own errors the text, of others only the kind."""
    if isinstance(error, ContentChanged):
        return "content-changed", "the data changed on disk: load the data set again"
    if isinstance(error, ForgatherError):
        return "data", type(error).__name__
    return "internal", type(error).__name__


def _next(make: Callable[[], tuple[int, list[Piece]]]) -> Made | None:
    """The next piece; None at the end (a StopIteration cannot pass through a future)."""
    before = getrusage(RUSAGE_THREAD)
    try:
        so_far, pieces = make()
    except StopIteration:
        return None
    after = getrusage(RUSAGE_THREAD)
    took_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return so_far, pieces, after.ru_majflt > before.ru_majflt or took_s > SLOW_S


class _Arrow:
    def __init__(self, rows: Rows, asked: Asked, batch_bytes: BatchBytes) -> None:
        self._batches = _batches(rows, asked, batch_bytes)
        self._writer = FrameWriter(projected(rows.schema, asked.columns), asked.codec)

        self._given = 0

    def made(self) -> Iterator[tuple[int, list[Piece]]]:
        """Holds nothing of what it gave: a client may take its time for the next."""
        return chain(map(self._framed, self._batches), self._end())

    def _framed(self, found: tuple[int, pa.RecordBatch]) -> tuple[int, list[Piece]]:
        at, batch = found
        self._given = at + batch.num_rows
        return self._given, self._writer.batch(at, batch)

    def _end(self) -> Iterator[tuple[int, list[Piece]]]:
        yield self._given, self._writer.end(self._given)

    def error(self, at: int, code: str, message: str) -> list[Piece]:
        return self._writer.error(at, code, message)


class _Lines:
    def __init__(self, rows: Rows, asked: Asked) -> None:
        ndjson.check_schema(projected(rows.schema, asked.columns))
        self._batches = _batches(rows, asked, min(asked.batch_bytes, LINES_BATCH_BYTES))
        self._last = ndjson.end_line(asked.walk.count, rows.fingerprint) if asked.frames else b""

    def made(self) -> Iterator[tuple[int, list[Piece]]]:
        given = 0
        for at, batch in self._batches:
            given = at + batch.num_rows
            yield given, [ndjson.lines(batch)]
        if self._last:
            yield given, [self._last]

    def error(self, at: int, code: str, message: str) -> list[Piece]:
        return []


def _batches(rows: Rows, asked: Asked, batch_bytes: BatchBytes) -> Iterator[tuple[int, pa.RecordBatch]]:
    return rows.batches(asked.order, asked.walk, columns=asked.columns, batch_bytes=batch_bytes)


def projected(schema: pa.Schema, columns: tuple[str, ...] | None) -> pa.Schema:
    """The schema of a stream with these columns only."""
    import pyarrow as pa

    if columns is None:
        return schema
    return pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)


class _Watch:
    """Drops the connection of a client that takes nothing for `idle_s`: a timer, not a timeout around each write.

    One that has taken all there was waits for us; one that takes little at a time takes something.
    """

    def __init__(self, body: Body, idle_s: float) -> None:
        self._body = body
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._taken_bytes = 0
        self._timer = self._loop.call_later(idle_s, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        waiting_bytes = self._body.waiting_bytes()
        before, self._taken_bytes = self._taken_bytes, self._body.sent_bytes - waiting_bytes
        if waiting_bytes and self._taken_bytes <= before:
            log.info("a client took nothing for %g s: dropped", self._idle_s)
            self._body.abort()
            return
        self._timer = self._loop.call_later(self._idle_s, self._look)
