"""The index: one file that says where the batches of a data set lie, mapped, never parsed.

    magic  "FGSINDEX"          8 bytes
    version, length of about   2 x u32
    crc32 of all that follows  u32
    a page's size              u32; 0: 4096
    about                      JSON: files, sources, fingerprint, schema, columns, arrays
    arrays                     each at a multiple of 64 bytes

`sources` are the files the user has, `files` the Arrow streams that are
mapped: the same, or copies of ours. Each with size and mtime in ns: that is how
a changed file is told from the one that was indexed. A damaged index is no index: it is made again; so
is one of a machine with other pages, for each file is mapped at the border of a page (see region.py).
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from forgather_spool.dataset.storage import cache
from forgather_spool.dataset.storage.columns import Column, column_of, holds_dictionary

MAGIC, VERSION, ALIGNED = b"FGSINDEX", 1, 64
HEAD = struct.Struct("<8sIIII")
OLD_PAGE = 4096  # of indexes that do not say


@dataclass(frozen=True)
class Stamp:
    """A file as it was: what `os.stat` says of its content."""

    path: str
    size: int
    mtime_ns: int

    @property
    def holds(self) -> bool:
        """The file is still that one."""
        try:
            return self == stamp(self.path)
        except OSError:
            return False


def stamp(path: str) -> Stamp:
    found = os.stat(path)
    return Stamp(path, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Index:
    """What the index file holds. `arrays` are views of the mapped file."""

    sources: tuple[Stamp, ...]
    files: tuple[Stamp, ...]
    fingerprint: str
    schema: Any
    columns: tuple[Column, ...]
    arrays: Mapping[str, np.ndarray]

    @property
    def has_dictionaries(self) -> bool:
        """A batch cannot be read without the messages before it."""
        return any(holds_dictionary(one.type) for one in self.schema)

    @property
    def changed(self) -> Stamp | None:
        """The first file that is not what it was; None when all are."""
        return next((one for one in dict.fromkeys((*self.sources, *self.files)) if not one.holds), None)


def save(path: Path, index: Index) -> None:
    """Durable on return; other readers of `path` keep the one they have open."""
    arrays = {name: np.ascontiguousarray(values, np.int64) for name, values in index.arrays.items()}
    about = json.dumps(
        {
            "sources": [[one.path, one.size, one.mtime_ns] for one in index.sources],
            "files": [[one.path, one.size, one.mtime_ns] for one in index.files],
            "fingerprint": index.fingerprint,
            "schema": base64.b64encode(index.schema.serialize().to_pybytes()).decode(),
            "kinds": [column.kind for column in index.columns],
            "arrays": [[name, len(values)] for name, values in arrays.items()],
        }
    ).encode()
    pieces = [about, *(values.tobytes() for values in arrays.values())]
    pieces = [piece + bytes(-len(piece) % ALIGNED) for piece in pieces]
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)

    def fill(file: BinaryIO) -> None:
        file.write(HEAD.pack(MAGIC, VERSION, len(about), crc, mmap.PAGESIZE).ljust(ALIGNED, b"\0"))
        file.writelines(pieces)

    cache.write(path, fill)


def load(path: Path) -> Index | None:
    """The index in `path`; None when there is none, or none that can be trusted."""
    try:
        if path.stat().st_size < ALIGNED:
            return None
        raw = np.memmap(path, np.uint8, "r")
        magic, version, length, crc, page = HEAD.unpack(raw[: HEAD.size].tobytes())
        if (magic, version, page or OLD_PAGE) != (MAGIC, VERSION, mmap.PAGESIZE) or zlib.crc32(raw[ALIGNED:]) != crc:
            return None
        return _parsed(raw, json.loads(raw[ALIGNED : ALIGNED + length].tobytes()), ALIGNED + length)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _parsed(raw: np.ndarray, about: Mapping[str, Any], at: int) -> Index:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(about["schema"])))
    arrays = {}
    for name, count in about["arrays"]:
        at += -at % ALIGNED
        arrays[name] = np.frombuffer(raw, np.int64, count, at)
        at += count * 8
    return Index(
        sources=_stamps(about["sources"]),
        files=_stamps(about["files"]),
        fingerprint=about["fingerprint"],
        schema=schema,
        columns=tuple(_column(one.type, kind) for one, kind in zip(schema, about["kinds"], strict=True)),
        arrays=arrays,
    )


def _stamps(entries: Iterable[Any]) -> tuple[Stamp, ...]:
    return tuple(Stamp(*entry) for entry in entries)


def _column(type_: Any, kind: str) -> Column:
    found = column_of(type_)
    return found if found.kind == kind else Column(type_, "other")
