"""Frames: a stream that is cut, damaged or mixed up is an error, and never a shorter or another stream."""

from __future__ import annotations

import io
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.dataset.errors import BrokenStream, StreamRefused
from forgather_spool.dataset.frames import CODECS, END_OF_STREAM, FrameReader, FrameWriter
from tests.dataset_server.conftest import table

TABLE = table(60)


def frames(codec: str = "none", data: Any = TABLE, size: int = 20) -> list[bytes]:
    """A stream's frames; the schema goes with the first."""
    writer = FrameWriter(data.schema, codec)
    batches = data.combine_chunks().to_batches(max_chunksize=size)
    whole = [b"".join(writer.batch(place * size, batch)) for place, batch in enumerate(batches)]
    return [*whole, b"".join(writer.end(len(data)))]


def read(stream: bytes) -> Any:
    reader = FrameReader(io.BytesIO(stream))
    return pa.Table.from_batches([batch for _, batch in reader], reader.schema)


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_is_read_as_it_was_written(codec: str) -> None:
    assert read(b"".join(frames(codec))).equals(TABLE)


def test_dictionaries_and_nested_types_pass(tmp_path: Any) -> None:
    data = pa.table(
        {
            "word": pa.array(["a", "b", "a", None] * 5).dictionary_encode(),
            "deep": [[{"x": [row], "y": None}] for row in range(20)],
            "bytes": [bytes([row]) for row in range(20)],
        }
    )

    assert read(b"".join(frames(data=data, size=7))).equals(data)


def test_any_arrow_reader_reads_it() -> None:
    """Frames are custom metadata: who does not know them sees the batches."""
    assert pa.ipc.open_stream(b"".join(frames())).read_all().equals(TABLE)


@pytest.mark.parametrize("codec", CODECS)
@given(st.data())
def test_a_stream_that_is_cut_anywhere_is_an_error(codec: str, data: st.DataObject) -> None:
    """Also between two messages, where pyarrow sees nothing. Only the last 8 bytes say nothing new."""
    stream = b"".join(frames(codec))
    cut = data.draw(st.integers(0, len(stream) - len(END_OF_STREAM) - 1))

    with pytest.raises(BrokenStream):
        read(stream[:cut])


@given(st.data())
def test_a_flipped_bit_anywhere_is_an_error(data: st.DataObject) -> None:
    """In data, lengths, the schema, or the checksum itself."""
    stream = bytearray(b"".join(frames()))
    place = data.draw(st.integers(0, len(stream) - len(END_OF_STREAM) - 1))
    stream[place] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises((BrokenStream, StreamRefused)):
        read(bytes(stream))


@given(st.permutations(range(5)), st.integers(1, 5))
def test_frames_lost_doubled_or_swapped_are_an_error(places: list[int], count: int) -> None:
    """Whatever a proxy or a bug of ours makes of them."""
    whole = frames(size=15)
    taken = [whole[place] for place in places[:count]]

    if taken == whole:
        assert read(b"".join(taken)).equals(TABLE)
    else:
        with pytest.raises(BrokenStream):
            read(b"".join(taken))


def test_what_came_before_the_cut_is_good_and_counted() -> None:
    """So a client goes on at `at`."""
    whole = frames(size=20)
    reader = FrameReader(io.BytesIO(whole[0] + whole[1] + whole[2][:50]))
    got = []

    with pytest.raises(BrokenStream):
        got.extend(batch for _, batch in reader)

    assert (reader.at, pa.Table.from_batches(got).equals(TABLE.slice(0, 40))) == (40, True)


def test_an_error_frame_is_told_and_never_an_end() -> None:
    writer = FrameWriter(TABLE.schema)
    stream = b"".join([*writer.batch(0, TABLE.to_batches()[0]), *writer.error(60, "content-changed", "load it ägain")])

    with pytest.raises(StreamRefused, match="load it ägain") as caught:
        read(stream)

    assert caught.value.code == "content-changed"


def test_an_empty_stream_has_its_schema_and_its_end() -> None:
    assert read(b"".join(FrameWriter(TABLE.schema).end(0))).equals(TABLE.slice(0, 0))


@pytest.mark.parametrize("stream", [b"", b"HTTP/1.1 200 OK", b'{"error": "no"}\n', b"\xff" * 100, b"\0" * 100])
def test_what_is_no_stream_is_an_error(stream: bytes) -> None:
    with pytest.raises(BrokenStream):
        read(stream)


def test_a_plain_arrow_stream_is_not_taken_for_a_checked_one() -> None:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)

    with pytest.raises(BrokenStream, match="without its frame"):
        read(sink.getvalue())
