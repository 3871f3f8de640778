"""What is done to waiting jobs before they start, against real files and against dispatchers that want them."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from forgather_spool.errors import AlreadyClaimed, StorageFailed
from forgather_spool.job import State
from forgather_spool.outcome import Cancelled
from forgather_spool.spool import admit, order
from forgather_spool.spool.look import look
from forgather_spool.spool.names import Entry
from forgather_spool.spool.place import locate, waiting_places
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import Stopped, stop
from tests import builders
from tests.spool.crashing import another_acts_after

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_a_job_on_hold_keeps_its_place_and_is_out_of_reach_of_a_claim(spool: Spool) -> None:
    first, second = builders.submitted(spool, priority=2), builders.submitted(spool)

    assert order.hold(spool, [first]) == [first]

    assert (spool.waiting(), spool.held()) == ([second], [first])
    assert look(spool, first[1]).state is State.HELD
    with pytest.raises(AlreadyClaimed):
        builders.taken(spool, first)
    assert order.release(spool, [first]) == [first]
    assert spool.waiting() == [first, second]


def test_what_was_claimed_first_is_left_out_and_the_others_are_held(spool: Spool) -> None:
    one, claimed, other = builders.submitted(spool), builders.submitted(spool), builders.submitted(spool)
    builders.taken(spool, claimed)

    assert order.hold(spool, [one, claimed, other]) == [one, other]

    assert look(spool, claimed[1]).state is State.LAUNCHING


def test_a_job_may_enter_on_hold_by_submit_or_as_a_file(spool: Spool) -> None:
    submitted = builders.held(spool, priority=1)
    path = Path(spool.paths.incoming, "mine.json")
    path.write_text('{"argv": ["true"], "hold": true, "priority": 5}')
    os.utime(path, (1, 1))

    [(_, admitted)] = admit.admit(spool)

    assert spool.held() == [(-5, admitted), submitted]
    assert spool.waiting() == []


def test_a_job_on_hold_can_be_cancelled(spool: Spool) -> None:
    entry = builders.held(spool)

    assert stop(spool, entry[1], "anna") is Stopped.CANCELLED

    assert spool.held() == []
    assert look(spool, entry[1]).result.outcome == Cancelled("anna")


def test_a_spool_of_a_version_without_holds_gets_its_folder(spool: Spool) -> None:
    for folder in (spool.paths.held, spool.paths.skeleton()[-1]):
        os.rmdir(folder)

    spool.create()

    assert order.hold(spool, [builders.submitted(spool)])


def test_a_refusal_in_the_middle_is_told_and_what_was_moved_is_whole(spool: Spool, monkeypatch) -> None:
    entries = [builders.submitted(spool) for _ in range(3)]
    real = os.rename

    def full(source: str, target: str) -> None:
        if entries[1][1] in source:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", full)

    with pytest.raises(StorageFailed, match="No space left"):
        order.hold(spool, entries)

    assert spool.held() == entries[:1]
    assert spool.waiting() == entries[1:]


def _claims_all(home: str, won) -> None:
    spool, taken = Spool(home), []
    for entry in spool.waiting():
        try:
            spool.claim(entry, builders.HOST)
        except AlreadyClaimed:
            continue
        taken.append(entry)
    won.put(taken)


def test_of_a_hold_and_a_claim_exactly_one_wins(spool: Spool) -> None:
    entries = [builders.submitted(spool) for _ in range(500)]
    spool.open_host(builders.HOST)
    won = FORK.Queue()
    dispatcher = FORK.Process(target=_claims_all, args=(spool.paths.home, won))

    dispatcher.start()
    held = order.hold(spool, reversed(entries))
    claimed = won.get(timeout=60)
    dispatcher.join()

    assert sorted([*held, *claimed]) == entries
    assert spool.held() == sorted(held)
    assert spool.taken(builders.HOST) == claimed


def test_of_a_hold_and_a_claim_that_interleave_anywhere_one_wins(tmp_path: Path) -> None:
    """The claim happens whole between any two changes of the hold."""
    for calls in range(6):
        spool = Spool(str(tmp_path / str(calls))).create()
        spool.open_host(builders.HOST)
        entry = builders.submitted(spool)
        won: list[str] = []

        def claim(spool: Spool = spool, entry: Entry = entry, won: list[str] = won) -> None:
            try:
                spool.claim(entry, builders.HOST)
                won.append("claim")
            except AlreadyClaimed:
                pass

        with another_acts_after(calls, claim):
            won += ["hold"] * len(order.hold(spool, [entry]))

        assert len(won) == 1, (calls, won)
        assert len(spool.held()) + len(spool.taken(builders.HOST)) + len(spool.waiting()) == 1


# -- another priority -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [builders.submitted, builders.held])
def test_another_priority_is_another_name_and_nothing_else(spool: Spool, make) -> None:
    entry = make(spool, name="mine")
    before = locate(spool, entry[1])

    assert order.reprioritize(spool, before, -7)

    after = locate(spool, entry[1])
    assert (type(after), after.priority) == (type(before), -7)
    assert look(spool, entry[1]).spec.name == "mine"
    assert not order.reprioritize(spool, before, 3), "it is no longer there"


def test_a_job_that_was_claimed_keeps_its_priority(spool: Spool) -> None:
    entry = builders.submitted(spool)
    place = locate(spool, entry[1])
    builders.taken(spool, entry)

    assert not order.reprioritize(spool, place, 9)

    assert look(spool, entry[1]).priority == 0


def _reprioritizes_all(home: str, priority: int, won) -> None:
    spool = Spool(home)
    won.put([place.job_id for place in waiting_places(spool) if order.reprioritize(spool, place, priority)])


def test_two_who_want_other_priorities_at_once_and_a_dispatcher_lose_no_job(spool: Spool) -> None:
    ids = {builders.submitted(spool)[1] for _ in range(300)}
    spool.open_host(builders.HOST)
    won = FORK.Queue()
    programs = [FORK.Process(target=_reprioritizes_all, args=(spool.paths.home, n, won)) for n in (5, 9)]
    programs.append(FORK.Process(target=_claims_all, args=(spool.paths.home, won)))

    for program in programs:
        program.start()
    for _ in programs:
        won.get(timeout=60)
    for program in programs:
        program.join()

    there = [job_id for _, job_id in (*spool.waiting(), *spool.taken(builders.HOST))]
    assert sorted(there) == sorted(ids)
