"""From files to rows: the index is looked up, or built once, while others wait.

    index in the cache    files as indexed    then
    none, damaged         -                   built
    there                 yes                 used
    there                 no                  built again: the same rows have the same fingerprint

A build killed at any line leaves the cache as it was, and a name ending in `.tmp`.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from forgather_spool.dataset.errors import BadDataset, ContentChanged
from forgather_spool.dataset.progress import Progress
from forgather_spool.dataset.storage import cache
from forgather_spool.dataset.storage.convert import convert
from forgather_spool.dataset.storage.fingerprint import fingerprint
from forgather_spool.dataset.storage.index import Index, Stamp, load, save, stamp
from forgather_spool.dataset.storage.region import Region
from forgather_spool.dataset.storage.scan import NeedsCopy, scan
from forgather_spool.dataset.storage.stored import StoredRows
from forgather_spool.errors import StorageFailed


def open_files(
    paths: Sequence[str | os.PathLike[str]],
    format_: str,
    *,
    metadata: dict[bytes, bytes] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> StoredRows:
    """The rows of `paths`, in that sequence. `format_`: arrow, parquet, json (lines) or text.

    `metadata` is added to the schema where the files have none (`huggingface`
    features kept beside them). With `rebuild`, neither an index nor a copy that stands is trusted.

    Raises:
        BadDataset: no files, or one that cannot be read.
        ContentChanged: a file was written to while it was read.
        StorageFailed: the cache cannot be written.
    """
    whole = [os.path.realpath(path) for path in paths]
    if not whole:
        raise BadDataset("a data set of no files")
    path = cache.folder(cache_dir) / f"{_key(whole, format_, metadata)}.index"
    if not rebuild and (index := load(path)) and not index.changed:
        return StoredRows(index, path)
    with cache.building(path):
        if not rebuild and (index := load(path)) and not index.changed:
            return StoredRows(index, path)
        return StoredRows(_build(path, whole, format_, metadata, progress, rebuild=rebuild), path)


def _key(paths: list[str], format_: str, metadata: dict[bytes, bytes] | None) -> str:
    """What the index is of: the same files, mapped at borders of pages. Machines with other pages that
    share a cache have an index each, and do not make it again in turns."""
    text = "\0".join([format_, str(mmap.PAGESIZE), repr(sorted((metadata or {}).items())), *paths])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _build(
    path: Path,
    paths: list[str],
    format_: str,
    metadata: dict[bytes, bytes] | None,
    progress: Progress | None,
    *,
    rebuild: bool,
) -> Index:
    sources = _stamps(paths)
    index = None
    if format_ == "arrow":
        try:
            index = _indexed(sources, sources, metadata, progress)
        except NeedsCopy:
            pass
    if index is None:
        copies = _copied(path, sources, format_, progress, anew=rebuild)
        try:
            index = _indexed(sources, copies, metadata, progress)
        except BadDataset:  # one that was damaged since it was made
            index = _indexed(sources, _copied(path, sources, format_, progress, anew=True), metadata, progress)
    try:
        index = replace(index, fingerprint=fingerprint(StoredRows(index, path), progress))
    except pa.ArrowException as error:  # the first to read every value, such as numbers of a dictionary's words
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadDataset(f"{paths[0]}, or another: damaged: {reason}", hint="make or fetch it again") from None
    if changed := index.changed:
        raise ContentChanged(f"{changed.path}: was written to while it was indexed", hint="load it again")
    save(path, index)
    return index


def _stamps(paths: Sequence[str]) -> tuple[Stamp, ...]:
    try:
        return tuple(stamp(one) for one in paths)
    except OSError as error:
        raise BadDataset(f"{error.filename}: {error.strerror}") from None


def _copied(
    path: Path, sources: tuple[Stamp, ...], format_: str, progress: Progress | None, *, anew: bool
) -> tuple[Stamp, ...]:
    """The streams made of `sources`: their folder is named by what they were made of, so it is made once.

    Or `anew`: a file may have been put back with the size and time it had, and a copy may be damaged.
    """
    of = hashlib.sha256(repr(sources).encode()).hexdigest()[:16]
    folder = path.with_name(f"{path.stem}.{of}.copy")
    names = [str(folder / f"{number:05}.arrow") for number in range(len(sources))]
    if anew or not all(map(os.path.isfile, names)):  # who cleans a cache removes single files
        cache.put_folder(folder, lambda made: convert([one.path for one in sources], format_, made, progress))
        cache.remove_others(folder, f"{path.stem}.*.copy")
    return _stamps(names)


def _indexed(
    sources: tuple[Stamp, ...],
    files: tuple[Stamp, ...],
    metadata: dict[bytes, bytes] | None,
    progress: Progress | None,
) -> Index:
    names, sizes = [one.path for one in files], [one.size for one in files]
    try:
        region = Region(names, sizes)
    except OSError as error:
        raise StorageFailed(f"cannot map {len(names)} files: {error.strerror}") from None
    found = scan(names, sizes, region, progress)
    schema = found.schema
    if metadata:
        schema = schema.with_metadata({**metadata, **(schema.metadata or {})})
    return Index(sources, files, "", schema, tuple(found.columns), found.arrays)
