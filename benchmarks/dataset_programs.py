"""The programs that data sets are measured with: our server, others, other readers. Each ends with its context."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dataset_readers import MOSAIC_PACKAGES
from benchmarks.lab import REPOSITORY, Lab
from benchmarks.measure import SECONDS, BenchmarkFailed, processor_s

PEER_PACKAGES = ("fastapi", "httpx", "pyarrow", "uvicorn")
PATIENCE_S = 60.0


@contextmanager
def server(folder: Path, files: dict[str, list[str]]) -> Iterator[str]:
    """Ours, without a token, in a process of its own; its URL."""
    words = ["--port", "0", "--no-auth"]
    for name, paths in files.items():
        (folder / f"of-{name}").mkdir(exist_ok=True)
        for path in paths:
            (folder / f"of-{name}" / Path(path).name).hardlink_to(path)
        words += ["--local", f"{name}={folder}/of-{name}"]
    log = folder / "log"
    with open(log, "wb") as sink:
        command = [sys.executable, "-P", "-m", "forgather_spool.dataset_server", *words]
        env = os.environ | {"FORGATHER_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(command, env=env, stderr=sink)
    try:
        found = _awaited(lambda: re.search(r"dataset server on (\S+),", log.read_text()))
        yield str(found[1])
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Peer:
    """One of `dataset_peers`: where it listens, and what of the processor it has had."""

    port: int
    pid: int

    def processor_s(self) -> float:
        return processor_s(self.pid)

    def drained(self, row_bytes: float, clock: Callable[[], float] = time.perf_counter) -> float:
        """Rows of so many bytes a second of `clock`, from one that sends what it has to whoever connects."""
        buffer = bytearray(1 << 20)
        received, begin = 0, clock()
        while True:
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                for number, count in enumerate(iter(lambda: connection.recv_into(buffer), 0)):
                    received += count
                    if number % 16 == 0 and clock() - begin > SECONDS:
                        return received / row_bytes / (clock() - begin)


@contextmanager
def peer(kind: str, files: list[str], python: Path | None = None) -> Iterator[Peer]:
    command = [str(python or sys.executable), "-m", "benchmarks.dataset_peers", kind, *files]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchmarkFailed(f"{kind} did not start")
        port = int(line)
        _awaited(lambda: _answers(port))
        yield Peer(port, process.pid)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _awaited(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise BenchmarkFailed("a server did not start")
        time.sleep(0.02)
    return found


def peers_python(lab: Lab) -> Path | None:
    """An environment of its own for the peers; None where it cannot be made."""
    folder = lab.work / "peers"
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PEER_PACKAGES]
    return python if subprocess.run(install, capture_output=True, check=False).returncode == 0 else None


def mosaic_packages(lab: Lab) -> Path | None:
    """A folder with MosaicML's packages, for a Python that has torch and numpy; None where it cannot be made."""
    folder = lab.work / "mosaic"
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    install += ["--target", str(folder), *MOSAIC_PACKAGES]
    if not folder.exists() and subprocess.run(install, capture_output=True, check=False).returncode != 0:
        return None
    return folder


class Reader:
    """One of `dataset_readers`, run by `python`; `packages` is a folder it finds more of them in."""

    def __init__(self, python: Path | str, *words: str, packages: Path | None = None) -> None:
        command = [str(python), "-m", "benchmarks.dataset_readers", *words]
        env = os.environ | ({"PYTHONPATH": str(packages)} if packages else {})
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process: subprocess.Popen[str] = subprocess.Popen(command, cwd=REPOSITORY, env=env, text=True, **pipes)

    def __enter__(self) -> Reader:
        if self._answer() != "ready":
            raise BenchmarkFailed(f"{self._process.args!r} did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # not killed: MosaicML would leave shared memory behind
        self._process.wait()

    def rate(self, line: str) -> float:
        """Rows a second of what `line` asks for."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line: str = self._process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"{self._process.args!r} ended")
        return line.strip()
