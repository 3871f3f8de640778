"""Cards that several jobs share, and memory that is promised before it is used."""

from __future__ import annotations

import pytest

from forgather_spool.gpu import GpuPolicy, GpuProcess
from tests.values.policy_cases import GIB, card, card_facts, holder, host, job, process, restricted, started


def sharing(job_id: str, gpus: int = 1, **facts: object):
    return job(job_id, gpus, shared=True, **facts)


def uses(pid: int, gib: float | None, kind: str = "compute") -> GpuProcess:
    used = None if gib is None else int(gib * GIB)
    return GpuProcess(pid=pid, kind=kind, memory_used_bytes=used, name=None, user=None)


def test_jobs_that_share_are_packed_onto_one_card_until_its_memory_is_promised():
    waiting = [sharing(name, memory_gib=10) for name in "abc"]

    assert started(waiting, host(card(0), card(1))) == {"a": [0], "b": [0], "c": [1]}


def test_a_card_is_ones_own_unless_all_on_it_share():
    waiting = [sharing("a", memory_gib=10), job("alone", memory_gib=10), sharing("b", memory_gib=10)]

    assert started(waiting, host(card(0), card(1))) == {"a": [0], "alone": [1], "b": [0]}
    assert card_facts(sharing("c", memory_gib=1), host(card(0), taken={0: "q_1"})) == ["card 0: job q_1"]
    shared = host(card(0), holders=[holder("q_1", 0, shared=True, memory_gib=1)])
    assert card_facts(job("alone"), shared) == ["card 0: shared by job q_1"]


def test_who_shares_but_says_not_how_much_gets_the_card_alone():
    """Otherwise twenty of them would pile up on one card."""
    assert started([sharing("a"), sharing("b")], host(card(0), card(1))) == {"a": [0], "b": [1]}


def test_a_number_of_jobs_for_each_card_is_kept_by_all_on_it():
    two, three = {"jobs_per_gpu": 2}, {"jobs_per_gpu": 3}
    waiting = [job("a", **three), job("b", **two), job("c", **three), job("d", **two)]

    assert started(waiting, host(card(0))) == {"a": [0], "b": [0]}
    view = host(card(0), holders=[holder("q_1", 0, **two), holder("q_2", 0, **three)])
    assert card_facts(job("c", **three), view) == ["card 0: shared by 2 jobs, at most 2 may"]


def test_a_job_may_share_several_cards():
    view = host(card(0), card(1), holders=[holder("q_1", 1, shared=True, memory_gib=4)])

    assert started([sharing("a", 2, memory_gib=10), sharing("b", 2, memory_gib=10)], view) == {"a": [0, 1], "b": [0, 1]}


@pytest.mark.parametrize(
    ("used", "fits"),
    [(None, 4), (0.5, 4), (20, 4)],
    ids=["not on the card yet", "still loading", "all of it"],
)
def test_what_was_asked_counts_as_taken_until_its_use_shows_and_no_longer(used: float | None, fits: float):
    """Hold-off: the free memory NVML shows a second after a start is no free memory."""
    running = holder("q_1", 0, shared=True, memory_gib=20)
    processes = () if used is None else (uses(7, used),)
    view = host(card(0, used_gib=used or 0, processes=processes), our_pids={7: "q_1"}, holders=[running])

    assert started([sharing("a", memory_gib=fits)], view) == {"a": [0]}
    assert started([sharing("a", memory_gib=fits + 1)], view) == {}


def test_who_uses_more_than_it_asked_leaves_less():
    running = holder("q_1", 0, shared=True, memory_gib=4)
    view = host(card(0, used_gib=20, processes=(uses(7, 20),)), our_pids={7: "q_1"}, holders=[running])

    assert card_facts(sharing("a", memory_gib=5), view) == [
        "card 0: 4.0 GiB free of 24.0 GiB beside job q_1, 5.0 GiB asked"
    ]


def test_where_nvml_tells_nobodys_use_what_the_card_uses_counts_as_theirs():
    """In a container NVML shows processes without their memory: a job must not be counted twice for ever."""
    running = holder("q_1", 0, shared=True, memory_gib=10)
    view = host(card(0, used_gib=10, processes=(uses(7, None),)), our_pids={7: "q_1"}, holders=[running])

    assert started([sharing("a", memory_gib=14)], view) == {"a": [0]}


def test_a_desktop_that_computes_a_little_does_not_make_a_card_busy():
    """A browser's 150 MB; a process of unknown size may be a training job."""
    small, large, unknown = uses(7, 0.15), uses(7, 0.5), uses(7, None)

    assert started([job("a")], host(card(0, processes=(small,)))) == {"a": [0]}
    assert started([job("a")], host(card(0, processes=(large,)))) == {}
    assert started([job("a")], host(card(0, processes=(unknown,)))) == {}
    strict = GpuPolicy(foreign_memory_bytes=0)
    assert started([job("a")], host(card(0, processes=(small,)), policy=strict)) == {}


def test_a_job_of_negative_priority_gets_a_card_nobody_restricted():
    """0 said out loud is another matter."""
    low = job("a", priority=-5)

    assert started([low], host(card(0))) == {"a": [0]}
    assert started([low], host(card(0), policy=restricted(card_0=0))) == {}


def test_somebody_must_look_at_the_cards_while_a_stranger_or_memory_is_in_the_way():
    """And nobody need, while only our own jobs are: their ends are heard."""
    from forgather_spool.policy import decide

    assert decide([job("a")], host(card(0, processes=(process(7),)), no_gpu_limit=0)).watch_cards
    assert decide([job("a", memory_gib=9)], host(card(0, used_gib=20))).watch_cards
    assert not decide([job("a")], host(card(0), taken={0: "q_1"})).watch_cards
