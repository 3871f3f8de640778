"""One walk, from its first row to its last, over as many streams and servers as it takes.

Only rows of frames that were whole and in place are given on, and each is
counted. After anything else than an end frame the rest of the walk is asked
for again, from whichever server has the same content.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from forgather_spool.dataset.errors import BrokenStream, ServerUnreachable, StreamRefused
from forgather_spool.dataset.frames import FrameReader
from forgather_spool.dataset.remote.patience import Patience
from forgather_spool.dataset.remote.replicas import Replicas
from forgather_spool.dataset.remote.server import Stream, Wanted
from forgather_spool.dataset.walk import part

if TYPE_CHECKING:
    import pyarrow as pa

Numbered = tuple[int, "pa.RecordBatch"]
FRUITLESS = 20  # streams in a row that began and gave no row: waiting longer does not help


class Reading:
    """`wanted` from `replicas`. `cancel`, from another thread, ends it within a moment."""

    def __init__(self, replicas: Replicas, wanted: Wanted, schema: pa.Schema, limit_s: float | None) -> None:
        self._replicas = replicas
        self._wanted = wanted
        self._schema = schema
        self._cancelled = threading.Event()
        self._patience = Patience(limit_s, self._cancelled.wait)
        self._server = replicas.anyone()
        self._socket: socket.socket | None = None
        self._given = 0
        self._fruitless = 0

    def batches(self) -> Iterator[Numbered]:
        """``(t, batch)`` in sequence, to the end of the walk.

        Raises:
            ContentChanged, ServerRefused: nobody has these data any more, or gives them.
            ServerUnreachable, BrokenStream: nobody gave more of them within the limit.
        """
        walk = self._wanted.walk
        while self._given < walk.count and not self._cancelled.is_set():
            piece = next(part(walk, self._given, walk.count))
            try:
                self._server, stream = self._replicas.stream(self._server, replace(self._wanted, walk=piece))
                yield from self._received(stream, piece.count)
            except ServerUnreachable as error:
                self._patience.failed(error, error.retry_after_s)
            except (BrokenStream, StreamRefused) as error:
                self._broke_off(error)
            except (OSError, http.client.HTTPException) as error:
                self._broke_off(BrokenStream(f"the stream was cut: {type(error).__name__}"))

    def cancel(self) -> None:
        self._cancelled.set()
        if self._socket is not None:
            _wake(self._socket)

    def _received(self, stream: Stream, rows: int) -> Iterator[Numbered]:
        """The batches of one stream, until its end frame."""
        self._socket = stream.connection.sock
        begin, reader = self._given, os.getpid()
        complete = False
        try:
            frames = FrameReader(stream.body)
            if not frames.schema.equals(self._schema, check_metadata=True):
                raise BrokenStream("a stream with other columns than those asked for")
            for at, batch in frames:
                if at + batch.num_rows > rows:
                    raise BrokenStream("a stream with more rows than asked for")
                self._given = begin + at + batch.num_rows
                self._fruitless = 0
                self._patience.progress()
                yield begin + at, batch
                del batch  # its memory is good for the next one
                if os.getpid() != reader:
                    raise BrokenStream("a forked process reads on: the stream is its parent's")
            if frames.at != rows:
                raise BrokenStream(f"a stream that ends after {frames.at} rows of {rows}")
            complete = True
        finally:
            self._socket = None
            if complete and not self._cancelled.is_set():
                self._replicas.servers[self._server].give_back(stream)
            else:
                stream.connection.close()
                stream.body.close()

    def _broke_off(self, error: BrokenStream | StreamRefused) -> None:
        """Go on with the next server, unless streams keep breaking before their first row."""
        self._fruitless += 1
        url = self._replicas.servers[self._server].url
        told = type(error)(f"{url}: {error}")
        if self._fruitless > FRUITLESS:
            raise told
        self._server = (self._server + 1) % len(self._replicas.servers)
        self._patience.failed(told)


def _wake(one: socket.socket) -> None:
    """Have whoever reads from it see the end. A TLS socket's own `shutdown` would trip up its reader."""
    try:
        socket.socket.shutdown(one, socket.SHUT_RDWR)
    except OSError:
        pass
