"""Of the jobs with one key at most one waits or runs: whoever dies, and however many try at once."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

from forgather_spool.errors import Busy, StorageFailed
from forgather_spool.job import State
from forgather_spool.spool import admit, files, order, unique
from forgather_spool.spool.look import look, why_rejected
from forgather_spool.spool.place import rejected_places
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import stop
from tests import builders, file_system
from tests.spool.crashing import another_acts_after, dies_after

FORK = multiprocessing.get_context("fork")
SPEC = {"argv": ["true"], "unique": "nightly"}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def dropped(spool: Spool, text: str = '{"argv": ["true"], "unique": "nightly"}', name: str = "mine.json") -> None:
    path = Path(spool.paths.incoming, name)
    path.write_text(text)
    os.utime(path, (1, 1))


@pytest.mark.parametrize("twin_is", [builders.submitted, builders.held, builders.taken, builders.running])
def test_a_twin_is_refused_by_name_while_the_first_waits_or_runs(spool: Spool, twin_is) -> None:
    first = twin_is(spool, unique="nightly")

    with pytest.raises(Busy, match=f"'nightly' waits or runs already: {first[1]}"):
        unique.submit(spool, SPEC)

    assert unique.submit(spool, {"argv": ["true"], "unique": "Nightly"}), "another key is another job"
    assert files.names(spool.paths.tmp) == []


def test_a_key_is_free_again_once_its_job_has_ended(spool: Spool) -> None:
    builders.ended(spool, unique="nightly")
    second = unique.submit(spool, SPEC)
    stop(spool, second, "anna")

    third = unique.submit(spool, SPEC)

    assert look(spool, third).state is State.WAITING


def test_a_key_follows_its_job_through_a_hold(spool: Spool) -> None:
    entry = builders.submitted(spool, unique="nightly")

    order.hold(spool, [entry])

    with pytest.raises(Busy):
        unique.submit(spool, SPEC)


def test_a_key_may_hold_whatever_a_name_may_not(spool: Spool) -> None:
    for key in ("../../x", "a/b", "\n", ".", "é" * 100):
        unique.submit(spool, {"argv": ["true"], "unique": key})

    assert len(spool.waiting()) == 5


def test_wherever_a_submit_dies_the_key_is_not_lost_and_not_shared(spool: Spool) -> None:
    """After each death a second submit gets the key, or its twin is really there; and the third is refused."""
    for calls in range(40):
        key = f"k{calls}"
        with dies_after(calls):
            unique.submit(spool, {"argv": ["true"], "unique": key})

        try:
            unique.submit(spool, {"argv": ["true"], "unique": key})
        except Busy:
            pass

        assert [job for job in waiting_specs(spool) if job["unique"] == key].__len__() == 1, calls
        with pytest.raises(Busy):
            unique.submit(spool, {"argv": ["true"], "unique": key})


def test_wherever_a_replacement_of_an_ended_jobs_key_dies_the_next_gets_it(spool: Spool) -> None:
    for calls in range(40):
        key = f"k{calls}"
        builders.ended(spool, unique=key)
        with dies_after(calls):
            unique.submit(spool, {"argv": ["true"], "unique": key})

        try:
            unique.submit(spool, {"argv": ["true"], "unique": key})
        except Busy:
            pass

        assert len([job for job in waiting_specs(spool) if job["unique"] == key]) == 1, calls


def test_wherever_an_admission_dies_the_dropped_job_is_in_the_queue_once(spool: Spool) -> None:
    for calls in range(40):
        key = f"k{calls}"
        dropped(spool, f'{{"argv": ["true"], "unique": "{key}"}}')
        with dies_after(calls):
            list(admit.admit(spool))

        unique.go_on(spool)
        list(admit.admit(spool))

        assert len([job for job in waiting_specs(spool) if job["unique"] == key]) == 1, calls
        assert files.names(spool.paths.rejected) == []


def waiting_specs(spool: Spool) -> list[dict]:
    return [spool.queued_spec(entry) for entry in spool.waiting()]


def test_a_dropped_twin_is_rejected_and_says_whose(spool: Spool) -> None:
    first = builders.submitted(spool, unique="nightly")
    dropped(spool)

    assert list(admit.admit(spool)) == [("mine.json", "")]

    [place] = rejected_places(spool)
    assert first[1] in why_rejected(place)


def test_a_refused_disk_leaves_neither_job_nor_key(spool: Spool, monkeypatch) -> None:
    real = os.rename

    def refuses(source: str, target: str) -> None:
        if target.startswith(spool.paths.queue):
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuses)
        with pytest.raises(StorageFailed):
            unique.submit(spool, SPEC)

    assert spool.waiting() == []
    assert unique.submit(spool, SPEC)


def _submits(home: str, barrier, won) -> None:
    spool = Spool(home)
    for round_ in range(ROUNDS):
        barrier.wait(timeout=60)
        try:
            won.put((round_, unique.submit(spool, {"argv": ["true"], "unique": f"round {round_}"})))
        except Busy:
            continue
    won.put((None, ""))


@pytest.mark.parametrize("ended", [False, True], ids=["a_new_key", "the_key_of_a_job_that_ended"])
def test_of_two_that_interleave_anywhere_exactly_one_gets_the_key(ended: bool, tmp_path: Path) -> None:
    """The second submit happens whole between any two changes of the first."""
    outcomes = Counter()
    for calls in range(40):
        spool = Spool(str(tmp_path / str(calls))).create()
        if ended:
            builders.ended(spool, unique="key")
        told: list[str] = []

        with another_acts_after(calls, lambda spool=spool, told=told: told.append(_told(spool, "second"))):
            told.append(_told(spool, "first"))

        assert len(told) == 1 or sorted(told) in (["first", "refused"], ["refused", "second"]), (calls, told)
        assert len(spool.waiting()) == 1
        outcomes.update(told)

    assert outcomes["first"] and outcomes["second"]


def _told(spool: Spool, who: str) -> str:
    try:
        unique.submit(spool, {"argv": ["true"], "name": who, "unique": "key"})
    except Busy:
        return "refused"
    return who


ROUNDS = 30


def test_of_many_at_once_exactly_one_gets_the_key(spool: Spool) -> None:
    """Half of the keys are those of ended jobs, so that all of them try to take these away."""
    for round_ in range(0, ROUNDS, 2):
        builders.ended(spool, unique=f"round {round_}")
    contenders = 6
    barrier, won = FORK.Barrier(contenders), FORK.Queue()
    programs = [FORK.Process(target=_submits, args=(spool.paths.home, barrier, won)) for _ in range(contenders)]

    for program in programs:
        program.start()
    rounds, done = [], 0
    while done < contenders:
        round_, _ = won.get(timeout=60)
        done += round_ is None
        rounds += [] if round_ is None else [round_]
    for program in programs:
        program.join()

    assert sorted(rounds) == list(range(ROUNDS))
    assert len(spool.waiting()) == ROUNDS


def test_keys_of_ended_jobs_are_forgotten_and_those_of_others_kept(spool: Spool) -> None:
    builders.ended(spool, unique="old")
    builders.submitted(spool, unique="nightly")

    assert unique.forget_ended(spool) == 1

    assert len(files.names(spool.paths.unique)) == 1
    with pytest.raises(Busy):
        unique.submit(spool, SPEC)


def test_a_keys_spec_that_somebody_spoilt_is_set_aside_and_the_key_is_free(spool: Spool) -> None:
    unique.submit(spool, SPEC)
    [key] = Path(spool.paths.unique).iterdir()
    spoilt = key / "q_1738012412345_a1b2c3d4.p0.json"
    spoilt.write_bytes(b"{")

    assert unique.go_on(spool) == ["q_1738012412345_a1b2c3d4"]

    [place] = rejected_places(spool)
    assert "spoilt" not in why_rejected(place)
    assert place.job_id == "q_1738012412345_a1b2c3d4"
    assert not spoilt.exists()


def test_keys_there_is_no_time_for_are_forgotten_the_next_time(spool: Spool) -> None:
    builders.ended(spool, unique="nightly")

    assert unique.forget_ended(spool, limit_s=-1) == 0
    assert unique.forget_ended(spool) == 1


def test_a_key_that_is_given_and_taken_all_the_time_is_busy_and_nothing_is_submitted(spool: Spool, monkeypatch) -> None:
    file_system.patch(monkeypatch, "take_name", lambda source, target: False)

    with pytest.raises(Busy, match="all the time"):
        unique.submit(spool, SPEC)

    assert files.names(spool.paths.tmp) == files.names(spool.paths.queue) == []


def test_a_disk_that_refuses_the_undo_too_leaves_a_job_that_has_its_key(spool: Spool, monkeypatch) -> None:
    """It was not acknowledged; it may be there, whole and once."""

    def refuse(*args: object, **more: object) -> None:
        raise StorageFailed("cannot", hint="wait")

    with monkeypatch.context() as bad_moment:
        for name in ("move", "discard"):
            file_system.patch(bad_moment, name, refuse)
        with pytest.raises(StorageFailed):
            unique.submit(spool, SPEC)

    unique.go_on(spool)
    [(_, job_id)] = spool.waiting()
    with pytest.raises(Busy, match=job_id):
        unique.submit(spool, SPEC)
