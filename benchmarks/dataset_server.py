"""Data sets over HTTP on this machine: one client and sixteen, against Arrow Flight, FastAPI and local `datasets`.

One server process a peer, each over the same files, in turns within one run:
on a busy machine the ratios hold where the figures do not. What others take of
the processor is left out of rows that say so. MosaicML's streaming is measured
where it is installed; it brings a whole torch, so nothing installs it here.
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
from pathlib import Path
from typing import Any

from benchmarks import dataset
from benchmarks.lab import REPOSITORY, Lab
from benchmarks.measure import BenchmarkFailed, Samples, await_that, in_turns
from benchmarks.row import Row, at_least, at_most, from_samples, skipped

GROUP = "data sets, over HTTP"
NEEDED = ("aiohttp", "datasets", "google_crc32c", "numpy", "orjson", "pyarrow", "torch")
CLIENTS = 16
SECONDS = 1.0
PROCESSOR = "of the server's processor: what others take of the wall clock is left out"
PEERS = Path(__file__).parent / "peers"
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
            found = [*_arrow_rows(lab, ours, files), *_value_rows(lab, ours, files), *_line_rows(lab, ours, files)]
            found += [*_many_rows(lab, ours), skipped(GROUP, "text, MosaicML streaming", _mosaic())]
            return found
    finally:
        shutil.rmtree(folder)


class Ours:
    """A server of ours in a process of its own, over the folders text and tokens of `folder`."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        local = [word for name in ("text", "tokens") for word in ("--local", f"{name}={folder / name}")]
        argv = [sys.executable, "-m", "forgather_spool.dataset_server", "--no-auth", "--no-tls", *local]
        argv += ["--port", str(self.port), "--log-level", "ERROR"]
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
        self.data(name)
        found = self.ask("/v1/datasets")["handles"]
        return str(next(one["handle"] for one in found if one["load_args"]["path"] == f"local/{name}"))

    def processor_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _arrow_rows(lab: Lab, ours: Ours, files: dict[str, list[str]]) -> Iterator[Row]:
    for name, unit, ratio, sequential, shuffled in (
        ("text", "examples/s", 1.5, 1_800_000, 800_000),
        ("tokens", "rows/s", 1.1, 700_000, 500_000),
    ):
        data = ours.data(name)
        pairs, mixed = dataset._batches(data), dataset._batches(data.shuffle(1))
        with _peer("flight.py", sys.executable, files[name]) as port:
            actions: dict[str, Callable[[], float]] = {
                "ours": lambda pairs=pairs: dataset._rate(pairs, dataset._rows_of_pair),  # type: ignore[misc]
                "flight": lambda port=port: _flight_rate(port),  # type: ignore[misc]
                "cpu": lambda pairs=pairs: dataset._rate(pairs, dataset._rows_of_pair, ours.processor_s),  # type: ignore[misc]
                "shuffled": lambda mixed=mixed: dataset._rate(mixed, dataset._rows_of_pair, ours.processor_s),  # type: ignore[misc]
            }
            taken = in_turns(actions, lab.rounds(10))
        yield from_samples(
            GROUP, f"{name}, Arrow, sequential", taken["ours"], unit=unit, peer="Arrow Flight",
            against=taken["flight"], bar=at_least(ratio, of="ratio"),
        )  # fmt: skip
        for what, key, limit in (("sequential", "cpu", sequential), ("shuffled", "shuffled", shuffled)):
            yield from_samples(
                GROUP, f"{name}, Arrow, {what}, a second", taken[key], unit=unit, bar=at_least(limit), note=PROCESSOR
            )
    yield _entering_row(lab, ours.data("text").shuffle(1))


def _entering_row(lab: Lab, data: Any) -> Row:
    from forgather_spool.dataset.walk import run

    at = len(data.rows) * 9 // 10

    def entering() -> float:
        begin = time.perf_counter()
        next(iter(data.rows.batches(data.order, run(at, at + 64))))
        return (time.perf_counter() - begin) * 1000

    taken = in_turns({"entering": entering}, lab.rounds(100))["entering"]
    return from_samples(GROUP, "shuffled text entered at 90 %, first batch", taken, bar=at_most(2))


def _value_rows(lab: Lab, ours: Ours, files: dict[str, list[str]]) -> Iterator[Row]:
    """To what a training script holds, beside `datasets` reading the same files from this machine's disk."""
    text, tokens = ours.data("text"), ours.data("tokens").with_format("torch")
    local_text, local_tokens = dataset._theirs(files["text"]), dataset._theirs(files["tokens"]).with_format("torch")
    actions: dict[str, Callable[[], float]] = {
        "text": lambda: dataset._rate(text),
        "tokens": lambda: dataset._rate(tokens),
        "local text": lambda: dataset._rate(local_text),
        "local tokens": lambda: dataset._rate(local_tokens),
    }
    taken = in_turns(actions, lab.rounds(10))
    for name, what, unit, ratio in (("text", "to dicts", "examples/s", 2), ("tokens", "to torch", "rows/s", 10)):
        yield from_samples(
            GROUP, f"{name} {what}", taken[name], unit=unit, peer="datasets, local", against=taken[f"local {name}"],
            bar=at_least(ratio, of="ratio"),
        )  # fmt: skip


def _line_rows(lab: Lab, ours: Ours, files: dict[str, list[str]]) -> Iterator[Row]:
    """JSON lines, read as the predecessor's client reads them: a line at a time, `json.loads`."""
    python = _with_fastapi(lab)
    if python is None:
        yield skipped(GROUP, "text, JSON lines", "pip could not install fastapi and uvicorn")
        return
    with _peer("fastapi_lines.py", python, files["text"]) as port:
        path = f"/v1/datasets/{ours.handle('text')}/iter"
        actions = {"ours": lambda: _line_rate(ours.port, path), "fastapi": lambda: _line_rate(port, "/iter")}
        taken = in_turns(actions, lab.rounds(10))
    yield from_samples(
        GROUP, "text, JSON lines", taken["ours"], unit="examples/s", peer="FastAPI", against=taken["fastapi"],
        bar=at_least(5, of="ratio"),
    )  # fmt: skip


def _many_rows(lab: Lab, ours: Ours) -> Iterator[Row]:
    """Sixteen at once: does each get its share, and what does the server hold for them?"""
    for what, query in (("sequential", ""), ("shuffled", "seed=1")):
        taken = [_sixteen(ours, query) for _ in range(lab.rounds(5))]
        fairness = Samples(tuple(_jain(one) for one, _ in taken))
        yield from_samples(GROUP, f"16 clients, {what}: fairness (Jain)", fairness, unit="", bar=at_least(0.98))
        memory = Samples(tuple(held for _, held in taken))
        yield from_samples(GROUP, f"16 clients, {what}: anonymous memory", memory, unit="MB", bar=at_most(100))
    held = Samples(tuple(_silent(ours) for _ in range(lab.rounds(5))))
    yield from_samples(GROUP, "16 clients that take nothing: anonymous memory", held, unit="MB", bar=at_most(100))


def _sixteen(ours: Ours, query: str) -> tuple[list[int], float]:
    """Bytes that each of the clients got in the same seconds, and MB of the server meanwhile."""
    path = f"/v1/datasets/{ours.handle('text')}/iter?{query}"
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


def _flight_rate(port: int) -> float:
    import pyarrow.flight as flight

    client = flight.connect(f"grpc://127.0.0.1:{port}")
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for chunk in client.do_get(flight.Ticket(b"")):
            count += chunk.data.num_rows
    return count / (time.perf_counter() - begin)


def _line_rate(port: int, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    count, begin = 0, time.perf_counter()
    for line in answer:
        json.loads(line)
        count += 1
        if time.perf_counter() - begin > SECONDS:
            break
    took = time.perf_counter() - begin
    connection.close()
    return count / took


@contextlib.contextmanager
def _peer(program: str, python: str, files: list[str]) -> Iterator[int]:
    """A peer's server over `files`; its port."""
    process = subprocess.Popen([python, str(PEERS / program), *files], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"{program} did not start")
        yield int(line)
    finally:
        process.terminate()
        process.wait()


def _with_fastapi(lab: Lab) -> str | None:
    """A Python that has FastAPI and what this one has; None when it cannot be had. Made once a run."""
    folder = lab.work / "peers"
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(folder)], check=True)
        [site] = (folder / "lib").glob("python*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site / "ours.pth").write_text("\n".join(ours) + "\n")
        pip = [str(python), "-m", "pip", "install", "-q", "fastapi", "uvicorn"]
        if subprocess.run(pip, capture_output=True).returncode:
            return None
    return str(python)


def _mosaic() -> str:
    return "not installed: mosaicml-streaming" if importlib.util.find_spec("streaming") is None else "no reader yet"
