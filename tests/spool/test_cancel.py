"""Many waiting jobs cancelled at once: as one by one, and whoever dies in between leaves none that could start."""

from __future__ import annotations

import os

import pytest

from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled
from forgather_spool.spool import batch, files
from forgather_spool.spool.cancel import FEW, cancel_many
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from tests import builders, file_system
from tests.spool.crashing import CHANGES, LOOKS, another_acts_after, dies_after

MANY = FEW + 4


def fresh_spool(tmp_path, name="home"):
    spool = Spool(str(tmp_path / name)).create()
    batch.submit_one(spool, {"argv": ["true"], "array": {"indexes": f"0-{MANY - 1}"}})
    return spool


def settle(spool):
    """What a dispatcher does with cancels that were interrupted."""
    for entry in spool.taken(CANCEL):
        spool.end_unstarted(entry, CANCEL, "a cancel that was interrupted")


def outcome(spool, job_id):
    return Result.from_document(files.read_document(spool.paths.result(job_id, 1))).outcome


@pytest.fixture
def spool(tmp_path):
    return fresh_spool(tmp_path)


def test_all_of_them_end_as_cancelled_and_are_done(spool):
    entries = spool.waiting()

    assert cancel_many(spool, entries, "anna") == [job_id for _, job_id in entries]

    assert spool.waiting() == spool.taken(CANCEL) == []
    assert {outcome(spool, job_id) for _, job_id in entries} == {Cancelled("anna")}
    assert {type(locate(spool, job_id)).__name__ for _, job_id in entries} == {"Ended"}
    assert os.listdir(spool.paths.tmp) == []


def test_one_that_was_claimed_meanwhile_runs_on(spool):
    spool.open_host("box")
    entries = spool.waiting()
    spool.claim(entries[3], "box")

    cancelled = cancel_many(spool, entries, "anna")

    assert cancelled == [job_id for _, job_id in entries if job_id != entries[3][1]]
    assert spool.taken("box") == [entries[3]]


def test_a_result_that_a_dispatcher_was_first_to_write_stands(spool):
    entries = spool.waiting()
    files.make_directory(spool.paths.job(entries[0][1]))
    spool.write_result(entries[0][1], {"version": 1, "outcome": {"kind": "cancelled", "by": "ben"}, "ended_at": NOW}, 1)

    cancel_many(spool, entries, "anna")

    assert outcome(spool, entries[0][1]) == Cancelled("ben")
    assert outcome(spool, entries[1][1]) == Cancelled("anna")


NOW = "2026-11-21T03:40:12.123456Z"


def test_where_files_cannot_have_two_names_the_results_are_copies(spool, monkeypatch):
    file_system.patch(monkeypatch, "link_new", lambda source, path: False)
    entries = spool.waiting()

    cancel_many(spool, entries, "anna")

    assert {outcome(spool, job_id) for _, job_id in entries} == {Cancelled("anna")}


def test_whoever_dies_in_between_leaves_each_job_waiting_or_cancelled(tmp_path):
    """Killed before each of its changes in turn; then a dispatcher comes."""
    for calls in range(1000):
        spool = fresh_spool(tmp_path, str(calls))
        entries = spool.waiting()
        over = []
        with dies_after(calls):
            cancel_many(spool, entries, "anna")
            over.append(True)

        settle(spool)

        waiting = {job_id for _, job_id in spool.waiting()}
        for _, job_id in entries:
            assert job_id in waiting or isinstance(outcome(spool, job_id), Cancelled)
        assert spool.taken(CANCEL) == []
        if over:
            break

    assert calls > 3 * MANY


def test_many_that_ran_before_and_wait_to_run_again_are_cancelled_in_their_attempt(tmp_path):
    spool = Spool(str(tmp_path / "home")).create()
    entries = [builders.waiting_again(spool, retries=2) for _ in range(FEW + 1)]

    assert sorted(cancel_many(spool, entries, "anna")) == sorted(job_id for _, job_id in entries)

    for _, job_id in entries:
        told = Result.from_document(files.read_document(spool.paths.result(job_id, 2)))
        assert told.outcome == Cancelled("anna")


def test_a_dispatcher_that_ends_interrupted_cancels_meanwhile_takes_nothing_from_them(tmp_path):
    """It sees jobs in running/@cancel/ without a result, and cannot know that one is on its way."""
    for calls in range(1000):
        spool = Spool(str(tmp_path / f"{calls}")).create()
        entries = [builders.submitted(spool) for _ in range(FEW + 1)]

        with another_acts_after(calls, lambda spool=spool: settle(spool), names=CHANGES | LOOKS) as interrupted:
            cancel_many(spool, entries, "anna")
        settle(spool)
        if not interrupted.has_acted:
            break

        assert sorted(place.job_id for place in ended_places(spool)) == sorted(job_id for _, job_id in entries), calls
        assert {type(outcome(spool, job_id)) for _, job_id in entries} == {Cancelled}
    assert calls > FEW
