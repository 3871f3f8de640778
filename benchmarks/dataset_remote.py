"""Data sets from a server on this machine: rows a second in one client, beside what else could serve them.

The same files as for `dataset`. All are measured in turns, so that a busy
machine slows them alike: bars are ratios to a bare socket that sends the same bytes, to
Arrow Flight, and to the `datasets` library reading them from the disk. The bars stand for
1.8 M texts and 0.7 M token rows a second, shuffled 0.8 M and 0.5 M, where a bare
socket carries 2.4 M and 1.4 M and Flight 1.1 M and 0.6 M, as on the machine this was
designed on; for 250 k dicts where `datasets` makes 83 k, and 0.55 M rows of torch where it makes 25 k.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks import dataset_json
from benchmarks.dataset import NEEDED, _rows_of_pair, _texts, _theirs, _tokens, _write
from benchmarks.dataset_programs import peer, server
from benchmarks.lab import Lab
from benchmarks.measure import in_turns, rate
from benchmarks.row import Bar, Row, at_least, at_most, from_samples, skipped

GROUP = "data sets, remote"
TEXTS, TOKENS = 60_000, 30_000


def rows(lab: Lab) -> list[Row]:
    needed = (*NEEDED, "aiohttp", "awscrt")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        return [skipped(GROUP, "all", f"not installed: {', '.join(missing)}")]
    folder = lab.work / "dataset-remote"
    folder.mkdir(exist_ok=True)
    os.environ["FORGATHER_CACHE"] = os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    scale = 10 if lab.quick else 1
    files = {"text": _write(folder / "text", _texts(TEXTS // scale))}
    files["tokens"] = _write(folder / "tokens", _tokens(TOKENS // scale))
    try:
        with ExitStack() as stack:
            url = stack.enter_context(server(folder, files))
            return [
                *_rows(lab, stack, "texts", "text", files["text"], url, bars=(0.75, 0.33, 1.64, 0.73)),
                *_rows(lab, stack, "token rows", "tokens", files["tokens"], url, bars=(0.5, 0.36, 1.17, 0.83)),
                *_python_rows(lab, files, url),
                *dataset_json.beside_fastapi(lab, files, url),
            ]
    finally:
        shutil.rmtree(folder)


def _rows(
    lab: Lab, stack: ExitStack, what: str, name: str, files: list[str], url: str, *, bars: tuple[float, ...]
) -> list[Row]:
    """As Arrow batches; the bare socket and Flight beside it."""
    data = _ours(url, name)
    row_bytes = sum(os.path.getsize(file) for file in files) / len(data)
    bare = stack.enter_context(peer("unpaced", files))
    paced = stack.enter_context(peer("socket", files))
    flight = stack.enter_context(peer("flight", files))
    taken = in_turns(
        {
            "stored": lambda: rate(_Batches(data), _rows_of_pair),
            "shuffled": lambda: rate(_Batches(data.shuffle(1)), _rows_of_pair),
            "bare": lambda: bare.drained(row_bytes),
            "paced": lambda: paced.drained(row_bytes),
            "flight": lambda: rate(_Flight(flight.port), lambda batch: int(batch.num_rows)),
        },
        lab.rounds(10),
    )
    against: dict[str, Any] = {"unit": "rows/s", "against": taken["bare"], "peer": "bare socket, unpaced"}
    bar: list[Bar] = [at_least(limit, of="ratio") for limit in bars]
    return [
        from_samples(GROUP, f"{what} as stored", taken["stored"], bar=bar[0], **against),
        from_samples(GROUP, f"{what} shuffled", taken["shuffled"], bar=bar[1], **against),
        from_samples(
            GROUP,
            f"{what} as stored, beside a socket as the system has it",
            taken["stored"],
            unit="rows/s",
            peer="bare socket",
            against=taken["paced"],
        ),
        *(
            from_samples(
                GROUP,
                f"{what} {how}, beside Flight" + ("'s as stored" if how == "shuffled" else ""),
                taken[key],
                unit="rows/s",
                peer="Arrow Flight",
                against=taken["flight"],
                bar=limit,
            )
            for how, key, limit in (("as stored", "stored", bar[2]), ("shuffled", "shuffled", bar[3]))
        ),
    ]


def _python_rows(lab: Lab, files: dict[str, list[str]], url: str) -> list[Row]:
    """As what a training script takes; and how soon a resume has its first rows."""
    from forgather_spool.dataset.walk import run

    texts, tokens = _ours(url, "text"), _ours(url, "tokens").with_format("torch")
    local_texts, local_tokens = _theirs(files["text"]), _theirs(files["tokens"]).with_format("torch")
    shuffled = texts.shuffle(1)
    place = len(texts) * 9 // 10

    def resuming() -> float:
        """As a program that goes on: over a new connection. The median of seven in a row."""
        taken = []
        for _ in range(7):
            rows = pickle.loads(pickle.dumps(shuffled.rows))
            begin = time.perf_counter()
            list(rows.batches(shuffled.order, run(place, place + 64)))
            taken.append((time.perf_counter() - begin) * 1000)
        return statistics.median(taken)

    taken = in_turns(
        {
            "dicts": lambda: rate(texts),
            "local dicts": lambda: rate(local_texts),
            "torch": lambda: rate(_InBatches(tokens), lambda batch: len(batch["input_ids"])),
            "local torch": lambda: rate(local_tokens),
            "resuming": resuming,
        },
        lab.rounds(10),
    )
    peer = "datasets, local"
    return [
        from_samples(
            GROUP, "texts to dicts", taken["dicts"], unit="rows/s", peer=peer, against=taken["local dicts"],
            bar=at_least(3, of="ratio"),
        ),
        from_samples(
            GROUP, "tokens to torch", taken["torch"], unit="rows/s", peer=peer, against=taken["local torch"],
            bar=at_least(22, of="ratio"), note="in batches of 32; theirs row by row",
        ),
        from_samples(
            GROUP, "64 rows at 90 % of a shuffle", taken["resuming"], bar=at_most(2), note="with a new connection"
        ),
    ]  # fmt: skip


class _Batches:
    """A data set's Arrow batches, anew at each pass."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        from forgather_spool.dataset.walk import run

        return iter(self._data.rows.batches(self._data.order, run(0, len(self._data.rows))))


class _InBatches:
    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data.iter(32))


class _Flight:
    def __init__(self, port: int) -> None:
        import pyarrow.flight as flight

        self._client = flight.connect(f"grpc://127.0.0.1:{port}")
        self._ticket = flight.Ticket(b"")

    def __iter__(self) -> Iterator[Any]:
        return (chunk.data for chunk in self._client.do_get(self._ticket))


def _ours(url: str, name: str) -> Any:
    from forgather_spool.dataset import fast_load_iterable_dataset

    os.environ["FORGATHER_DATASET_SERVER"] = url
    try:
        return fast_load_iterable_dataset(f"local/{name}")
    finally:
        del os.environ["FORGATHER_DATASET_SERVER"]
