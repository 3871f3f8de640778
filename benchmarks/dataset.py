"""Data sets from this machine's disk: examples a second, sequential and shuffled, against the `datasets` library.

Text is real: this Python's own library, cut at blank lines into pieces of
log-normal length, 2.5 KB a row. Tokens are rows of 1,024 int32. Each reader goes over the same
files, in turns. The last rows are of an index and an order of 365 million rows.

Gathering has its bars from those of a shuffled stream (`dataset_remote`): 0.8 M texts a second where a bare
socket carries 2.4 M leave a text 1/0.8 - 1/2.4 us to be gathered in, which are 1.2 M a second,
half of what the socket carries; 0.5 M token rows where it carries 1.4 M leave 0.78 M, 0.56 of it. Both by
processor time. Beside it, without a bar, the least that a shuffle has to do: to copy the same values, one by one
and in the same order, from memory where they lie side by side.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.dataset_programs import Reader, mosaic_packages, peer
from benchmarks.lab import Lab
from benchmarks.measure import Samples, in_turns, rate
from benchmarks.row import Row, at_least, at_most, from_samples, skipped

GROUP = "data sets, local"
NEEDED = ("datasets", "numpy", "pyarrow", "torch")
TEXTS, TOKENS, BATCH = 60_000, 30_000, 1000
DRAWN_BYTES, ROW_TOKENS = 1900, 1024  # a text goes on to the end of its paragraph: 2,470 bytes a row
HUGE_ROWS = 365_000_000
CPU = "a second of the processor: what is left of the wall clock's is others' affair"


def rows(lab: Lab) -> list[Row]:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return [skipped(GROUP, "all", f"not installed: {', '.join(missing)}")]
    folder = lab.work / "dataset"
    folder.mkdir(exist_ok=True)
    os.environ["FORGATHER_CACHE"] = os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    scale = 10 if lab.quick else 1
    texts = _write(folder / "text", _texts(TEXTS // scale))
    tokens = _write(folder / "tokens", _tokens(TOKENS // scale))
    try:
        return [*_text_rows(lab, texts), *_token_rows(lab, tokens), *_huge_rows(lab, texts, folder)]
    finally:
        shutil.rmtree(folder)


def _taken(lab: Lab, files: list[str], ours: Any, theirs: Any) -> dict[str, Samples]:
    """In turns, in order and shuffled; what gathering alone takes of ours, copying alone, and sending alone.

    MosaicML's where it can be installed.
    """
    shuffled = theirs.shuffle(seed=1)
    actions: dict[str, Callable[[], float]] = {
        "ours": lambda: rate(ours),
        "ours shuffled": lambda: rate(ours.shuffle(1)),
        "theirs": lambda: rate(theirs),
        "theirs shuffled": lambda: rate(shuffled),
        "gather": lambda: rate(_batches(ours.shuffle(1)), _rows_of_pair, time.thread_time),
        "copy": lambda: rate(copies, len, time.thread_time),
    }
    packages = mosaic_packages(lab)
    copies = _Copies(files, ours.shuffle(1).order)
    row_bytes = sum(map(os.path.getsize, files)) / len(ours)
    with ExitStack() as stack:
        bare = stack.enter_context(peer("unpaced", files))
        actions["bare"] = lambda: bare.drained(row_bytes, bare.processor_s)
        if packages is not None:
            words = ("mosaic", f"{files[0]}.mosaic", *files)
            mosaic = stack.enter_context(Reader(sys.executable, *words, packages=packages))
            actions["mosaic"] = partial(mosaic.rate, "ordered")
            actions["mosaic shuffled"] = partial(mosaic.rate, "shuffled")
        return in_turns(actions, lab.rounds(10))


def _beside_mosaic(what: str, taken: dict[str, Samples], *, unit: str) -> list[Row]:
    if "mosaic" not in taken:
        return [skipped(GROUP, f"{what}, beside MosaicML", "mosaicml-streaming cannot be installed here")]
    bar, peer = at_least(10, of="ratio"), "MosaicML"
    return [
        from_samples(
            GROUP, f"{what}{more}, beside MosaicML", taken[f"ours{key}"], against=taken[f"mosaic{key}"],
            peer=peer, bar=bar, unit=unit, note=note,
        )
        for more, key, note in (("", "", ""), (", shuffled", " shuffled", "theirs by py1e"))
    ]  # fmt: skip


def _gathered(what: str, taken: dict[str, Samples], *, unit: str, limit: float) -> list[Row]:
    return [
        from_samples(
            GROUP, what, taken["gather"], unit=unit, bar=at_least(limit, of="ratio"),
            peer="bare socket, unpaced", against=taken["bare"], note=CPU,
        ),
        from_samples(
            GROUP, f"{what}, beside copying alone", taken["gather"], unit=unit,
            peer="values in memory, joined", against=taken["copy"], note=CPU,
        ),
    ]  # fmt: skip


def _text_rows(lab: Lab, files: list[str]) -> list[Row]:
    ours, theirs = _ours(files), _theirs(files)
    taken = _taken(lab, files, ours, theirs)
    per_second: dict[str, Any] = {"unit": "examples/s", "peer": "datasets"}
    return [
        from_samples(
            GROUP, "text to dicts", taken["ours"], against=taken["theirs"], bar=at_least(3, of="ratio"), **per_second
        ),
        from_samples(
            GROUP,
            "text to dicts, shuffled",
            taken["ours shuffled"],
            against=taken["theirs shuffled"],
            bar=at_least(3, of="ratio"),
            note="theirs reads an index table it made before",
            **per_second,
        ),
        *_beside_mosaic("text to dicts", taken, unit="examples/s"),
        *_gathered("text gathered, shuffled", taken, unit="examples/s", limit=0.5),
    ]


def _token_rows(lab: Lab, files: list[str]) -> list[Row]:
    ours, theirs = _ours(files).with_format("torch"), _theirs(files).with_format("torch")
    taken = _taken(lab, files, ours, theirs)
    per_second: dict[str, Any] = {"unit": "rows/s", "peer": "datasets"}
    return [
        from_samples(
            GROUP, "tokens to torch", taken["ours"], against=taken["theirs"], bar=at_least(20, of="ratio"), **per_second
        ),
        from_samples(
            GROUP,
            "tokens to torch, shuffled",
            taken["ours shuffled"],
            against=taken["theirs shuffled"],
            bar=at_least(15, of="ratio"),
            **per_second,
        ),
        *_beside_mosaic("tokens to torch", taken, unit="rows/s"),
        *_gathered("tokens gathered, shuffled", taken, unit="rows/s", limit=0.56),
    ]


def _huge_rows(lab: Lab, files: list[str], folder: Path) -> list[Row]:
    """An index of 365 million rows: the text's, again and again."""
    from dataclasses import replace

    import numpy as np

    from forgather_spool.dataset.order import Order, Shuffle
    from forgather_spool.dataset.storage.index import load, save
    from forgather_spool.dataset.storage.stored import StoredRows

    index = _ours(files).rows._index
    times = HUGE_ROWS // BATCH // len(index.arrays["file"]) + 1
    arrays = {name: np.tile(values, times) for name, values in index.arrays.items()}
    path = folder / "huge.index"
    save(path, replace(index, arrays=arrays | {"ends": np.arange(1, len(arrays["file"]) + 1) * BATCH}))

    def loading() -> float:
        begin = time.perf_counter()
        found = load(path)
        assert found is not None and len(StoredRows(found, path)) >= HUGE_ROWS
        return (time.perf_counter() - begin) * 1000

    seeds = iter(range(1_000_000))

    def entering() -> float:
        order = Order(HUGE_ROWS, (Shuffle(next(seeds)),))
        begin = time.perf_counter()
        order.rows(HUGE_ROWS * 9 // 10, HUGE_ROWS * 9 // 10 + 64)
        return (time.perf_counter() - begin) * 1000

    taken = in_turns({"loading": loading, "entering": entering}, lab.rounds(20))
    return [
        from_samples(GROUP, "an index of 365 M rows, loaded", taken["loading"], bar=at_most(1000)),
        from_samples(GROUP, "a shuffle of 365 M rows, entered at 90 %", taken["entering"], bar=at_most(2)),
    ]


def _ours(files: list[str]) -> Any:
    from forgather_spool.dataset import fast_load_iterable_dataset

    return fast_load_iterable_dataset("arrow", data_files=files)


def _theirs(files: list[str]) -> Any:
    import datasets

    return datasets.concatenate_datasets([datasets.Dataset.from_file(file) for file in files])


def _batches(data: Any) -> Any:
    from forgather_spool.dataset.walk import run

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            return iter(data.rows.batches(data.order, run(0, len(data.rows))))

    return Batches()


class _Copies:
    """The values of the first column in `order`, joined a batch at a time, as offsets of it."""

    def __init__(self, files: list[str], order: Any) -> None:
        import numpy as np
        import pyarrow as pa

        column = pa.concat_tables([pa.ipc.open_stream(pa.memory_map(file)).read_all() for file in files]).column(0)
        whole = column.combine_chunks()
        _, offsets, *_, values = whole.buffers()
        width = 1 if pa.types.is_string(whole.type) else whole.type.value_type.byte_width
        self._ends = np.frombuffer(offsets, np.int32)[: len(whole) + 1].astype(np.int64) * width
        self._values = memoryview(values)
        self._rows = order.rows(0, len(whole))

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self._rows), BATCH):
            rows = self._rows[start : start + BATCH]
            firsts, ends = self._ends[rows].tolist(), self._ends[rows + 1].tolist()
            b"".join([self._values[first:end] for first, end in zip(firsts, ends, strict=True)])
            yield rows


def _rows_of_pair(pair: Any) -> int:
    return int(pair[1].num_rows)


def _write(path: Path, table: Any) -> list[str]:
    """`table` as two Arrow streams, as the `datasets` library stores it."""
    import pyarrow as pa

    half = len(table) // 2
    files = []
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        files.append(f"{path}-{number}.arrow")
        with pa.OSFile(files[-1], "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(part.combine_chunks(), max_chunksize=BATCH)
    return files


def _texts(count: int) -> Any:
    import numpy as np
    import pyarrow as pa

    lengths = np.random.default_rng(1).lognormal(np.log(DRAWN_BYTES) - 0.5, 1.0, count).clip(50, 100_000).astype(int)
    pieces, found, held = _paragraphs(), [], ""
    for length in lengths.tolist():
        while len(held) < length:
            held += next(pieces)
        found.append(held)
        held = ""
    urls = [f"https://example.org/{number}" for number in range(count)]
    times = pa.array(np.arange(count) + 1_600_000_000, pa.timestamp("s"))
    return pa.table({"text": found, "url": urls, "timestamp": times})


def _paragraphs() -> Iterator[str]:
    while True:
        for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
            for piece in path.read_text(encoding="utf-8", errors="ignore").split("\n\n"):
                yield piece + "\n\n"


def _tokens(count: int) -> Any:
    import numpy as np
    import pyarrow as pa

    values = np.random.default_rng(1).zipf(1.2, count * ROW_TOKENS).clip(0, 50_000).astype(np.int32)
    offsets = np.arange(count + 1, dtype=np.int32) * ROW_TOKENS
    return pa.table({"input_ids": pa.ListArray.from_arrays(offsets, pa.array(values))})
