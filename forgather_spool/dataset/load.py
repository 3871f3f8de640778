"""`fast_load_iterable_dataset`: one call, whether the data are here or on a server.

    FORGATHER_DATASET_SERVER        the rows come from
    unset or empty                  this machine
    a URL, or several with commas   those servers: any that has the same content
    auto                            servers found on this machine

FORGATHER_DATASET_SERVER_TOKEN is the token for them. The order and the values are the same wherever the rows come from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from forgather_spool.dataset.address import SERVER_VARIABLE
from forgather_spool.dataset.bounds import parse_split
from forgather_spool.dataset.iterable import ComposableIterableDataset, LengthEstimate
from forgather_spool.dataset.progress import teller
from forgather_spool.dataset.rows import Rows
from forgather_spool.errors import UsageError


def fast_load_iterable_dataset(
    path: str | os.PathLike[str],
    name: str | None = None,
    split: str | None = None,
    data_files: Any = None,
    revision: str | None = None,
    force_reindex: bool = False,
    num_proc: int | None = None,
    index_dir: str | os.PathLike[str] | None = None,
    length_estimate: LengthEstimate = "dynamic",
    reset_length_on_iter: bool = False,
    **load_dataset_kwargs: Any,
) -> ComposableIterableDataset:
    """A data set by path or by its name on the hub, ready to shuffle, shard and resume.

    `split` may have bounds: ``train[:80%]``. The first call builds an index
    (`force_reindex` builds it anew; `index_dir` is where); later ones take milliseconds.

    Raises:
        Missing, UsageError, BadDataset: as `local.local_rows`; from a server, what it said.
    """
    if length_estimate not in ("static", "dynamic", "exact"):
        raise UsageError(f"length_estimate {length_estimate!r}", hint="one of static, dynamic, exact")
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise UsageError(f"{path!r} is no path", hint="give a file, a folder, or a name on the hub")
    base, start, stop = parse_split(split)
    files = _texts(data_files)
    request = {"path": os.fsdecode(path), "name": name, "split": base, "data_files": files, "revision": revision}
    if servers := os.environ.get(SERVER_VARIABLE, "").strip():
        rows = _remote(servers, {**request, "force_reindex": force_reindex, "num_proc": num_proc}, load_dataset_kwargs)
    else:
        from forgather_spool.dataset.local import local_rows

        rows = local_rows(
            **request,
            force_reindex=force_reindex,
            num_proc=num_proc,
            index_dir=index_dir,
            options=load_dataset_kwargs,
            progress=teller(),
        )
    data = ComposableIterableDataset(rows, length_estimate=length_estimate, reset_length_on_iter=reset_length_on_iter)
    return data if start is None and stop is None else data.slice(start, stop)


def _texts(data_files: Any) -> Any:
    """`data_files` with paths as texts, which a server can be sent."""
    if isinstance(data_files, Mapping):
        return {split: _texts(files) for split, files in data_files.items()}
    if data_files is None or isinstance(data_files, (str, os.PathLike)):
        return data_files if data_files is None else os.fspath(data_files)
    return [_texts(one) for one in data_files]


def _remote(servers: str, request: dict[str, Any], dropped: dict[str, Any]) -> Rows:
    from forgather_spool.dataset.remote.loading import remote_rows

    if dropped:
        names = ", ".join(sorted(dropped))
        print(f"warning: a dataset server takes no options of load_dataset: {names} left out", file=sys.stderr)
    return remote_rows(servers, {key: value for key, value in request.items() if value})
