"""Waiting for several jobs: each end is told once, whatever was heard of it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from forgather_spool.errors import NoSuchJob
from forgather_spool.spool import files
from forgather_spool.spool.ends import Ends
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from forgather_spool.spool.remove import remove
from forgather_spool.spool.watch import Watch
from tests import builders

FOR_LONG_S = 30


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def by(seconds: float = FOR_LONG_S) -> float:
    return time.monotonic() + seconds


def test_what_has_ended_is_told_at_once_and_the_rest_as_it_ends(spool: Spool) -> None:
    first, second, third = builders.ended(spool), builders.running(spool), builders.submitted(spool)
    with Ends(spool, [third[1], second[1], first[1]]) as ends:
        assert ends.next(by()) == [first[1]]

        threading.Timer(0.05, lambda: builders.end(spool, second)).start()
        assert ends.next(by()) == [second[1]]
        threading.Timer(0.05, lambda: spool.cancel_waiting(third, "me")).start()
        assert ends.next(by()) == [third[1]]

        assert ends.next(by()) == []


def test_the_deadline_ends_the_wait_and_nothing_else(spool: Spool) -> None:
    entry = builders.running(spool)
    with Ends(spool, [entry[1]]) as ends:
        assert ends.next(by(0.05)) == []
        assert list(ends.left) == [entry[1]]


def test_without_inotify_it_takes_a_moment_longer(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "add", lambda *_: False)
    monkeypatch.setattr("forgather_spool.spool.ends.GLANCE_S", 0.02)
    entry = builders.running(spool)
    with Ends(spool, [entry[1]]) as ends:
        threading.Timer(0.05, lambda: builders.end(spool, entry)).start()

        assert ends.next(by()) == [entry[1]]


def test_a_job_that_is_set_aside_has_ended(spool: Spool) -> None:
    entry = builders.submitted(spool)
    with Ends(spool, [entry[1]]) as ends:
        path = spool.paths.queued(entry[1], 0)
        threading.Timer(0.05, lambda: reject(spool, path, "damaged")).start()

        assert ends.next(by()) == [entry[1]]


def test_a_job_that_is_removed_is_an_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forgather_spool.spool.ends.LOOK_S", 0.02)
    gone = builders.ended(spool)
    remove(spool, locate(spool, gone[1]))

    with Ends(spool, [gone[1]]) as ends, pytest.raises(NoSuchJob):
        ends.next(by())


def test_one_left_between_its_result_and_done_is_moved_on(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runner died there, and no dispatcher is awake."""
    monkeypatch.setattr("forgather_spool.spool.ends.GLANCE_S", 0.02)
    entry = builders.ending(spool)
    with Ends(spool, [entry[1]]) as ends:
        assert ends.next(by()) == [entry[1]]
    assert files.names(spool.paths.running_on(builders.HOST)) == []


def test_a_hundred_jobs_take_one_inotify_instance(spool: Spool) -> None:
    """A user has 128."""
    entries = [builders.running(spool) for _ in range(100)]
    before = len(os.listdir("/proc/self/fd"))
    with Ends(spool, [entry[1] for entry in entries]) as ends:
        assert ends.next(by(0.01)) == []
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_events_that_were_lost_are_made_up_for_by_a_look(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.ended(spool)  # the day's folder is there
    mine, other = builders.running(spool), builders.running(spool)
    read = Watch.read

    def lose(watch: Watch) -> list[tuple[str, str, int]]:
        monkeypatch.setattr(Watch, "read", read)
        builders.end(spool, mine)
        read(watch)
        return [("", "", Watch.OVERFLOW)]

    with Ends(spool, [mine[1]]) as ends:
        assert ends.next(by(0)) == []
        monkeypatch.setattr(Watch, "read", lose)
        builders.end(spool, other)

        assert ends.next(by()) == [mine[1]]


def test_the_ends_of_others_are_none(spool: Spool) -> None:
    builders.ended(spool)  # the day's folder is there
    mine, other = builders.running(spool), builders.running(spool)
    with Ends(spool, [mine[1]]) as ends:
        assert ends.next(by(0)) == []
        builders.end(spool, other)

        assert ends.next(by(0.05)) == []
        assert list(ends.left) == [mine[1]]


def test_one_that_moves_while_all_are_looked_at_has_not_ended(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back after the queue was read and before running/ was: it is in neither list."""
    entry = builders.submitted(spool)
    monkeypatch.setattr(Spool, "waiting", lambda spool: [])

    with Ends(spool, [entry[1]]) as ends:
        assert ends.next(by(0)) == []
