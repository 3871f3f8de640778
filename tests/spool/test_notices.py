"""An end that is to be told is noted before the job is done, so that no crash forgets it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.errors import StorageFailed
from forgather_spool.spool import files, notices, settings
from forgather_spool.spool.place import Queued, Taken, locate
from forgather_spool.spool.queue import Spool, utc_now
from tests import builders, file_system

FAILED = {"kind": "exited", "exit_code": 1}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def owed(spool: Spool) -> list[str]:
    return [job_id for job_id, _ in notices.pending(spool.paths, builders.HOST)]


def test_a_job_that_wants_nobody_told_leaves_nothing(spool: Spool) -> None:
    builders.ended(spool)

    assert files.names(spool.paths.notices) == []


def test_every_way_to_end_owes_it(spool: Spool) -> None:
    """By its runner, cancelled while it waited, and by a cancel that somebody else completes."""
    ran = builders.ended(spool, notify=["desktop"])
    cancelled = builders.submitted(spool, notify=["desktop"])
    spool.cancel_waiting(cancelled, "me")
    interrupted = builders.submitted(spool, notify=["desktop"])
    files.move(spool.paths.queued(interrupted[1], 0), spool.paths.taken("@cancel", interrupted[1], 0))  # and died there
    spool.end_unstarted(interrupted, "@cancel", "me")

    assert owed(spool) == [ran[1], cancelled[1], interrupted[1]]


@pytest.mark.parametrize(
    ("outcome", "is_told"),
    [
        ({"kind": "exited", "exit_code": 0}, False),
        (FAILED, True),
        ({"kind": "cancelled", "by": "me"}, False),
        ({"kind": "lost", "reason": "x"}, True),
        ({"kind": "refused", "reason": "x"}, True),
        ({"kind": "timed_out", "limit_s": 1.0}, True),
    ],
)
def test_on_failure_is_not_told_of_success_or_a_cancel(spool: Spool, outcome, is_told) -> None:
    builders.ended(spool, outcome=outcome, notify=["desktop"], notify_on="failure")

    assert bool(owed(spool)) == is_told


def test_the_settings_speak_for_jobs_that_say_nothing(spool: Spool) -> None:
    settings.change_dispatch(spool.paths, notify=["desktop"], notify_on="failure")
    silent, opted_out = (builders.ended(spool, outcome=FAILED, **spec) for spec in ({}, {"notify": ["none"]}))

    assert owed(spool) == [silent[1]]
    assert opted_out[1] not in owed(spool)


def test_settings_that_cannot_be_read_owe_it_until_they_are_mended(spool: Spool) -> None:
    builders.damage(spool.paths.dispatch)
    entry = builders.ended(spool)

    assert owed(spool) == [entry[1]]


def test_a_result_that_cannot_be_read_counts_as_a_failure(spool: Spool) -> None:
    entry = builders.ending(spool, notify=["desktop"], notify_on="failure")
    builders.damage(spool.paths.result(entry[1], 1))

    spool.finish(entry, builders.HOST, utc_now())

    assert owed(spool) == [entry[1]]


def test_a_job_is_not_done_before_its_telling_is_noted(spool: Spool, monkeypatch) -> None:
    """On a disk that takes no mark it stays where it is; whoever comes again does both."""
    entry = builders.ending(spool, notify=["desktop"])
    with monkeypatch.context() as full:

        def no_space(path: str) -> None:
            raise StorageFailed(f"cannot create {path}: No space left on device")

        full.setattr(files, "mark", no_space)
        with pytest.raises(StorageFailed):
            spool.finish(entry, builders.HOST, utc_now())
    assert isinstance(locate(spool, entry[1]), Taken)

    spool.finish(entry, builders.HOST, utc_now())

    assert owed(spool) == [entry[1]]


def test_a_home_of_an_older_version_gets_the_folder_with_its_first_mark(spool: Spool) -> None:
    assert not os.path.exists(spool.paths.notices)

    builders.ended(spool, notify=["desktop"])

    assert len(os.listdir(spool.paths.notices)) == 1


def test_another_hosts_jobs_are_its_own_to_tell(spool: Spool) -> None:
    theirs = builders.ended(spool, host="attic", notify=["desktop"])
    cancelled = builders.submitted(spool, notify=["desktop"])
    assert isinstance(locate(spool, cancelled[1]), Queued)
    spool.cancel_waiting(cancelled, "me")

    assert owed(spool) == [cancelled[1]]
    assert [job_id for job_id, _ in notices.pending(spool.paths, "attic")] == [theirs[1], cancelled[1]]


def test_how_telling_went_is_written_once_and_in_order(spool: Spool) -> None:
    entry = builders.ended(spool, notify=["desktop"])
    for number in (10, 2, 0):
        record = {"version": 1, "target": f"t{number}", "problem": None, "tries": 1, "ended_at": utc_now()}
        notices.note_told(spool.paths, entry[1], number, record)
    notices.note_told(spool.paths, entry[1], 2, {"version": 1, "target": "late", "ended_at": utc_now()})
    builders.damage(spool.paths.told(entry[1], 0))

    told = notices.told(spool.paths, entry[1])

    assert [one["target"] for one in told] == ["notified-0.json", "t2", "t10"]
    assert "notified-0.json" in str(told[0]["problem"])


def test_a_job_removed_meanwhile_gets_no_folder_back(spool: Spool) -> None:
    notices.note_told(spool.paths, "q_1738012412345_a1b2c3d4", 0, {"version": 1})

    assert files.names(spool.paths.jobs) == []


def test_what_was_told_is_removed_with_its_job_while_one_reads(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = builders.running(spool)
    notices.note_told(spool.paths, entry[1], 0, {"version": 1, "at": utc_now()})
    names = files.names
    file_system.patch(monkeypatch, "names", lambda path: [*names(path), "notified-7.json"])

    assert len(notices.told(spool.paths, entry[1])) == 1


def test_a_result_without_an_outcome_counts_as_a_failure(spool: Spool) -> None:
    entry = builders.running(spool, notify=["desktop"], notify_on="failure")
    builders.spool_file(spool.paths.result(entry[1], 1), {"version": 1, "outcome": "fine"})

    spool.finish(entry, builders.HOST, utc_now())

    assert owed(spool) == [entry[1]]
