"""Copies into Arrow streams of ours, where files cannot be mapped as they are: Parquet, JSON lines, text.

One stream a source file, in batches of 1,000 rows, uncompressed. Values stay
as they were: a string that looks like a time stays a string.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.progress import Progress
from forgather_spool.dataset.storage.json_lines import BadLine, json_batches, json_schema
from forgather_spool.dataset.storage.packed import unpacked

ROWS = 1000
TEXT_BYTES = 16 << 20

Read = tuple[Any, Iterator[Any]]  # a schema, and record batches of it


def convert(paths: list[str], format_: str, folder: Path, progress: Progress | None = None) -> None:
    """Writes ``00000.arrow`` and so on into `folder`, one for each of `paths`, all of one schema.

    Raises:
        BadDataset: a file cannot be read as `format_`; the message says which, and why.
    """
    read = READERS[format_]
    schema = _json_schema(paths) if format_ == "json" else None
    rows = 0
    for number, path in enumerate(paths):
        with _told(path, format_, OSError):
            found, batches = read(path, schema)
        schema = schema or found
        copy = os.fsencode(folder / f"{number:05}.arrow")
        with _told(path, format_), pa.OSFile(copy, "wb") as file, pa.ipc.new_stream(file, schema) as out:
            for batch in _read(path, format_, batches):
                _write(out, batch, schema)
                rows += batch.num_rows
                if progress:
                    progress(f"rows copied into the cache, file {number + 1} of {len(paths)}", rows, 0)


@contextmanager
def _told(path: str, format_: str, *others: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, BadLine, *others) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        what = "JSON lines" if format_ == "json" else format_
        raise BadDataset(f"{path}: cannot be read as {what}: {reason}") from None


def _read(path: str, format_: str, batches: Iterator[Any]) -> Iterator[Any]:
    """`batches`. An OSError of theirs is the file's (a damaged .gz is one); any other here is the cache's."""
    while True:
        with _told(path, format_, OSError):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _write(out: Any, batch: Any, schema: Any) -> None:
    if not batch.schema.equals(schema):
        if sorted(batch.schema.names) != sorted(schema.names):
            raise pa.ArrowInvalid(f"has the columns {_listed(batch.schema)}, and those before it {_listed(schema)}")
        batch = batch.select(schema.names).cast(schema)
    for start in range(0, batch.num_rows, ROWS):
        out.write_batch(batch.slice(start, ROWS))


def _listed(schema: Any) -> str:
    return ", ".join(schema.names) or "none"


def _parquet(path: str, schema: Any) -> Read:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(unpacked(path))
    return file.schema_arrow, file.iter_batches(batch_size=ROWS)


def _arrow(path: str, schema: Any) -> Read:
    source = pa.memory_map(os.fsencode(path))
    if bytes(source.read(6)) == b"ARROW1":
        file = pa.ipc.open_file(source)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def _text(path: str, schema: Any) -> Read:
    def batches() -> Iterator[Any]:
        with io.TextIOWrapper(unpacked(path), encoding="utf-8") as file:
            while lines := file.readlines(TEXT_BYTES):
                column = pa.array([line.removesuffix("\n") for line in lines], pa.string())
                yield pa.record_batch([column], names=["text"])

    return pa.schema([("text", pa.string())]), batches()


def _json(path: str, schema: Any) -> Read:
    return schema, json_batches(path, schema)


def _json_schema(paths: list[str]) -> Any:
    found = None
    for path in paths:
        with _told(path, "json", OSError):
            found = json_schema(path, found)
    return found if found is not None else pa.schema([])


READERS: dict[str, Callable[[str, Any], Read]] = {"parquet": _parquet, "json": _json, "text": _text, "arrow": _arrow}
