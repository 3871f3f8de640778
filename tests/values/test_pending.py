"""What a waiting job is told: the reason, its numbers, and the word scripts rely on."""

from __future__ import annotations

import pytest

from forgather_spool.pending import (
    CardsBusy,
    NeedsMoreCards,
    NeedsMoreMemory,
    NoNvml,
    Paused,
    PriorityTooLow,
    StartsNext,
)
from forgather_spool.policy import View, Waiting, decide
from tests.values.policy_cases import GIB, card, host, job, reason, restricted, started


def test_a_paused_queue_starts_nothing_and_says_so():
    view = host(card(0), paused=True)

    assert started([job("a"), job("b", 0)], view) == {}
    assert reason(job("a"), view) == reason(job("b", 0), view) == Paused()


def test_more_cards_than_there_are_is_not_called_busy():
    """Excluded and broken cards are not there; a card held by a job is."""
    view = host(card(0), card(1), card(2, excluded=True), card(3, problem="lost"), taken={0: "q_1"})

    assert reason(job("a", 3), view) == NeedsMoreCards(3, 2)
    assert reason(job("a", 3), view).text == "needs more than this host has: 3 cards asked, 2 usable"
    assert isinstance(reason(job("a", 2), view), CardsBusy)


def test_more_memory_than_the_cards_have_is_not_called_busy():
    """For two cards it is the second largest that counts."""
    view = host(card(0, total_gib=24), card(1, total_gib=80), taken={0: "q_1", 1: "q_2"})

    assert reason(job("a", 1, memory_gib=81), view) == NeedsMoreMemory(1, 81 * GIB, 80 * GIB)
    assert reason(job("a", 2, memory_gib=40), view).text == (
        "needs more than this host has: 2 cards with 40.0 GiB each asked, the largest 2 have 24.0 GiB"
    )
    assert isinstance(reason(job("a", 1, memory_gib=40), view), CardsBusy)


def test_a_card_of_unknown_size_may_be_large_enough_later():
    view = host(card(0, memory_used_bytes=None, memory_total_bytes=None))

    assert isinstance(reason(job("a", memory_gib=500), view), CardsBusy)


def test_a_busy_host_says_how_many_cards_are_free():
    view = host(card(0), card(1), taken={0: "q_1"})

    assert reason(job("a", 2), view).text == "waits for 2 cards: 1 of 2 is free for it"


def test_cards_given_in_this_very_pass_are_named_as_taken():
    waiting = [job("first"), job("second")]

    found = decide(waiting, host(card(0))).reasons(waiting)["second"]

    assert isinstance(found, CardsBusy)
    assert [obstacle.text for obstacle in found.details] == ["card 0: job first"]


def test_jobs_that_differ_in_one_thing_are_each_told_their_own_reason():
    """Reasons are shared among jobs of one shape: same cards, memory and priority."""
    waiting = [
        job("higher", priority=5),
        job("plain"),
        job("roomy", memory_gib=10),
        job("huge", memory_gib=100),
        job("wide", 2),
    ]
    view = host(card(0, used_gib=20), policy=restricted(card_0=7))

    found = decide(waiting, view).reasons(waiting)

    assert {job_id: reason.code for job_id, reason in found.items()} == {
        "higher": "priority",
        "plain": "priority",
        "roomy": "resources",
        "huge": "no_such_host_capacity",
        "wide": "no_such_host_capacity",
    }
    assert "at priority 5" in found["higher"].text
    assert "at priority 0" in found["plain"].text


def test_a_job_that_only_lacks_priority_is_told_which_would_do():
    view = host(card(0), card(1), card(2), policy=restricted(card_1=7, card_2=5))

    found = reason(job("a", 2), view)

    assert isinstance(found, PriorityTooLow)
    assert (found.eligible_free, found.needed) == (1, 5)
    assert started([job("a", 2, priority=found.needed)], view) == {"a": [0, 2]}


def test_priority_is_not_blamed_where_it_would_not_help():
    view = host(card(0), card(1), policy=restricted(card_0=5), taken={1: "q_1"})

    assert isinstance(reason(job("a", 2), view), CardsBusy)


def test_without_nvml_cards_are_not_given_and_the_problem_is_passed_on():
    """Cards last seen before NVML failed are a memory, not a reading."""
    view = host(card(0), nvml_problem="driver/library version mismatch")

    assert started([job("a"), job("b", 0)], view) == {"b": []}
    assert reason(job("a"), view) == NoNvml("driver/library version mismatch")


def test_a_job_that_starts_is_told_on_which_cards():
    found = reason(job("a", 2), host(card(0), card(1)))

    assert isinstance(found, StartsNext)
    assert found.text == "starts at the next pass, on cards 0, 1"


@pytest.mark.parametrize(
    ("entry", "view", "code"),
    [
        (job("a"), host(card(0), paused=True), "paused"),
        (job("a"), host(card(0), taken={0: "q_1"}), "resources"),
        (job("a"), host(card(0), policy=restricted(card_0=1)), "priority"),
        (job("a"), host(), "no_such_host_capacity"),
        (job("a", memory_gib=25), host(card(0)), "no_such_host_capacity"),
        (job("a", 0), host(no_gpu_limit=1, running_without_gpu=1), "no_gpu_limit"),
        (job("a"), host(nvml_problem="no driver"), "no_nvml"),
        (job("a"), host(card(0)), "starts_next"),
    ],
)
def test_the_words_scripts_rely_on_stay(entry: Waiting, view: View, code: str):
    assert reason(entry, view).code == code
