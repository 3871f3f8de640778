"""Servers and clients killed without a word: who reads goes on, and reads each example once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")

from forgather_spool.dataset import ComposableIterableDataset
from forgather_spool.dataset.errors import ContentChanged, ServerUnreachable
from tests.dataset_server.conftest import table, write
from tests.waiting import wait_until

ROWS, KILLS = 6000, 12 if os.environ.get("FORGATHER_LONG_TESTS") == "1" else 3
TOKEN = "one-for-all"
Load = Callable[..., ComposableIterableDataset]


class Program:
    """A dataset server in a process of its own, on one port however often it is killed."""

    def __init__(self, folder: Path, data: Path, port: int = 0) -> None:
        self._folder, self._data, self.port = folder, data, port
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Program:
        log = self._folder / "log"
        words = ["--port", str(self.port), "--local", f"stories={self._data}"]
        words += ["--auth-token-file", str(self._folder / "token")]
        env = {**os.environ, "FORGATHER_HOME": str(self._folder), "PYTHONPATH": str(Path(__file__).parents[2])}
        with open(log, "wb") as sink:
            command = [sys.executable, "-P", "-m", "forgather_spool.dataset_server", *words]
            self._process = subprocess.Popen(command, env=env, stderr=sink)
        found = wait_until(lambda: re.search(r"dataset server on \S+:(\d+),", log.read_text()), 60, "its address")
        self.port = int(found[1])
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Large enough that the kernel's buffers do not hold a whole stream."""
    text = ["x" * 3000] * ROWS
    return write(tmp_path / "data.arrow", pa.table({"number": range(ROWS), "text": text}))


@pytest.fixture
def programs(tmp_path: Path, data: Path) -> Iterator[Callable[..., Program]]:
    """``programs("a")``: a server of `data`, started."""
    made: list[Program] = []

    def make(name: str, of: Path = data) -> Program:
        made.append(Program(tmp_path / name, of).start())
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def load(from_servers: Load, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setenv("FORGATHER_DATASET_SERVER_TOKEN", TOKEN)
    return from_servers


def test_the_next_server_goes_on_where_the_first_was_killed(programs: Callable[..., Program], load: Load) -> None:
    """And the first again, once it is back and the second is killed."""
    servers = [programs("first"), programs("second")]
    there = load(*(server.url for server in servers)).shuffle(1)
    reader = iter(there)
    read = [next(reader)["number"] for _ in range(100)]
    for turn in range(KILLS):
        servers[turn % 2].kill()
        read += [next(reader)["number"] for _ in range(4000 // KILLS)]
        servers[turn % 2].start()

    read += [example["number"] for example in reader]

    assert read == there.order.rows(0, ROWS).tolist()


def test_a_server_that_comes_back_is_waited_for(
    programs: Callable[..., Program], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows no handle any more, and is asked to load again."""
    monkeypatch.setenv("FORGATHER_DATASET_CLIENT_MAX_RETRY_SECONDS", "60")
    server = programs("server")
    there = load(server.url).shuffle(2)
    reader = iter(there)
    read = [next(reader)["number"] for _ in range(100)]

    server.kill()
    server.start()

    assert read + [example["number"] for example in reader] == there.order.rows(0, ROWS).tolist()


def test_waiting_ends_with_the_limit(
    programs: Callable[..., Program], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row that came before the error was right, and the state says where to go on."""
    monkeypatch.setenv("FORGATHER_DATASET_CLIENT_MAX_RETRY_SECONDS", "0.3")
    server = programs("server")
    there = load(server.url).shuffle(2)
    reader, read = iter(there), []

    with pytest.raises(ServerUnreachable, match="refused"):
        for example in reader:
            if not read:
                server.kill()
            read.append(example["number"])
    server.start()
    again = load(server.url).shuffle(2)
    again.load_state_dict(there.state_dict())

    assert 0 < len(read) < ROWS
    assert read + [example["number"] for example in again] == there.order.rows(0, ROWS).tolist()


def test_a_server_that_comes_back_with_other_data_is_an_error(
    tmp_path: Path, programs: Callable[..., Program], data: Path, load: Load
) -> None:
    server = programs("server")
    reader = iter(load(server.url))
    next(reader)

    server.kill()
    os.replace(write(tmp_path / "other.arrow", table()), data)
    server.start()

    with pytest.raises(ContentChanged, match="has other data"):
        list(reader)


CLIENT = """
import json, os, sys
from forgather_spool.dataset import fast_load_iterable_dataset
data = fast_load_iterable_dataset("local/stories").shuffle(5)
state, out = sys.argv[1:]
if os.path.exists(state):
    with open(state) as file:
        saved = json.load(file)
    os.truncate(out, saved["bytes"])
    data.load_state_dict(saved["data"])
with open(out, "a") as file:
    for number, example in enumerate(data):
        print(example["number"], file=file)
        if number % 50 == 0:
            file.flush()
            with open(state + ".new", "w") as new:
                json.dump({"bytes": os.fstat(file.fileno()).st_size, "data": data.state_dict()}, new)
            os.replace(state + ".new", state)
"""


def test_a_client_that_was_killed_goes_on_from_its_state(
    tmp_path: Path, programs: Callable[..., Program], load: Load
) -> None:
    """As a training that truncates what it did since its last checkpoint."""
    server = programs("server")
    state, out = tmp_path / "state", tmp_path / "out"
    env: dict[str, Any] = {
        **os.environ, "FORGATHER_DATASET_SERVER": server.url, "PYTHONPATH": str(Path(__file__).parents[2])
    }  # fmt: skip
    command = [sys.executable, "-c", CLIENT, str(state), str(out)]
    for turn in range(2):
        process = subprocess.Popen(command, env=env)
        wait_until(partial(_is_past, state, turn * 5000), 60)
        process.kill()
        process.wait()

    subprocess.run(command, env=env, check=True, timeout=60)

    assert [int(line) for line in out.read_text().split()] == load(server.url).shuffle(5).order.rows(0, ROWS).tolist()


def _is_past(state: Path, size: int) -> bool:
    return state.exists() and int(json.loads(state.read_text())["bytes"]) > size
