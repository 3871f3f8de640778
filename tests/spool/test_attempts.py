"""A job that is run again: each attempt has its folder, and every reader means the current one."""

import os
from collections import Counter
from pathlib import Path

import pytest

from forgather_spool.job import State
from forgather_spool.spool import admit, attempts, files
from forgather_spool.spool.look import attempts_of, look
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove
from forgather_spool.spool.stop import Stopped, stop
from tests import builders
from tests.spool.crashing import dies_after

AGAIN = {"version": 1, "reason": "retry", "retries": 1, "after_outcome": {"kind": "exited", "exit_code": 7}}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_the_first_attempt_lies_in_the_jobs_own_folder(spool: Spool) -> None:
    entry = builders.running(spool, output=b"first\n")

    assert spool.attempt(entry[1]) == 1
    assert spool.paths.output(entry[1], 1) == f"{spool.paths.job(entry[1])}/output.log"


def test_what_happened_in_the_attempt_before_does_not_count_in_the_next(spool: Spool) -> None:
    """It has started and has a result there; here it is waiting as if it were new."""
    entry = builders.waiting_again(spool)

    assert spool.attempt(entry[1]) == 2
    assert look(spool, entry[1]).state is State.WAITING
    assert not spool.has_started(entry[1]) and not spool.has_result(entry[1])
    assert spool.has_started(entry[1], 1) and spool.has_result(entry[1], 1)


def test_each_attempt_keeps_its_claim_its_log_and_its_result(spool: Spool) -> None:
    entry = builders.waiting_again(spool, output=b"first\n")
    builders.ended(spool, entry, output=b"second\n")

    first, second = attempts_of(spool, entry[1])

    assert files.read_bytes(first.output_path) == b"first\n"
    assert files.read_bytes(second.output_path) == b"second\n"
    assert first.result is not None and first.result.document["outcome"] == {"kind": "exited", "exit_code": 7}
    assert look(spool, entry[1]).result == second.result != first.result
    assert first.claim is not None and second.claim is not None


def test_the_tenth_attempt_comes_after_the_ninth(spool: Spool) -> None:
    """Numbers, not names, are in order."""
    entry = builders.ending(spool)
    for attempt in range(2, 12):
        assert attempts.make(spool.paths, entry[1], attempt, AGAIN)

    assert attempts.numbers(spool.paths, entry[1]) == list(range(1, 12))


def test_names_that_are_no_attempt_of_ours_do_not_count(spool: Spool) -> None:
    entry = builders.ending(spool)
    for name in ("attempt-1", "attempt-0", "attempt-02", "attempt--3", "attempt-", "attempt-9999999999", "attempt-x"):
        os.mkdir(f"{spool.paths.job(entry[1])}/{name}")

    assert spool.attempt(entry[1]) == 1


def test_an_attempt_is_made_once(spool: Spool) -> None:
    """Of two who decide to run it again one does, and the other is told; nothing is left in tmp/."""
    entry = builders.ending(spool)

    assert attempts.make(spool.paths, entry[1], 2, AGAIN)
    assert not attempts.make(spool.paths, entry[1], 2, AGAIN | {"reason": "requeue"})

    found = attempts.again(spool.paths, entry[1], 2)
    assert found is not None and found["reason"] == "retry"
    assert files.names(spool.paths.tmp) == []


def test_wherever_its_maker_dies_an_attempt_that_is_there_says_why(tmp_path: Path) -> None:
    """Else it would not count, and a job with one retry would have two."""
    made = Counter()
    for calls in range(40):
        spool = Spool(str(tmp_path / str(calls))).create()
        entry = builders.ending(spool)

        with dies_after(calls):
            attempts.make(spool.paths, entry[1], 2, AGAIN)

        attempt = spool.attempt(entry[1])
        assert attempt == 1 or attempts.again(spool.paths, entry[1], attempt) is not None, calls
        made[attempt] += 1

    assert made[1] and made[2]


def test_a_half_made_attempt_of_a_dead_writer_is_swept(spool: Spool) -> None:
    dead = f"{spool.paths.tmp}/{os.uname().nodename.partition('.')[0]}.{2**22 + 1}.abc"
    os.mkdir(dead)
    builders.spool_file(f"{dead}/again.json", AGAIN)

    assert admit.sweep_tmp(spool) == 1
    assert files.names(spool.paths.tmp) == []


def test_a_job_that_waits_to_run_again_can_be_cancelled(spool: Spool) -> None:
    """The result is that of the attempt that never ran; the one before keeps its own."""
    entry = builders.waiting_again(spool)

    assert stop(spool, entry[1], "anna") is Stopped.CANCELLED

    job = look(spool, entry[1])
    assert job.state is State.DONE and job.attempt == 2
    assert job.result is not None and job.result.document["outcome"] == {"kind": "cancelled", "by": "anna"}
    assert attempts_of(spool, entry[1])[0].result is not None


def test_a_stop_is_for_the_attempt_that_runs(spool: Spool) -> None:
    entry = builders.waiting_again(spool)
    builders.running(spool, entry)

    assert stop(spool, entry[1], "anna") is Stopped.ASKED

    assert spool.asked_to_stop_by(entry[1], 1) is None
    assert spool.asked_to_stop_by(entry[1], 2) == "anna"


def test_removing_a_job_removes_every_attempt(spool: Spool) -> None:
    entry = builders.waiting_again(spool)
    builders.ended(spool, entry)
    place = locate(spool, entry[1])

    remove(spool, place)

    assert not os.path.exists(spool.paths.job(entry[1]))


def test_an_attempt_without_a_word_of_why_has_none(spool: Spool) -> None:
    job_id = builders.running(spool)[1]
    os.mkdir(spool.paths.attempt(job_id, 2))

    assert attempts.again(spool.paths, job_id, 2) is None
    assert attempts.again(spool.paths, job_id, 1) is None
