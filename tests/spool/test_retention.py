"""Which ended jobs may go. Whatever the limits, nothing goes that a living job needs."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from forgather_spool.errors import StorageFailed
from forgather_spool.spool import files, order
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove, sweep_removed
from forgather_spool.spool.retention import (
    BrokenOff,
    Retention,
    every_spec,
    outdated,
    size_bytes,
    specs_of_the_living,
)
from tests import builders
from tests.spool.crashing import killed_at

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def ended(spool: Spool, days_ago: float, outcome: dict[str, Any] | None = None, output: bytes = b"") -> str:
    """A job that ended so long before NOW."""
    at = (NOW - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    entry: Entry = builders.running(spool, output=output)
    result = builders.a_result(outcome) | {"started_at": at, "ended_at": at}
    assert spool.write_result(entry[1], result)
    spool.finish(entry, builders.HOST, at)
    return entry[1]


def gone(spool: Spool, **limits: Any) -> list[str]:
    return [place.job_id for place in outdated(spool, Retention(**limits), NOW)]


def days(number: float) -> float:
    return number * 86400


def test_by_age_those_go_that_ended_before_the_oldest_first(spool: Spool) -> None:
    old, older, new = ended(spool, 10), ended(spool, 20), ended(spool, 1)

    assert gone(spool, older_than_s=days(5)) == [older, old]
    assert gone(spool) == [older, old, new]


def test_age_is_told_to_the_second_on_the_cutoffs_own_day(spool: Spool) -> None:
    before, after = ended(spool, 1.1), ended(spool, 0.9)

    assert gone(spool, older_than_s=days(1)) == [before]
    assert gone(spool, older_than_s=days(0.5)) == [before, after]


def test_the_last_n_stay_however_old(spool: Spool) -> None:
    oldest, older, old = ended(spool, 30), ended(spool, 20), ended(spool, 10)

    assert gone(spool, keep=2) == [oldest]
    assert gone(spool, keep=1, older_than_s=days(5)) == [oldest, older]
    assert gone(spool, keep=3, older_than_s=days(5)) == []
    assert gone(spool, keep=0) == [oldest, older, old]


def test_by_size_the_oldest_go_until_the_rest_fits(spool: Spool) -> None:
    oldest, older, newest = (ended(spool, ago, output=os.urandom(200_000)) for ago in (3, 2, 1))
    one = size_bytes(spool, newest)

    assert one >= 200_000
    assert gone(spool, max_bytes=3 * one + 4096 * 16) == []
    assert gone(spool, max_bytes=2 * one + 4096 * 4) == [oldest]
    assert gone(spool, max_bytes=0) == [oldest, older, newest]


def test_only_such_outcomes_as_asked_for(spool: Spool) -> None:
    ok = ended(spool, 4)
    failed = ended(spool, 3, {"kind": "exited", "exit_code": 2})
    lost = ended(spool, 2, {"kind": "lost", "reason": "reboot"})
    cancelled = ended(spool, 1, {"kind": "cancelled", "by": "anna"})

    assert gone(spool, outcomes=frozenset({"ok"})) == [ok]
    assert gone(spool, outcomes=frozenset({"failed"})) == [failed, lost]
    assert gone(spool, outcomes=frozenset({"lost", "cancelled"})) == [lost, cancelled]
    assert gone(spool, outcomes=frozenset({"failed"}), keep=1) == [failed]


def test_one_whose_result_is_damaged_has_no_outcome_and_goes_with_its_day(spool: Spool) -> None:
    job_id = ended(spool, 3)
    builders.damage(spool.paths.result(job_id, 1))

    assert gone(spool, outcomes=frozenset({"ok", "failed"})) == []
    assert gone(spool, older_than_s=days(1)) == [job_id]


@pytest.mark.parametrize("state", ["waiting", "held", "dropped", "launching", "between attempts"])
def test_what_a_living_job_comes_after_stays(spool: Spool, state: str) -> None:
    needed, other = ended(spool, 3), ended(spool, 2)
    after = [{"job": needed, "when": "any"}]
    if state == "waiting":
        builders.submitted(spool, after=after)
    elif state == "dropped":
        document = {"argv": ["true"], "after": after}
        files.write_once(f"{spool.paths.incoming}/x.json", document, spool.paths.tmp)
    elif state == "held":
        builders.held(spool, after=after)
    elif state == "between attempts":
        builders.waiting_again(spool, after=after)
    else:
        builders.claimed(spool, after=after)

    assert gone(spool) == [other]
    assert gone(spool, max_bytes=0) == [other]


def test_every_member_of_an_array_that_a_job_comes_after_stays(spool: Spool) -> None:
    """Its end is known from its members' ends; with one of them gone, it would be another array that ended."""
    family = spool.submit({"argv": ["true"], "array": {"indexes": "0-2"}})
    for entry in spool.waiting():
        builders.ended(spool, entry)
    other = ended(spool, 2)
    builders.submitted(spool, after=[{"job": family, "when": "ok"}])

    assert gone(spool) == [other]


@pytest.mark.parametrize("way", ["hold", "release"])
def test_a_job_that_is_held_or_released_while_one_looks_is_met(spool: Spool, way: str) -> None:
    needed = ended(spool, 3)
    make, turn = {"hold": (builders.submitted, order.hold), "release": (builders.held, order.release)}[way]
    entry = make(spool, after=[{"job": needed, "when": "any"}])

    found = []
    for path in specs_of_the_living(spool):
        found.append(path)
        if len(found) == 1:
            turn(spool, [entry])

    assert os.path.exists(found[-1])


def test_the_living_are_never_looked_at(spool: Spool) -> None:
    for make in (builders.submitted, builders.taken, builders.claimed, builders.running, builders.ending):
        make(spool)

    assert gone(spool) == []
    assert gone(spool, max_bytes=0) == []


def test_somebody_elses_folder_in_done_is_left_alone(spool: Spool) -> None:
    stranger = Path(spool.paths.done, "my notes")
    stranger.mkdir()
    (stranger / "ideas.json").write_text("{}")

    assert gone(spool) == []
    assert gone(spool, older_than_s=0) == []


def test_who_has_something_better_to_do_may_break_off(spool: Spool) -> None:
    ended(spool, 1)
    with pytest.raises(BrokenOff):
        outdated(spool, Retention(), NOW, go_on=lambda: False)


def test_a_removal_that_was_killed_between_any_two_steps_is_finished_by_the_next(spool: Spool) -> None:
    """Killed before each system call of the removal in turn; the next cleanup leaves no trace of the job."""
    for step in range(40):
        ended(spool, 1, output=b"x")
        (place,) = outdated(spool, Retention(), NOW)
        os.mkdir(f"{spool.paths.job(place.job_id)}/attempt-2")
        if not killed_at(step, ("rename", "unlink", "rmdir", "fsync"), lambda place=place: remove(spool, place)):
            assert step > 5
            return

        for again in outdated(spool, Retention(), NOW):
            remove(spool, again)
        sweep_removed(spool)

        assert os.listdir(spool.paths.jobs) == []
    raise AssertionError("the removal never came to its end")


@settings(max_examples=25, deadline=None)
@given(
    ages=some.lists(some.integers(0, 50), max_size=6),
    keep=some.integers(0, 4),
    older=some.none() | some.integers(0, 60),
)
def test_the_kept_are_the_latest_and_the_gone_are_old_enough(ages, keep, older, tmp_path_factory) -> None:
    spool = Spool(str(tmp_path_factory.mktemp("spool") / "home")).create()
    age_of = {ended(spool, age): age for age in ages}

    found = gone(spool, keep=keep, older_than_s=None if older is None else days(older))

    stays = [age for job_id, age in age_of.items() if job_id not in found]
    assert len(stays) >= min(keep, len(ages))
    assert all(age_of[job_id] >= (older or 0) for job_id in found)
    assert all(age_of[job_id] >= max(sorted(stays)[:keep], default=0) for job_id in found)
    assert [age_of[job_id] for job_id in found] == sorted((age_of[job_id] for job_id in found), reverse=True)


def test_when_a_job_ended_cannot_be_told_nothing_is_removed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails for a moment must not make the latest look like the oldest."""
    *_, latest = [ended(spool, days_ago=0) for _ in range(3)]
    stat = os.stat

    def fails(path: Any, **how: Any) -> os.stat_result:
        if str(path).startswith(latest):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", fails)

    with pytest.raises(StorageFailed):
        gone(spool, keep=1)


def test_a_living_job_whose_spec_is_damaged_spares_nothing_and_stops_nothing(spool: Spool) -> None:
    old = ended(spool, 10)
    builders.damage(f"{spool.paths.queue}/{builders.submitted(spool)[1]}.p0.json", b'"after" {')
    odd = builders.submitted(spool)[1]
    builders.damage(f"{spool.paths.queue}/{odd}.p0.json", b'{"after": [3], "argv": ["true"]}')

    assert gone(spool, older_than_s=days(5)) == [old]
    assert len(list(every_spec(spool))) == 3


def test_an_age_before_all_time_spares_everything(spool: Spool) -> None:
    ended(spool, 10_000)

    assert gone(spool, older_than_s=1e15) == []


def test_what_lies_in_a_day_that_is_none_is_left_alone(spool: Spool) -> None:
    job_id = ended(spool, 10)
    [place] = ended_places(spool)
    os.rename(os.path.dirname(place.path), f"{spool.paths.done}/2026-02-30")

    assert gone(spool, older_than_s=days(5)) == []
    assert [place.job_id for place in ended_places(spool)] == [job_id]


def test_a_spec_that_cannot_be_read_is_left_out_of_all(spool: Spool) -> None:
    entry = builders.submitted(spool)
    os.symlink("/dev/zero", spool.paths.queued("q_1738012412345_a1b2c3d4", 0))

    assert len(list(every_spec(spool))) == 1
    assert spool.waiting()[-1] == entry


def test_beside_another_limit_an_age_spares_the_days_after_it_unread(spool: Spool) -> None:
    """With a number to keep, the latest days are gone through as well."""
    ids = [ended(spool, ago) for ago in (10, 2, 1, 0.5)]
    for job_id in ids[1:]:
        builders.damage(spool.paths.result(job_id, 1))

    assert gone(spool, older_than_s=days(5), keep=1) == [ids[0]]
