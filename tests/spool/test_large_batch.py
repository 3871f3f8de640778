"""A batch that two processes write: all of it or none, whichever of them dies where, and neither stays behind."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from forgather_spool.errors import StorageFailed
from forgather_spool.spool import admit, batch
from forgather_spool.spool.files import writer
from forgather_spool.spool.queue import Spool
from tests import file_system
from tests.spool.crashing import CHANGES

DEAD_WRITER = f"{os.uname().nodename.partition('.')[0]}.4194304"  # a pid above the kernel's largest
SPECS = [
    {"argv": ["a"]},
    {"argv": ["b"], "priority": 5},
    {"argv": ["c"], "hold": True},
    {"argv": ["d"], "array": {"indexes": "0-1"}},
    {"argv": ["e", "x" * 100_000]},  # more than a pipe holds
    {"argv": ["f"]},
]
JOBS = len(SPECS) + 1


@pytest.fixture(autouse=True)
def a_second_process_from_the_second_job_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ALONE", 1)


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def submit(spool: Spool) -> batch.Batch:
    with batch.Batch(spool) as gathered:
        for spec in SPECS:
            gathered.add(spec)
        gathered.commit()
    return gathered


def jobs(spool: Spool) -> list[str]:
    return [*os.listdir(spool.paths.queue), *os.listdir(spool.paths.held)]


def left_over(spool: Spool) -> list[str]:
    return [*os.listdir(spool.paths.tmp), *os.listdir(spool.paths.batches)]


def commands(spool: Spool) -> list[str]:
    return [spool.queued_spec(entry)["argv"][0][0] for entry in spool.waiting()]


def test_it_is_the_batch_that_one_process_writes(spool, monkeypatch):
    submit(spool)
    batch.spread(spool)
    assert commands(spool) == ["b", "a", "d", "d", "e", "f"]
    assert len(os.listdir(spool.paths.held)) == 1
    assert left_over(spool) == []

    monkeypatch.setattr(writer, "start", lambda folder: None)  # as where none can be had
    submit(spool)
    batch.spread(spool)
    assert commands(spool) == ["b", "b", "a", "d", "d", "e", "f", "a", "d", "d", "e", "f"]


def test_the_one_sync_comes_after_the_last_file(spool, monkeypatch):
    synced = []

    def sync(folder: str) -> None:
        synced.append(sum(len(names) for _, _, names in os.walk(folder)))

    file_system.patch(monkeypatch, "sync_file_system", sync)

    submit(spool)

    assert synced == [JOBS]


def test_when_the_second_cannot_write_nothing_is_submitted_and_nothing_stays(spool, monkeypatch):
    """The folder of those on hold is gone when the second one comes to write there."""
    monkeypatch.setattr(batch.files, "make_directory", lambda path: path.endswith("/held") or os.mkdir(path))

    with pytest.raises(StorageFailed, match="No such file or directory"):
        submit(spool)

    assert jobs(spool) == left_over(spool) == []


def test_a_batch_that_is_given_up_leaves_nothing_and_nobody(spool):
    with pytest.raises(KeyboardInterrupt), batch.Batch(spool) as gathered:
        for spec in SPECS:
            gathered.add(spec)
        raise KeyboardInterrupt

    assert jobs(spool) == left_over(spool) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class _KillingOs:
    """`os`, before whose Nth of these calls its process dies, if it is the one that is meant."""

    def __init__(self, calls_left: int, *, the_second: bool) -> None:
        self._left = calls_left
        self._submitter = os.getpid()
        self._the_second = the_second

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(real) if name in CHANGES | {"fork", "pipe", "close", "waitpid", "read"} else real

    def _counted(self, real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if (os.getpid() != self._submitter) == self._the_second:
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self._left -= 1
            return real(*args, **more)

        return call


def told_by_a_submitter(spool: Spool, calls: int, *, the_second: bool) -> list[str]:
    """What it said until it and its second process were gone, one of them killed before its Nth call."""
    reading, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            killing = _KillingOs(calls, the_second=the_second)
            file_system.work_on(killing)
            writer.os = killing  # type: ignore[assignment]
            submit(spool)
            os.write(telling, b"acknowledged ")
            batch.spread(spool)
            os.write(telling, b"over ")
        except StorageFailed:
            os.write(telling, b"refused ")
        finally:
            os._exit(0)
    os.close(telling)
    with open(reading, "rb") as pipe:
        told = pipe.read().decode().split()  # its end: nobody has the other one any more
    os.waitpid(pid, 0)
    return told


@pytest.fixture
def writers_are_found_dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    file_system.patch(monkeypatch, "temporary_name", lambda: f"{DEAD_WRITER}.{os.urandom(6).hex()}")


@pytest.mark.parametrize("the_second", [False, True], ids=["first", "second"])
def test_whichever_is_killed_anywhere_all_are_submitted_or_none(the_second, tmp_path, writers_are_found_dead):
    """And both are gone: else the wait for what they tell would not end."""
    outcomes: Counter[tuple[str, int]] = Counter()
    for calls in range(1000):
        spool = Spool(str(tmp_path / str(calls))).create()

        told = told_by_a_submitter(spool, calls, the_second=the_second)

        if the_second and told == ["refused"]:
            assert jobs(spool) == left_over(spool) == []
        admit.sweep_tmp(spool)
        batch.spread(spool)
        there = jobs(spool)
        assert len(there) == (JOBS if "acknowledged" in told or there else 0), (calls, told, there)
        assert left_over(spool) == []
        outcomes[" ".join(told), len(there)] += 1
        if "over" in told:
            break

    if the_second:
        assert outcomes.keys() == {("refused", 0), ("acknowledged over", JOBS)}
        assert outcomes["refused", 0] > 6
    else:
        assert outcomes["", 0] > 20
        assert outcomes["acknowledged", JOBS] > 6
