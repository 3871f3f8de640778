"""A server that gives something else than was asked for, in good frames with good checksums: an error, never rows."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from forgather_spool.dataset.address import parse_address
from forgather_spool.dataset.errors import BrokenStream
from forgather_spool.dataset.frames import MEDIA_TYPE, FrameWriter
from forgather_spool.dataset.order import Order
from forgather_spool.dataset.remote import reading
from forgather_spool.dataset.remote.reading import Reading
from forgather_spool.dataset.remote.replicas import Replicas
from forgather_spool.dataset.remote.server import Server, Wanted
from forgather_spool.dataset.walk import run

ROWS, FINGERPRINT = 10, "w1-0"
BATCH = pa.record_batch({"n": list(range(ROWS))})
WANTED = Wanted(Order(100), run(20, 20 + ROWS), None, 1 << 20, FINGERPRINT)
TRUE = {
    "Content-Type": MEDIA_TYPE,
    "ETag": f'"{FINGERPRINT}"',
    "X-Forgather-Order": WANTED.order.text,
    "X-Forgather-Walk": WANTED.walk.text,
    "X-Forgather-Total": "100",
}


def stream(*batches: Any, end: int, at: int = 0) -> bytes:
    writer = FrameWriter(batches[0].schema)
    pieces: list[Any] = []
    for batch in batches:
        pieces += writer.batch(at, batch)
        at += batch.num_rows
    return b"".join([*pieces, *writer.end(end)])


@contextmanager
def saying(body: bytes, headers: dict[str, str]) -> Iterator[int]:
    """The port of a server that answers everything so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """The rows that a client takes from such a server, which it asks once."""
    monkeypatch.setattr(reading, "FRUITLESS", 0)

    def taken(body: bytes, **headers: str) -> list[int]:
        found: list[int] = []
        with saying(body, {**TRUE, **headers}) as port:
            server = Server(parse_address(f"http://127.0.0.1:{port}", "token"))
            one = Reading(Replicas([server], {}, FINGERPRINT, {0: "0" * 16}), WANTED, BATCH.schema, 0.0)
            for _, batch in one.batches():
                found += batch["n"].to_pylist()
        return found

    return taken


def test_what_was_asked_for_is_taken(read: Callable[..., list[int]]) -> None:
    """So that what is refused below is refused for what it says it is."""
    assert read(stream(BATCH, end=ROWS)) == list(range(ROWS))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "application/x-ndjson"),
        ("ETag", '"w1-1"'),
        ("X-Forgather-Order", "feistel6-v1:1.0"),
        ("X-Forgather-Walk", "21:10:1:1:1"),
        ("X-Forgather-Total", "101"),
    ],
)
def test_a_stream_of_something_else_is_not_read(read: Callable[..., list[int]], name: str, value: str) -> None:
    with pytest.raises(BrokenStream, match=name):
        read(stream(BATCH, end=ROWS), **{name: value})


def test_more_rows_than_asked_for_are_not_given_on(read: Callable[..., list[int]]) -> None:
    with pytest.raises(BrokenStream, match="more rows"):
        read(stream(BATCH, BATCH, end=2 * ROWS))


def test_an_end_before_the_last_row_is_none(read: Callable[..., list[int]]) -> None:
    """Its end frame is in place and its checksum right: it ends where nobody asked it to."""
    with pytest.raises(BrokenStream, match="ends after 4 rows of 10"):
        read(stream(BATCH.slice(0, 4), end=4))


@pytest.mark.parametrize("schema", [pa.schema([("n", pa.int32())]), pa.schema([("n", pa.int64())], {b"a": b"b"})])
def test_other_columns_than_those_asked_for_are_refused(read: Callable[..., list[int]], schema: Any) -> None:
    batch = pa.RecordBatch.from_arrays([BATCH["n"].cast(schema.field("n").type)], schema=schema)

    with pytest.raises(BrokenStream, match="other columns"):
        read(stream(batch, end=ROWS))


@pytest.mark.parametrize(("first", "end"), [(1, ROWS + 1), (0, ROWS - 1), (0, ROWS + 1)])
def test_a_frame_that_is_not_where_it_is_due_is_refused(read: Callable[..., list[int]], first: int, end: int) -> None:
    with pytest.raises(BrokenStream, match="is due"):
        read(stream(BATCH, at=first, end=end))


def test_a_frame_of_fewer_rows_than_it_says_is_refused(read: Callable[..., list[int]]) -> None:
    writer = FrameWriter(BATCH.schema)
    frame = writer._frame(BATCH.slice(0, 7), f"batch at=0 rows={ROWS} crc32c=00000000")

    with pytest.raises(BrokenStream, match="is due"):
        read(b"".join([*frame, *writer.end(ROWS)]))
