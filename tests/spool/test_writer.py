"""The second process that creates files: all are there, or its parent knows why not, and it never stays behind."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.errors import StorageFailed
from forgather_spool.spool.files import writer
from tests.spool.crashing import refused_after
from tests.waiting import wait_until

LARGE = b"x" * (3 * writer.CHUNK_BYTES)


@pytest.fixture(autouse=True)
def nobody_stays_behind() -> Iterator[None]:
    descriptors = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == descriptors
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def any_umask() -> Iterator[None]:
    before = os.umask(0o277)
    yield
    os.umask(before)


def the_child() -> int:
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text())


def test_files_are_whole_and_private_once_it_has_finished(tmp_path, any_umask):
    contents = {f"{i}-\udcff": f"{i}".encode() * i for i in range(500)} | {"empty": b"", "large": LARGE}
    second = writer.Writer(str(tmp_path))

    for name, data in contents.items():
        second.write(f"{tmp_path}/{name}", data)
    second.finish()

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_disk_that_is_full_is_told_and_no_file_comes_after_it(tmp_path):
    with refused_after(6, errno.ENOSPC):  # an open and a write each
        second = writer.Writer(str(tmp_path))
    for i in range(9):
        second.write(f"{tmp_path}/{i}", b"data")

    with pytest.raises(StorageFailed, match=f"^cannot write to {tmp_path}: No space left on device") as refused:
        second.finish()

    assert refused.value.hint.startswith("free some space")
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]


def test_a_full_disk_is_told_while_there_is_more_to_write(tmp_path):
    with refused_after(0, errno.EIO):
        second = writer.Writer(str(tmp_path))

    with pytest.raises(StorageFailed, match="Input/output error"):
        for i in range(1000):
            second.write(f"{tmp_path}/{i}", LARGE)

    second.stop()


def test_one_that_is_killed_has_not_finished(tmp_path):
    second = writer.Writer(str(tmp_path))
    second.write(f"{tmp_path}/a", b"data")

    os.kill(the_child(), signal.SIGKILL)

    with pytest.raises(StorageFailed, match="killed by signal 9"):
        second.finish()


def test_one_that_is_stopped_is_gone_and_stopping_it_again_is_fine(tmp_path):
    second = writer.Writer(str(tmp_path))
    second.write(f"{tmp_path}/a", LARGE)

    second.stop()
    second.stop()


def test_a_ctrl_c_is_for_the_parent_alone(tmp_path):
    """A terminal sends it to both; what becomes of the second one is the first one's to say."""
    second = writer.Writer(str(tmp_path))
    second.write(f"{tmp_path}/a", LARGE)
    wait_until((tmp_path / "a").exists)

    os.kill(the_child(), signal.SIGINT)
    second.write(f"{tmp_path}/b", LARGE)
    second.finish()

    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_whose_parent_is_dead_writes_nothing_more(tmp_path):
    """What the pipe holds still would come into a folder that a sweep removes at the same time."""
    reading, telling = os.pipe()
    parent = os.fork()
    if parent == 0:
        second = writer.Writer(str(tmp_path))
        os.kill(the_child(), signal.SIGSTOP)
        for i in range(3):
            second.write(f"{tmp_path}/{i}", LARGE[: writer.CHUNK_BYTES // 2])
        os.write(telling, str(the_child()).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(telling)
    os.waitpid(parent, 0)

    with open(reading, "rb") as pipe:
        os.kill(int(os.read(reading, 100)), signal.SIGCONT)
        pipe.read()  # its end: both are gone

    assert os.listdir(tmp_path) == []


def test_where_no_second_process_can_be_had_one_goes_on_alone(tmp_path, monkeypatch):
    def refused() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refused)

    assert writer.start(str(tmp_path)) is None


def test_whose_children_leave_no_exit_status_goes_on_alone(tmp_path):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert writer.start(str(tmp_path)) is None
    finally:
        signal.signal(signal.SIGCHLD, before)
