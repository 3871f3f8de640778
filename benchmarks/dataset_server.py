"""What a dataset server takes: processor time a row, and for sixteen clients fairness and memory.

By the wall clock is `dataset_remote`'s. Rates here are of the servers' processor time,
ours and the other's, so that what clients and others take of the machine is left out. The
bars of JSON lines stand for 180 k texts and 100 k token rows a second where the predecessor's
way makes 6 k.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import dataset
from benchmarks.dataset_json import handle
from benchmarks.dataset_programs import peer, peers_python
from benchmarks.lab import REPOSITORY, Lab
from benchmarks.measure import BenchmarkFailed, Samples, await_that, in_turns, processor_s, rate
from benchmarks.row import Row, at_least, at_most, from_samples, skipped

GROUP = "the dataset server"
NEEDED = ("aiohttp", "datasets", "awscrt", "numpy", "orjson", "pyarrow")
CLIENTS = 16
SECONDS = 1.0
MANY = (
    ("sequential", "text", ""),
    ("shuffled", "text", "seed=1"),
    ("token rows, shuffled", "tokens", "seed=1"),
)
PROCESSOR = "of the servers' processor: what others take of the wall clock is left out"
ARROW = "application/vnd.apache.arrow.stream"


def rows(lab: Lab) -> list[Row]:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return [skipped(GROUP, "all", f"not installed: {', '.join(missing)}")]
    folder = lab.work / "dataset-server"
    folder.mkdir(exist_ok=True)
    os.environ["FORGATHER_CACHE"] = os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    scale = 10 if lab.quick else 1
    files = {}
    for name, made in (("text", dataset._texts(dataset.TEXTS // scale)), ("tokens", dataset._tokens(30_000 // scale))):
        (folder / name).mkdir()
        files[name] = dataset._write(folder / name / name, made)
    try:
        with Ours(folder) as ours:
            found = [*_processor_rows(lab, ours, files), *_json_rows(lab, ours, files), *_many_rows(lab, ours)]
            with Ours(folder, workers=2) as both:
                return [*found, *_workers_rows(lab, ours, both)]
    finally:
        shutil.rmtree(folder)


class Ours:
    """A server of ours in a process of its own, over the folders text and tokens of `folder`."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        local = [word for name in ("text", "tokens") for word in ("--local", f"{name}={folder / name}")]
        argv = [sys.executable, "-m", "forgather_spool.dataset_server", "--no-auth", "--no-tls", *local]
        argv += ["--port", str(self.port), "--log-level", "ERROR", "--workers", str(workers)]
        env = {**os.environ, "FORGATHER_HOME": str(folder / "home")}
        self.process = subprocess.Popen(argv, cwd=REPOSITORY, env=env, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Ours:
        await_that(self._is_up, "our server", poll_s=0.05)
        os.environ["FORGATHER_DATASET_SERVER"] = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop("FORGATHER_DATASET_SERVER", None)
        self.process.terminate()
        self.process.wait()

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise BenchmarkFailed("our server did not start")
        with contextlib.suppress(OSError):
            return bool(self.ask("/v1/health"))
        return False

    def ask(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def data(self, name: str) -> Any:
        from forgather_spool.dataset import fast_load_iterable_dataset

        return fast_load_iterable_dataset(f"local/{name}")

    def handle(self, name: str) -> str:
        return handle(f"http://127.0.0.1:{self.port}", name)

    def processor_s(self) -> float:
        return processor_s(self.process.pid)


def _processor_rows(lab: Lab, ours: Ours, files: dict[str, list[str]]) -> Iterator[Row]:
    """As Arrow. By the wall clock these rates have bars, in `dataset_remote`."""
    for name, unit in (("text", "examples/s"), ("tokens", "rows/s")):
        data = ours.data(name)
        row_bytes = sum(map(os.path.getsize, files[name])) / len(data)
        with peer("unpaced", files[name]) as bare:
            actions: dict[str, Callable[[], float]] = {
                "sequential": partial(rate, dataset._batches(data), dataset._rows_of_pair, ours.processor_s),
                "shuffled": partial(rate, dataset._batches(data.shuffle(1)), dataset._rows_of_pair, ours.processor_s),
                "bare": partial(bare.drained, row_bytes, bare.processor_s),
            }
            taken = in_turns(actions, lab.rounds(10))
        against: dict[str, Any] = {"peer": "bare socket, unpaced", "against": taken["bare"], "note": PROCESSOR}
        for what in ("sequential", "shuffled"):
            yield from_samples(GROUP, f"{name}, {what}", taken[what], unit=unit, **against)


def _json_rows(lab: Lab, ours: Ours, files: dict[str, list[str]]) -> Iterator[Row]:
    """As JSON lines that nobody parses: every client that does takes longer than the server."""
    python = peers_python(lab)
    if python is None:
        yield skipped(GROUP, "JSON lines", "fastapi cannot be installed here")
        return
    for name, unit, limit in (("text", "examples/s", 30), ("tokens", "rows/s", 17)):
        with peer("fastapi", files[name], python) as theirs:
            lines = _Lines(ours.port, f"/v1/datasets/{ours.handle(name)}/iter")
            actions = {
                "ours": partial(rate, lines, _newlines, ours.processor_s),
                "theirs": partial(rate, _Lines(theirs.port, "/iter"), _newlines, theirs.processor_s),
            }
            taken = in_turns(actions, lab.rounds(10))
        what, bar = f"{name}, JSON lines", at_least(limit, of="ratio")
        against: dict[str, Any] = {"peer": "FastAPI", "against": taken["theirs"], "note": PROCESSOR}
        yield from_samples(GROUP, what, taken["ours"], unit=unit, bar=bar, **against)


class _Lines:
    """The body of an answer in pieces, anew at each pass."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path

    def __iter__(self) -> Iterator[bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", self._path)
            answer = connection.getresponse()
            while piece := answer.read(1 << 18):
                yield piece
        finally:
            connection.close()


def _newlines(piece: bytes) -> int:
    return piece.count(b"\n")


def _many_rows(lab: Lab, ours: Ours) -> Iterator[Row]:
    """Sixteen at once: does each get its share, and what does the server hold for them?"""
    for what, name, query in MANY:
        taken = [_sixteen(ours, name, query) for _ in range(lab.rounds(5))]
        fairness = Samples(tuple(_jain(one) for one, _ in taken))
        yield from_samples(GROUP, f"16 clients, {what}: fairness (Jain)", fairness, unit="", bar=at_least(0.98))
        memory = Samples(tuple(held for _, held in taken))
        yield from_samples(GROUP, f"16 clients, {what}: anonymous memory", memory, unit="MB", bar=at_most(100))
    held = Samples(tuple(_silent(ours) for _ in range(lab.rounds(5))))
    yield from_samples(GROUP, "16 clients that take nothing: anonymous memory", held, unit="MB", bar=at_most(100))


def _workers_rows(lab: Lab, ours: Ours, both: Ours) -> Iterator[Row]:
    """What a second process adds: nothing to wish for where clients need the other core."""

    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(lab.rounds(3)):
        for workers, server in ((1, ours), (2, both)):
            taken[workers].append(sum(_sixteen(server, "tokens", "seed=1")[0]) / (3 * SECONDS) / 1e6)
    one, two = (Samples(tuple(values)) for values in taken.values())
    what, peer = "16 clients, token rows, shuffled: --workers 2", "one process"
    note = f"by the wall clock, on {os.cpu_count()} cores, of which the clients take one"
    yield from_samples(GROUP, what, two, unit="MB/s", peer=peer, against=one, note=note)


def _sixteen(ours: Ours, name: str, query: str) -> tuple[list[int], float]:
    """Bytes that each of the clients got in the same seconds, and MB of the server meanwhile."""
    path = f"/v1/datasets/{ours.handle(name)}/iter?{query}"
    got = [0] * CLIENTS
    ready, end = threading.Barrier(CLIENTS + 1), threading.Event()

    def read(number: int) -> None:
        buffer = bytearray(1 << 20)
        connection = _stream(ours.port, path)
        ready.wait()
        while not end.is_set():
            size = connection.recv_into(buffer)
            got[number] += size
            if not size:
                connection.close()
                connection = _stream(ours.port, path)
        connection.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(SECONDS)  # all are under way
    before = list(got)
    time.sleep(3 * SECONDS)
    after = list(got)
    held = ours.ask("/v1/stats")["anonymous_bytes"] / 1e6
    end.set()
    for thread in threads:
        thread.join()
    return [last - first for first, last in zip(before, after, strict=True)], held


def _silent(ours: Ours) -> float:
    path = f"/v1/datasets/{ours.handle('text')}/iter?seed=1"
    clients = [_stream(ours.port, path) for _ in range(CLIENTS)]
    try:
        await_that(lambda: ours.ask("/v1/stats")["streams"] == CLIENTS, "16 streams", poll_s=0.05)
        time.sleep(SECONDS)  # until all that may be held is held
        return float(ours.ask("/v1/stats")["anonymous_bytes"]) / 1e6
    finally:
        for one in clients:
            one.close()
        await_that(lambda: ours.ask("/v1/stats")["streams"] == 0, "no stream", poll_s=0.05)


def _stream(port: int, path: str) -> socket.socket:
    """An answer of which nothing has been read; it ends with the connection."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ARROW}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def _jain(shares: list[int]) -> float:
    """1: all equal; 1/n: one has everything."""
    squares = len(shares) * sum(share * share for share in shares)
    return sum(shares) ** 2 / squares if squares else 0.0
