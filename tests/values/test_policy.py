"""Which jobs start and on which cards: one story for each rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy
from forgather_spool.pending import NoCardLimit
from forgather_spool.policy import View, Waiting, decide
from tests.values.policy_cases import GIB, card, card_facts, host, job, process, restricted, started

# Order


def test_the_first_in_order_gets_the_only_card():
    assert started([job("first"), job("second")], host(card(0))) == {"first": [0]}


def test_a_job_that_does_not_fit_does_not_hold_up_one_that_does():
    assert started([job("large", 2), job("small", 1)], host(card(0))) == {"small": [0]}


def test_a_smaller_shape_is_still_tried_after_larger_ones_found_no_place():
    """What was learnt from a refusal holds for shapes as large, and for no others."""
    waiting = [job("a", 2), job("b", 1, memory_gib=20), job("c", 1, memory_gib=22), job("d", 1, memory_gib=4)]

    assert started(waiting, host(card(0, used_gib=10))) == {"d": [0]}


def test_one_pass_starts_all_that_fit():
    waiting = [job("a", 2), job("b", 1), job("c", 0)]

    assert started(waiting, host(card(0), card(1), card(2))) == {"a": [0, 1], "b": [2], "c": []}


def test_a_card_kept_for_higher_priority_does_not_hide_an_open_one():
    """With no room for jobs without a card, the open card still decides how far down the queue to look."""
    view = host(card(0), card(1), policy=restricted(card_1=5), no_gpu_limit=0)

    assert started([job("a", priority=0)], view) == {"a": [0]}


# Which cards


def test_the_most_restricted_card_it_qualifies_for_is_used_first():
    """Open cards stay for jobs that may have no others."""
    view = host(card(0), card(1), card(2), policy=restricted(card_1=3, card_2=9))

    assert started([job("a", priority=5), job("b", priority=1)], view) == {"a": [1], "b": [0]}


def test_among_equals_the_lowest_index_goes_first_and_refs_are_sorted():
    view = host(card(3), card(1), card(2), card(0), policy=restricted(card_3=1))

    assert started([job("a", 2, priority=1)], view) == {"a": [0, 3]}


def test_a_start_names_cards_by_uuid_too():
    [start] = decide([job("a")], host(card(0))).starts

    assert start.gpus[0].uuid == "GPU-0"


def test_a_card_is_given_once():
    waiting = [job("a"), job("b"), job("c")]

    assert started(waiting, host(card(0), card(1))) == {"a": [0], "b": [1]}


@pytest.mark.parametrize(
    ("view", "fact"),
    [
        (host(card(0, problem="fell off the bus"), card(1), taken={1: "q_1"}), "card 0: fell off the bus"),
        (
            host(card(0, excluded=True), card(1), taken={1: "q_1"}),
            "card 0: excluded by CUDA_VISIBLE_DEVICES of the dispatcher",
        ),
        (host(card(0), policy=GpuPolicy(cards={"0": CardPolicy(disabled=True)})), "card 0: disabled"),
        (host(card(0), policy=GpuPolicy(cards={"GPU-0": CardPolicy(disabled=True)})), "card 0: disabled"),
        (host(card(0), taken={0: "q_1"}), "card 0: job q_1"),
        (
            host(card(0, processes=(process(1234),))),
            "card 0: taken by foreign process 1234 of user ann (python)",
        ),
        (
            host(card(0, processes=(process(9), process(7, name=None, user=None)))),
            "card 0: taken by foreign process 7 and 1 more",
        ),
        (host(card(0), policy=restricted(card_0=5)), "card 0: min_priority 5 > 0"),
    ],
)
def test_a_card_that_is_not_to_be_had_is_named_with_what_stands_in_the_way(view: View, fact: str):
    assert started([job("a")], view) == {}
    assert fact in card_facts(job("a"), view)


def test_a_desktop_on_a_card_does_not_make_it_busy():
    assert started([job("a")], host(card(0, processes=(process(1, "graphics"),)))) == {"a": [0]}


def test_a_process_of_our_own_is_not_foreign():
    assert started([job("a")], host(card(0, processes=(process(1),)), our_pids={1: "q_1"})) == {"a": [0]}


def test_foreign_processes_do_not_count_where_the_owner_says_so():
    view = host(card(0, processes=(process(1),)), policy=GpuPolicy(ignore_foreign_processes=True))

    assert started([job("a")], view) == {"a": [0]}


# Memory


def test_memory_asked_must_be_free_on_each_card():
    view = host(card(0, used_gib=20), card(1, used_gib=14), card(2))

    assert started([job("a", 2, memory_gib=10)], view) == {"a": [1, 2]}


def test_a_card_too_full_says_what_is_free_and_what_is_asked():
    view = host(card(0, used_gib=20.75))

    assert card_facts(job("a", memory_gib=10), view) == ["card 0: 3.2 GiB free of 24.0 GiB, 10.0 GiB asked"]


def test_what_is_missing_by_a_byte_still_reads_as_missing():
    """Free is rounded down and asked up, or the sentence would contradict itself."""
    view = host(card(0, memory_used_bytes=14 * GIB + 1))

    assert card_facts(job("a", memory_gib=10), view) == ["card 0: 9.9 GiB free of 24.0 GiB, 10.0 GiB asked"]


def test_a_card_whose_memory_is_not_known_serves_only_jobs_that_ask_for_none():
    view = host(card(0, memory_used_bytes=None, memory_total_bytes=None))

    assert started([job("asks", memory_gib=10), job("does not")], view) == {"does not": [0]}
    assert card_facts(job("asks", memory_gib=10), view) == ["card 0: free memory not known, 10.0 GiB asked"]


# Jobs without a card


def test_jobs_without_a_card_start_up_to_their_limit():
    waiting = [job("a", 0), job("b", 0), job("c", 0)]
    view = host(running_without_gpu=1, no_gpu_limit=3)

    decision = decide(waiting, view)

    assert [start.job_id for start in decision.starts] == ["a", "b"]
    assert decision.reasons(waiting)["c"] == NoCardLimit(3)


def test_jobs_with_a_card_do_not_count_towards_that_limit():
    assert started([job("a", 1), job("b", 0)], host(card(0), no_gpu_limit=1)) == {"a": [0], "b": []}


def test_full_cards_do_not_keep_back_a_job_that_needs_none():
    assert started([job("a", 1), job("b", 0)], host(card(0), taken={0: "q_1"})) == {"b": []}


# What is read


class Reading:
    """A queue that reads specs on demand and counts them."""

    def __init__(self, entries: list[Waiting]) -> None:
        self.entries = entries
        self.read = 0

    def __iter__(self) -> Iterator[Waiting]:
        for entry in self.entries:
            self.read += 1
            yield entry


@pytest.mark.parametrize(
    ("view", "read"),
    [
        (host(card(0), paused=True), 0),
        (host(card(0), taken={0: "q_1"}, no_gpu_limit=0), 0),
        (host(card(0), nvml_problem="no driver", no_gpu_limit=0), 0),
        (host(card(0), no_gpu_limit=0), 1),
        (host(card(0), policy=restricted(card_0=1), no_gpu_limit=0), 1),
        (host(card(0), no_gpu_limit=1), 1000),
    ],
    ids=["paused", "full", "no nvml", "full after the first", "kept for higher priority", "room without a card"],
)
def test_no_more_specs_are_read_than_could_start(view: View, read: int):
    """At 100,000 waiting jobs, reading each spec is seconds; a full host needs none."""
    queue = Reading([job(f"q_{n:04}") for n in range(1000)])

    decide(queue, view)

    assert queue.read == read


class CountedPolicy(GpuPolicy):
    """Allows all, counting how often a card is looked at."""

    looks = 0

    def of(self, gpu: Gpu) -> CardPolicy:
        type(self).looks += 1
        return super().of(gpu)


@pytest.mark.parametrize("shape", [{"gpus": 1}, {"gpus": 2}, {"gpus": 1, "memory_gib": 10}])
def test_a_thousand_jobs_alike_cost_no_more_looks_at_cards_than_one(shape: dict[str, Any]):
    """What found no place is not tried again, though all specs are read for one that needs no card."""

    def looks(jobs: int) -> int:
        CountedPolicy.looks = 0
        view = host(card(0), card(1), taken={0: "q_1", 1: "q_2"}, policy=CountedPolicy())
        decide([job(f"q_{n:04}", **shape) for n in range(jobs)], view)
        return CountedPolicy.looks

    assert 0 < looks(1000) == looks(1)
