"""What inotify tells, and what is left where it tells nothing."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.spool.watch import CREATED, GONE, GROWN, Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.close()


def heard(watch: Watch) -> list[tuple[str, str, int]]:
    select.select([watch.fileno()], [], [], 10)
    return watch.read()


def test_a_file_that_appears_is_told_by_name(watch: Watch, tmp_path: Path) -> None:
    assert watch.add(str(tmp_path), CREATED)

    os.rename(_made(tmp_path.parent / "outside"), tmp_path / "a job.json")

    [(path, name, mask)] = heard(watch)
    assert (path, name) == (str(tmp_path), "a job.json")
    assert mask & CREATED


def test_a_file_that_leaves_is_told(watch: Watch, tmp_path: Path) -> None:
    job = _made(tmp_path / "job.json")
    watch.add(str(tmp_path), GONE)

    os.unlink(job)

    [(_, name, mask)] = heard(watch)
    assert name == "job.json" and mask & GONE


def test_a_name_that_is_no_text_survives(watch: Watch, tmp_path: Path) -> None:
    watch.add(str(tmp_path), GONE)
    hostile = os.fsencode(tmp_path) + b"/\xff\xfe\n"
    _made(Path(os.fsdecode(hostile)))

    os.unlink(hostile)

    assert heard(watch)[0][1] == os.fsdecode(b"\xff\xfe\n")


def test_a_directory_that_is_removed_is_watched_no_longer(watch: Watch, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    watch.add(str(folder), CREATED)

    folder.rmdir()

    heard(watch)
    assert str(folder) not in watch.paths()


def test_what_was_taken_off_is_not_told(watch: Watch, tmp_path: Path) -> None:
    log, other = _made(tmp_path / "log"), _made(tmp_path / "other")
    watch.add(str(log), GROWN)
    watch.add(str(other), GROWN)
    watch.remove(str(log))

    log.write_bytes(b"grown")
    other.write_bytes(b"grown")

    assert {path for path, _, _ in heard(watch)} == {str(other)}


def test_nothing_at_a_path_is_an_answer_and_no_error(watch: Watch, tmp_path: Path) -> None:
    assert not watch.add(str(tmp_path / "nowhere"), CREATED)


def test_without_instances_left_a_watch_is_silent_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user's 128 inotify instances may be used up: then everybody polls, and nobody crashes."""
    import ctypes

    class NoneLeft:
        inotify_add_watch = inotify_rm_watch = None

        @staticmethod
        def inotify_init1(flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: NoneLeft)
    watch = Watch()

    assert not watch.works
    assert not watch.add(str(tmp_path), CREATED)
    assert select.select([watch.fileno()], [], [], 0)[0] == []
    assert watch.read() == []
    watch.close()


def _made(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def test_events_that_the_kernel_lost_are_said_to_be_lost(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """inotify(7): a queue that is full ends with an event of no watch, with this mask."""
    lost = (-1).to_bytes(4, sys.byteorder, signed=True) + Watch.OVERFLOW.to_bytes(4, sys.byteorder) + bytes(8)
    answers = iter([lost])

    def read(fd: int, size: int) -> bytes:
        for answer in answers:
            return answer
        raise BlockingIOError

    monkeypatch.setattr(os, "read", read)

    assert watch.read() == [("", "", Watch.OVERFLOW)]


def test_what_was_heard_before_it_was_taken_off_is_not_told(watch: Watch, tmp_path: Path) -> None:
    watch.add(str(tmp_path), CREATED)
    (tmp_path / "x").touch()
    watch.remove(str(tmp_path))

    assert heard(watch) == []


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    watch = Watch()
    watch.close()
    watch.close()

    assert not watch.add(str(tmp_path), CREATED)
