"""Copies into Arrow streams of ours, where files cannot be mapped as they are: Parquet, JSON lines, text.

One stream a source file, in batches of 1,000 rows, uncompressed. Values stay
as they were: a string that looks like a time stays a string.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.progress import Progress

ROWS = 1000
TEXT_BYTES = 16 << 20
JSON_BLOCK_BYTES = 32 << 20

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
        try:
            found, batches = read(path, schema)
            schema = schema or found
            with pa.OSFile(str(folder / f"{number:05}.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as out:
                for batch in batches:
                    _write(out, batch, schema)
                    rows += batch.num_rows
                    if progress:
                        progress(f"rows copied into the cache, file {number + 1} of {len(paths)}", rows, 0)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BadDataset(f"{path}: cannot be read as {format_}: {reason}") from None


def _write(out: Any, batch: Any, schema: Any) -> None:
    if not batch.schema.equals(schema):
        batch = batch.cast(schema)
    for start in range(0, batch.num_rows, ROWS):
        out.write_batch(batch.slice(start, ROWS))


def _parquet(path: str, schema: Any) -> Read:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    return file.schema_arrow, file.iter_batches(batch_size=ROWS)


def _arrow(path: str, schema: Any) -> Read:
    source = pa.memory_map(path)
    if bytes(source.read(6)) == b"ARROW1":
        file = pa.ipc.open_file(path)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def _text(path: str, schema: Any) -> Read:
    def batches() -> Iterator[Any]:
        with io.TextIOWrapper(pa.input_stream(path, compression="detect"), encoding="utf-8") as file:
            while lines := file.readlines(TEXT_BYTES):
                column = pa.array([line.removesuffix("\n") for line in lines], pa.string())
                yield pa.record_batch([column], names=["text"])

    return pa.schema([("text", pa.string())]), batches()


def _json(path: str, schema: Any) -> Read:
    def batches() -> Iterator[Any]:
        for block in _json_blocks(path):
            yield from _parse_json(block, schema).to_batches()

    return schema, batches()


def _json_schema(paths: list[str]) -> Any:
    """What all lines of all files have in common: ints next to floats are floats, absent values are null."""
    found = None
    for path in paths:
        try:
            for block in _json_blocks(path):
                schema = _texts_again(_parse_json(block, None).schema)
                found = schema if found is None else pa.unify_schemas([found, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise BadDataset(f"{path}: cannot be read as JSON lines: {str(error).splitlines()[0]}") from None
    return found if found is not None else pa.schema([])


def _json_blocks(path: str) -> Iterator[bytes]:
    """Pieces that end with a line. A file that is one array is taken apart first."""
    with pa.input_stream(path, compression="detect") as file:
        if file.read(64).lstrip()[:1] == b"[":
            yield from _json_array(path)
            return
    with pa.input_stream(path, compression="detect") as file:
        rest = b""
        while piece := file.read(JSON_BLOCK_BYTES):
            whole, newline, rest_now = (rest + piece).rpartition(b"\n")
            rest = rest_now
            if whole.strip():
                yield whole + newline
        if rest.strip():
            yield rest


def _json_array(path: str) -> Iterator[bytes]:
    with pa.input_stream(path, compression="detect") as file:
        try:
            yield "".join(json.dumps(one) + "\n" for one in json.loads(file.read())).encode()
        except (ValueError, RecursionError) as error:
            raise pa.ArrowInvalid(f"JSON: {error}") from None


def _parse_json(block: bytes, schema: Any) -> Any:
    import pyarrow.json as pj

    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "error")
    reading = pj.ReadOptions(block_size=max(1 << 20, len(block)))
    return pj.read_json(io.BytesIO(block), read_options=reading, parse_options=options)


def _texts_again(schema: Any) -> Any:
    """Arrow's reader takes strings for times; the second reading gives them back as they were written."""
    return pa.schema([(field.name, _text_type(field.type)) for field in schema])


def _text_type(type_: Any) -> Any:
    if pa.types.is_timestamp(type_):
        return pa.string()
    if pa.types.is_list(type_):
        return pa.list_(_text_type(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _text_type(field.type)) for field in type_])
    return type_


READERS: dict[str, Callable[[str, Any], Read]] = {"parquet": _parquet, "json": _json, "text": _text, "arrow": _arrow}
