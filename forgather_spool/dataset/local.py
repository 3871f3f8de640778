"""Loading from this machine, whatever the environment says: what the server uses too.

A server routes nothing: `local_rows` never asks another server, whatever
`FORGATHER_DATASET_SERVER` says where it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from forgather_spool.dataset.address import SERVER_VARIABLE
from forgather_spool.dataset.progress import Progress
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset.storage import cache, hub
from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.dataset.storage.sources import Source, format_of, source_of
from forgather_spool.errors import Missing, UsageError

SERVED = "local/"


def local_rows(
    path: str | os.PathLike[str],
    name: str | None = None,
    split: str | None = None,
    data_files: Any = None,
    revision: str | None = None,
    *,
    force_reindex: bool = False,
    num_proc: int | None = None,
    index_dir: str | os.PathLike[str] | None = None,
    on_hub: bool = False,
    downloads: bool = True,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Rows:
    """The rows that `path` names here: files, a folder, or a data set of the hub (see storage/sources.py).

    `split` is a name without bounds. With `on_hub`, `path` is a name on the hub
    whatever lies here under it. Without `downloads`, a data set of the
    hub must lie in its cache. `options` go to `datasets.load_dataset`.

    Raises:
        Missing: there is no such data set.
        UsageError: something must be chosen (a split, a configuration) or is not known, or files are to have a
            configuration or a revision.
        BadDataset: the files are damaged.
    """
    path = os.fspath(path)
    if (options or {}).get("streaming"):
        raise UsageError("streaming has no meaning here", hint="leave it out: rows are read as they are asked for")
    if not path:
        raise UsageError("an empty path", hint="give a file, a folder, or a name on the hub")
    source = None if on_hub else source_of(path, split, data_files)
    if source is not None:
        _refuse_words_of_the_hub(path, name, revision)
    elif path.startswith(SERVED):  # of no hub either: there anybody may be called so
        hint = f"export {SERVER_VARIABLE}=auto, or a URL (forgather dataset-server status)"
        raise Missing(f"{path}: such names are a dataset server's, and {SERVER_VARIABLE} is not set", hint=hint)
    if source is not None and options:
        print(f"warning: {path}: options of load_dataset left out: {', '.join(sorted(options))}", file=sys.stderr)
    if source is None and data_files is None and not options and not force_reindex:
        source = hub.cached(path, name, split, revision)
    if source is None:
        if not downloads or _looks_like_a_path(path):
            raise Missing(f"{path}: no such data set here", hint="give a file, a folder, or a name on the hub")
        given = {"data_files": data_files, "revision": revision, "num_proc": num_proc, **(options or {})}
        source = _source_of_prepared(hub.prepared(path, name, split, {k: v for k, v in given.items() if v is not None}))
    return open_files(source.files, source.format, cache_dir=index_dir, rebuild=force_reindex, progress=progress)


def _refuse_words_of_the_hub(path: str, name: str | None, revision: str | None) -> None:
    """Other rows are meant by them than those of the files; `default` and `main` mean all there is."""
    for word, given, default in (("name", name, "default"), ("revision", revision, "main")):
        if given and given != default:
            raise UsageError(f"{word}={given!r}: {path} is files, which have none", hint=f"leave out {word}")


def _looks_like_a_path(path: str) -> bool:
    return path.startswith((os.sep, ".", "~")) or path.count("/") > 1 or format_of(path) is not None


def _source_of_prepared(prepared: Any) -> Source:
    """The files of a `datasets.Dataset`; one that is in memory, or a selection of rows, is saved first."""
    files = [entry["filename"] for entry in prepared.cache_files]
    if files and prepared._indices is None:
        return Source(tuple(files), "arrow")
    folder = cache.folder() / f"{prepared._fingerprint}.saved"
    with cache.building(folder):
        if not folder.is_dir():
            cache.put_folder(folder, lambda made: prepared.save_to_disk(str(made)))
    found = source_of(str(folder))
    assert found is not None
    return found
