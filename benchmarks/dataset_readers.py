"""Other readers, as programs: ``python -m benchmarks.dataset_readers KIND ...`` answers each line with a rate.

    httpx                    a line is the URL of JSON lines; read by httpx and json, the predecessor's client
    mosaic FOLDER FILE...    writes the rows of the Arrow streams FILE as MosaicML's shards, once;
                             a line is "ordered" or "shuffled" (py1e), of which one process then reads

The answer is rows a second for about a second, as `measure.rate` counts them.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import rate

MOSAIC_PACKAGES = (
    *("mosaicml-streaming", "brotli", "catalogue", "cramjam", "pandas", "pillow"),
    *("python-dateutil", "python-snappy", "pytz", "six", "xxhash", "zstd"),
)
MOSAIC_AHEAD = 100_000  # rows: with its default it sleeps after every few
UNUSED = ("multimodal", "text", "vision")  # of MosaicML's modules: they need packages that reading does not


def main() -> None:
    kind, words = sys.argv[1], sys.argv[2:]
    kinds: dict[str, Callable[..., Callable[[str], Again]]] = {"httpx": _httpx, "mosaic": _mosaic}
    source = kinds[kind](*words)
    print("ready", flush=True)
    for line in sys.stdin:
        print(rate(source(line.strip())), flush=True)


class Again:
    """What `begin` gives, anew at each pass."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


def _httpx() -> Callable[[str], Again]:
    import httpx

    def rows(url: str) -> Iterator[Any]:
        with httpx.stream("GET", url, timeout=None, trust_env=False) as answer:
            for line in answer.iter_lines():
                yield json.loads(line)

    return lambda url: Again(lambda: rows(url))


def _mosaic(folder: str, *files: str) -> Callable[[str], Again]:
    for name in UNUSED:
        sys.modules[f"streaming.{name}"] = types.ModuleType(name)
    import streaming

    if not Path(folder).exists():
        _write_shards(streaming.MDSWriter, folder, files)
    common: dict[str, Any] = {"local": folder, "batch_size": 32, "num_canonical_nodes": 1}
    common |= {"predownload": MOSAIC_AHEAD}
    sets = {
        "ordered": streaming.StreamingDataset(shuffle=False, **common),
        "shuffled": streaming.StreamingDataset(shuffle=True, shuffle_algo="py1e", shuffle_seed=1, **common),
    }
    return lambda order: Again(lambda: iter(sets[order]))


def _write_shards(writer: Any, folder: str, files: tuple[str, ...]) -> None:
    """Times as whole seconds: MosaicML has none."""
    import numpy as np
    import pyarrow as pa

    with pa.memory_map(files[0]) as source:
        names = pa.ipc.open_stream(source).schema.names
    columns = {"input_ids": "ndarray:int32", "timestamp": "int"}
    with writer(out=folder, columns={name: columns.get(name, "str") for name in names}) as out:
        for path in files:
            with pa.memory_map(path) as source:
                for batch in pa.ipc.open_stream(source):
                    for row in batch.to_pylist():
                        if "timestamp" in row:
                            row["timestamp"] = int(row["timestamp"].timestamp())
                        if "input_ids" in row:
                            row["input_ids"] = np.array(row["input_ids"], np.int32)
                        out.write(row)


if __name__ == "__main__":
    main()
