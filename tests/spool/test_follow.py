"""Following a job to its end: woken by what concerns it, never misled by what does not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from forgather_spool.errors import NoSuchJob, WaitedLongEnough
from forgather_spool.job import State
from forgather_spool.spool.follow import Follower, finish_ending
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove
from tests import builders


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_a_follower_sees_a_job_through_all_its_states(spool: Spool) -> None:
    entry = builders.submitted(spool)
    with Follower(spool, entry[1]) as follower:
        assert follower.look() is State.WAITING
        builders.claimed(spool, entry)
        assert follower.look() is State.LAUNCHING
        spool.start(entry[1])
        assert follower.look() is State.RUNNING
        spool.write_result(entry[1], builders.a_result())
        assert follower.look() is State.ENDING
        spool.finish(entry, builders.HOST, builders.a_result()["ended_at"])
        assert follower.look() is State.DONE


def test_a_follower_wakes_when_the_job_ends(spool: Spool) -> None:
    entry = builders.running(spool)
    with Follower(spool, entry[1]) as follower:
        follower.look()
        ender = threading.Thread(target=builders.end, args=(spool, entry))
        ender.start()

        assert follower.wait_until_ended(time.monotonic() + 30) is State.DONE
        ender.join()


def test_other_jobs_wake_no_follower(spool: Spool) -> None:
    mine, other = builders.running(spool), builders.running(spool)
    with Follower(spool, mine[1]) as follower:
        follower.look()
        builders.end(spool, other)

        assert not any(follower._concerns(*event) for event in follower._watch.read())


def test_waiting_longer_than_asked_is_an_error_of_its_own(spool: Spool) -> None:
    entry = builders.running(spool)
    with Follower(spool, entry[1]) as follower, pytest.raises(WaitedLongEnough, match="still running"):
        follower.wait_until_ended(time.monotonic())


def test_a_job_removed_while_followed_is_no_job(spool: Spool) -> None:
    entry = builders.ended(spool)
    with Follower(spool, entry[1]) as follower:
        follower.look()
        remove(spool, locate(spool, entry[1]))
        with pytest.raises(NoSuchJob):
            follower.look()


def test_a_job_left_between_result_and_done_is_moved_on(spool: Spool, monkeypatch) -> None:
    """Its runner died after the result; whoever sees it takes the last step."""
    monkeypatch.setattr("forgather_spool.spool.follow.ENDING_PATIENCE_S", 0)
    entry = builders.ending(spool)
    with Follower(spool, entry[1]) as follower:
        assert follower.wait_until_ended(time.monotonic() + 30) is State.DONE


def test_a_result_cannot_send_a_job_to_another_folder(spool: Spool) -> None:
    entry = builders.running(spool)
    spool.write_result(entry[1], builders.a_result() | {"ended_at": "../../../x"})
    taken = locate(spool, entry[1])

    with pytest.raises(Exception, match="RFC 3339"):
        finish_ending(spool, taken)


def test_a_follower_sleeps_through_what_is_not_its_jobs(spool: Spool) -> None:
    mine, other = builders.running(spool), builders.running(spool)
    with Follower(spool, mine[1]) as follower:
        follower.look()
        builders.end(spool, other)

        follower.wait(0.05)
        assert follower._watch.read() == [], "it was woken, and slept on"
        follower.wait(0)

        assert follower.look() is State.RUNNING


def test_a_job_without_a_result_is_not_put_away(spool: Spool) -> None:
    entry = builders.running(spool)
    place = locate(spool, entry[1])

    finish_ending(spool, place)

    assert locate(spool, entry[1]) == place
