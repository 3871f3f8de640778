"""What is seen of a job: where it stands, what its files say, and which of them cannot be read."""

from __future__ import annotations

import errno
import os
from itertools import islice
from pathlib import Path

import pytest

from forgather_spool.errors import NoSuchJob, StorageFailed
from forgather_spool.job import State
from forgather_spool.outcome import Exited
from forgather_spool.spool import ended, families, files, place
from forgather_spool.spool import look as look_module
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.look import find, look, read_all, why_rejected
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import (
    active_places,
    locate,
    rejected_places,
    waiting_places,
)
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject
from tests import builders, file_system
from tests.waiting import wait_until


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (builders.submitted, State.WAITING),
        (builders.held, State.HELD),
        (builders.taken, State.LAUNCHING),
        (builders.claimed, State.LAUNCHING),
        (builders.running, State.RUNNING),
        (builders.ending, State.ENDING),
        (builders.ended, State.DONE),
    ],
)
def test_a_jobs_state_is_where_it_lies_and_which_files_stand(spool: Spool, make, state: State) -> None:
    """The rows of the state table."""
    entry = make(spool, priority=3)

    job = look(spool, entry[1])

    assert (job.state, job.priority, job.problem) == (state, 3, None)


def test_of_an_ended_job_everything_is_told(spool: Spool) -> None:
    entry = builders.ended(spool, outcome={"kind": "exited", "exit_code": 3}, cards=(1,), name="run", priority=5)

    job = look(spool, entry[1])

    assert job.spec and job.spec.name == "run"
    assert job.claim and job.claim.gpus[0].index == 1
    assert job.result and job.result.outcome == Exited(3)
    assert job.host == builders.HOST
    assert job.started_at == job.result.started_at


def test_a_job_being_cancelled_is_ending_and_on_no_host(spool: Spool) -> None:
    entry = builders.submitted(spool)
    os.rename(spool.paths.queued(entry[1], 0), spool.paths.taken(CANCEL, entry[1], 0))

    job = look(spool, entry[1])

    assert (job.state, job.host) == (State.ENDING, None)


@pytest.mark.parametrize("which", ["started", "result", "process"])
def test_a_damaged_file_is_named_and_never_shown_as_empty(spool: Spool, which: str) -> None:
    entry = builders.ended(spool)
    path = getattr(spool.paths, which)(entry[1], 1)
    builders.damage(path)

    job = look(spool, entry[1])

    assert job.problem and path in job.problem
    assert job.state is State.DONE and job.spec is not None


def test_a_fifo_in_place_of_a_spec_hangs_nobody(spool: Spool) -> None:
    entry = builders.submitted(spool)
    path = spool.paths.queued(entry[1], 0)
    os.unlink(path)
    os.mkfifo(path)

    job = look(spool, entry[1])

    assert job.spec is None and job.problem and "not a regular file" in job.problem


def test_an_ended_job_without_a_result_says_so(spool: Spool) -> None:
    entry = builders.ended(spool)
    os.unlink(spool.paths.result(entry[1], 1))

    assert "result.json" in (look(spool, entry[1]).problem or "")


def test_a_job_that_goes_back_to_the_queue_is_found_all_the_same(spool: Spool, monkeypatch) -> None:
    """It moves backwards just after we looked at the queue: the next look finds it."""
    entry = builders.taken(spool)
    real = place._taken
    moves = iter([lambda: spool.put_back(entry, builders.HOST)])

    def taken_after_a_move(spool: Spool, job_id: str):
        next(moves, lambda: None)()
        return real(spool, job_id)

    monkeypatch.setattr(place, "_taken", taken_after_a_move)

    assert look(spool, entry[1]).state is State.WAITING


def test_a_job_that_ends_between_finding_and_reading_is_read_where_it_is(spool: Spool, monkeypatch) -> None:
    from forgather_spool.spool import look as looking

    entry = builders.running(spool)
    moves = iter([lambda: builders.end(spool, entry)])

    def locate_then_move(spool: Spool, job_id: str):
        found = locate(spool, job_id)
        next(moves, lambda: None)()
        return found

    monkeypatch.setattr(looking, "locate", locate_then_move)

    assert look(spool, entry[1]).state is State.DONE


@pytest.mark.parametrize("make", [builders.submitted, builders.running, builders.ended])
def test_a_job_is_found_by_its_id_without_a_look_through_all_that_wait(spool: Spool, make, monkeypatch) -> None:
    """Each look through 100,000 names costs as much as the rest of `job status`."""
    job_id = make(spool)[1]
    listed = []
    names = files.names
    monkeypatch.setattr(files, "names", lambda path: listed.append(path) or names(path))

    assert families.find_all(spool, [job_id]) == [job_id]
    assert look(spool, job_id).problem is None
    assert spool.paths.queue not in listed


def test_a_rejected_job_says_why(spool: Spool) -> None:
    entry = builders.submitted(spool)
    reject(spool, spool.paths.queued(entry[1], 0), "$.argv: is required")

    job = look(spool, entry[1])

    assert (job.state, job.problem) == (State.REJECTED, "$.argv: is required")


def test_a_job_is_found_by_id_by_beginning_and_by_name(spool: Spool) -> None:
    entry = builders.submitted(spool, name="night run")

    assert find(spool, entry[1]) == find(spool, entry[1][:-1]) == find(spool, "night run") == entry[1]


def test_a_rejected_file_is_found_by_its_name(spool: Spool) -> None:
    dropped = Path(spool.paths.incoming, "mine.json")
    dropped.write_text("{")
    reject(spool, str(dropped), "$: not JSON")

    job = look(spool, find(spool, "mine.json"))

    assert (job.state, job.problem) == (State.REJECTED, "$: not JSON")


def test_an_empty_text_is_no_job_even_where_one_has_an_empty_name(spool: Spool) -> None:
    """`forgather job kill "$JOB"` with JOB unset must stop nothing."""
    builders.submitted(spool, name="")

    with pytest.raises(NoSuchJob):
        find(spool, "")


def test_of_several_of_one_name_the_latest_that_goes_on_is_meant(spool: Spool) -> None:
    going_on = builders.running(spool, name="run")
    later_but_ended = builders.ended(spool, name="run")

    assert find(spool, "run") == going_on[1]
    builders.end(spool, going_on)
    assert find(spool, "run") in (going_on[1], later_but_ended[1])


def test_a_beginning_of_several_ids_lists_them(spool: Spool) -> None:
    ids = [builders.submitted(spool)[1] for _ in range(2)]

    with pytest.raises(NoSuchJob) as caught:
        find(spool, "q_1")

    assert all(job_id in str(caught.value) for job_id in ids)


@pytest.mark.parametrize("text", ["", "q", "no such", "q_1738012412345_a1b2c3d4", "../../etc/passwd", "\x1b[2J"])
def test_what_means_no_job_is_an_error(spool: Spool, text: str) -> None:
    builders.submitted(spool)

    with pytest.raises(NoSuchJob):
        find(spool, text)


def test_lists_open_only_the_files_of_the_rows_asked_for(spool: Spool) -> None:
    """10,000 damaged specs behind the first two cost nothing."""
    first, second, third = (builders.submitted(spool) for _ in range(3))
    os.unlink(spool.paths.queued(third[1], 0))
    os.mkfifo(spool.paths.queued(third[1], 0))

    rows = list(islice(read_all(spool, waiting_places(spool)), 2))

    assert [job.job_id for job in rows] == [first[1], second[1]]
    assert all(job.problem is None for job in rows)


def test_a_spec_that_vanishes_after_listing_is_left_out(spool: Spool) -> None:
    gone, stays = builders.submitted(spool), builders.submitted(spool)
    places = waiting_places(spool)
    spool.cancel_waiting(gone, "test")

    assert [job.job_id for job in read_all(spool, places)] == [stays[1]]


def test_what_ended_last_comes_first(spool: Spool) -> None:
    first = builders.running(spool)
    second = builders.ended(spool)
    wait_until(lambda: _changed_at_now(spool) > os.lstat(locate(spool, second[1]).path).st_ctime_ns)
    builders.end(spool, first)

    assert [ended.job_id for ended in ended_places(spool)] == [first[1], second[1]]


def _changed_at_now(spool: Spool) -> int:
    """The file system's own clock, which moves in steps of milliseconds."""
    probe = Path(spool.paths.tmp, "probe")
    probe.write_bytes(b"")
    return probe.stat().st_ctime_ns


def test_active_jobs_of_all_hosts_are_listed(spool: Spool) -> None:
    here, there = builders.running(spool), builders.running(spool, host="other")

    assert {(taken.job_id, taken.host) for taken in active_places(spool)} == {(here[1], "box"), (there[1], "other")}


def test_strangers_in_any_folder_are_no_jobs(spool: Spool) -> None:
    for folder in (spool.paths.queue, spool.paths.done, spool.paths.running, spool.paths.jobs):
        Path(folder, "README").write_text("hello")
    Path(spool.paths.rejected, "x.json").write_text("{")

    assert waiting_places(spool) == active_places(spool) == list(ended_places(spool)) == []
    assert [rejected.job_id for rejected in rejected_places(spool)] == ["x.json"]


def test_a_day_on_which_too_many_ended_leads_with_those_submitted_last(spool: Spool, monkeypatch) -> None:
    """Who asks exactly is told exactly; nobody is left out either way."""
    first, second, third = (builders.ended(spool)[1] for _ in range(3))
    ended_at = {f"{job_id}.json": at for at, job_id in enumerate((third, second, first))}
    monkeypatch.setattr(ended, "_changed_at", lambda name, fd: ended_at[name])
    monkeypatch.setattr(ended, "ORDERED_AT_MOST", 2)

    assert [found.job_id for found in ended.ended_places(spool)] == [first, second, third]
    assert [found.job_id for found in ended.ended_places(spool, exact=False)] == [second, third, first]


def test_a_million_ended_jobs_are_not_counted_for_the_first_screen(spool: Spool) -> None:
    for _ in range(3):
        builders.ended(spool)

    assert ended.ended_count(spool) == 3
    assert ended.ended_count(spool, at_most=3) == 3
    assert ended.ended_count(spool, at_most=2) is None


def test_a_name_that_a_file_spells_with_an_escape_is_found(spool: Spool) -> None:
    """Whether a file has a name is told from its bytes only where they can hold it in one way."""
    _, job_id = builders.submitted(spool)
    Path(spool.paths.queued(job_id, 0)).write_text('{"argv": ["true"], "name": "caf\\u00e9"}')

    assert find(spool, "café") == job_id


def test_of_a_million_ended_jobs_the_names_of_the_last_are_read_and_it_is_said(spool: Spool, monkeypatch) -> None:
    monkeypatch.setattr(look_module, "NAMES_READ", 2)
    early, *late = [builders.ended(spool, name=name)[1] for name in ("early", "late", "later")]

    assert find(spool, "late") == late[0]
    with pytest.raises(NoSuchJob, match="the names of the last 2 were read") as caught:
        find(spool, "early")
    assert "give its id" in caught.value.hint
    assert find(spool, early) == early


def test_a_job_that_is_nowhere_is_no_job(spool: Spool) -> None:
    with pytest.raises(NoSuchJob):
        look(spool, "q_1738012412345_a1b2c3d4")


def test_a_job_that_is_gone_each_time_it_is_read_is_no_job(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = builders.submitted(spool)[1]

    def gone(*args: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("forgather_spool.spool.look.read", gone)

    with pytest.raises(NoSuchJob):
        look(spool, job_id)


def test_a_rejected_file_says_what_is_known_of_why(spool: Spool) -> None:
    Path(spool.paths.rejected, "mine.json").write_text("{")
    [place] = rejected_places(spool)
    assert why_rejected(place) == "rejected; its .why is not there"

    os.symlink("/etc/passwd", place.why_path)
    assert "is a symbolic link" in why_rejected(place)


def test_a_name_is_found_past_a_spec_that_cannot_be_read(spool: Spool) -> None:
    builders.damage(f"{spool.paths.queue}/{builders.submitted(spool)[1]}.p0.json", b'{"name": "mine"')
    job_id = builders.submitted(spool, name="mine")[1]

    assert find(spool, "mine") == job_id


def test_a_start_that_says_no_time_is_a_problem_of_that_file(spool: Spool) -> None:
    job_id = builders.running(spool)[1]
    builders.spool_file(spool.paths.process(job_id, 1), {"version": 1, "started_at": 3})

    assert "started_at" in (look(spool, job_id).problem or "")


def test_of_a_day_only_what_is_asked_for_is_found(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = builders.ended(spool)[1]
    builders.ended(spool)

    assert [place.job_id for place in ended.ended_among(spool, frozenset({job_id}))] == [job_id]
    monkeypatch.setattr(ended, "ended_days", lambda spool: pytest.fail("nobody was asked for"))
    assert list(ended.ended_among(spool, frozenset())) == []


def test_one_removed_while_a_day_is_put_in_order_is_found_out_when_it_is_read(spool: Spool, monkeypatch) -> None:
    first, second = builders.ended(spool), builders.ended(spool)
    names = files.names
    file_system.patch(monkeypatch, "names", lambda path: [*names(path), "q_1738012412345_a1b2c3d4.json"])

    found = {place.job_id for place in ended_places(spool)}

    assert found == {first[1], second[1], "q_1738012412345_a1b2c3d4"}
    assert {job.job_id for job in read_all(spool, ended_places(spool))} == {first[1], second[1]}


def test_a_day_that_cannot_be_looked_into_is_no_empty_day(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.ended(spool)
    really_open = os.open

    def refuse(path, flags, *more, **named):
        if flags & os.O_DIRECTORY:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(StorageFailed, match="look into"):
        list(ended_places(spool))
