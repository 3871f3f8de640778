"""Whom to ask to give way: as few as make room, the least important and youngest first, and never in vain."""

from __future__ import annotations

from dataclasses import replace

from forgather_spool.pending import CardsKept, GroupFull
from forgather_spool.policy import Group, Preempt, View, Waiting, decide
from tests.values.policy_cases import card, holder, host, job, reason, restricted

ONE_AT_ONCE = {"g": Group(limit=1)}


def victim(job_id: str, *cards: int, **facts: object):
    return holder(job_id, *cards, preemptible=True, **facts)


def asked(waiting: list[Waiting], view: View) -> list[tuple[str, str]]:
    return [(ask.victim_job_id, ask.for_job_id) for ask in decide(waiting, view).preempt]


def test_a_preemptible_job_of_lower_priority_is_asked():
    view = host(card(0), holders=[victim("q_1", 0)])

    decision = decide([job("urgent", priority=1)], view)

    assert decision.preempt == (Preempt("q_1", "urgent"),)
    assert decision.starts == ()


def test_nobody_else_is_asked():
    """Not one who did not agree, not an equal, and not while a card is free."""
    urgent = job("urgent", priority=1)

    assert asked([urgent], host(card(0), holders=[holder("q_1", 0)])) == []
    assert asked([urgent], host(card(0), holders=[victim("q_1", 0, priority=1)])) == []
    assert asked([urgent], host(card(0), card(1), holders=[victim("q_1", 0)])) == []


def test_nobody_is_asked_in_vain():
    holders = [victim("q_1", 0), holder("stays", 1)]

    assert asked([job("wide", 2, priority=1)], host(card(0), card(1), holders=holders)) == []
    assert asked([job("huge", priority=1, memory_gib=99)], host(card(0), holders=holders[:1])) == []
    kept = host(card(0), holders=holders[:1], policy=restricted(card_0=5))
    assert asked([job("low", priority=1)], kept) == []


def test_as_few_as_possible_and_then_the_least_important_and_the_youngest():
    one_wide = [victim("a", 0), victim("b", 1), victim("wide", 2, 3, priority=2)]
    cards = [card(n) for n in range(4)]
    assert asked([job("urgent", 2, priority=3)], host(*cards, holders=one_wide)) == [("wide", "urgent")]

    of_priorities = [victim("a", 0, priority=2), victim("b", 1, priority=1)]
    assert asked([job("urgent", priority=3)], host(card(0), card(1), holders=of_priorities)) == [("b", "urgent")]

    of_ages = [victim("old", 0, minutes_ago=50), victim("young", 1, minutes_ago=5)]
    assert asked([job("urgent", priority=3)], host(card(0), card(1), holders=of_ages)) == [("young", "urgent")]


def test_who_was_asked_is_waited_for_and_nobody_else_is_asked():
    """Every pass decides anew until the cards are free; only the first may ask."""
    holders = [victim("going", 0, going=True), victim("q_2", 1)]
    view = host(card(0), card(1), holders=holders)

    assert asked([job("urgent", priority=1)], view) == []
    assert asked([job("urgent", priority=1), job("second", priority=1)], view) == [("q_2", "second")]


def test_a_free_card_is_kept_for_the_one_who_asked_for_the_other():
    """Otherwise a small job takes it, and a second victim must go."""
    view = host(card(0), card(1), holders=[victim("q_1", 0)])
    waiting = [job("urgent", 2, priority=1), job("small")]

    decision = decide(waiting, view)

    assert (decision.starts, decision.preempt) == ((), (Preempt("q_1", "urgent"),))
    found = decision.reasons(waiting)["urgent"]
    assert isinstance(found, CardsKept)
    assert (found.code, found.victims) == ("preempting", ("q_1",))
    assert found.text == (
        "waits for 2 cards: 1 of 2 is free for it; cards 0, 1 kept for it, asked to give way: job q_1"
    )


def test_of_those_who_share_a_card_only_as_many_go_as_must():
    share = {"shared": True, "memory_gib": 8}
    holders = [
        victim("a", 0, minutes_ago=30, **share),
        victim("b", 0, minutes_ago=10, **share),
        holder("c", 0, **share),
    ]
    view = host(card(0), holders=holders)

    assert asked([job("urgent", priority=1, shared=True, memory_gib=8)], view) == [("b", "urgent")]
    assert asked([job("alone", priority=1)], view) == []


def test_what_a_victim_uses_counts_as_free_once_it_is_gone():
    from forgather_spool.gpu import GpuProcess

    gib = 1 << 30
    on_it = GpuProcess(pid=7, kind="compute", memory_used_bytes=20 * gib, name=None, user=None)
    view = host(card(0, used_gib=21, processes=(on_it,)), our_pids={7: "q_1"}, holders=[victim("q_1", 0)])

    assert asked([job("fits", priority=1, memory_gib=23)], view) == [("q_1", "fits")]
    assert asked([job("does not", priority=1, memory_gib=24)], view) == []


def test_a_full_host_is_read_down_to_the_last_priority_that_may_ask():
    view = host(card(0), holders=[victim("q_1", 0, priority=3)], no_gpu_limit=0)
    fed = []

    def queue():
        for entry in [job("a", priority=5, memory_gib=99), job("b", priority=4, memory_gib=98), job("c", priority=3)]:
            fed.append(entry.job_id)
            yield entry

    decide(queue(), view)

    assert fed == ["a", "b", "c"]


def test_many_small_victims_make_room_for_a_wide_job():
    """More sets than are tried: the answer still makes room, and spares who is not needed."""
    holders = [victim(f"q_{n:02}", n) for n in range(24)]
    view = host(*(card(n) for n in range(24)), holders=holders)

    assert len(asked([job("wide", 12, priority=1)], view)) == 12


def test_the_explanation_of_a_single_job_names_whom_it_waits_for():
    view = host(card(0), holders=[victim("q_1", 0, going=True)], no_gpu_limit=0)

    assert reason(job("urgent", priority=1), view).code == "preempting"


def test_the_one_who_asked_keeps_its_place_in_its_group_too():
    """A small job that filled the group meanwhile would leave it with free cards and no leave to start."""
    view = host(card(0), card(1), holders=[victim("q_1", 0), holder("shares", 1, jobs_per_gpu=2)], groups=ONE_AT_ONCE)
    waiting = [job("urgent", priority=1, group="g"), job("small", jobs_per_gpu=2, group="g")]

    decision = decide(waiting, view)

    assert (decision.starts, decision.preempt) == ((), (Preempt("q_1", "urgent"),))
    assert decision.reasons(waiting)["small"] == GroupFull("g", 1, 0, ("urgent",))


def test_what_starts_meanwhile_takes_nothing_from_the_one_who_asked():
    """`shares` starts on the free card. Had it joined the other two, no going of one of them would have made room."""
    both = [victim(job_id, 0, priority=-1, jobs_per_gpu=2) for job_id in ("q_1", "q_2")]
    waiting = [job("shares", jobs_per_gpu=2), job("wide", 2, jobs_per_gpu=2)]

    decision = decide(waiting, host(card(0), card(1), holders=both))
    (asked_one,) = {ask.victim_job_id for ask in decision.preempt}
    rest = [running for running in decision.after.holders if running.job_id != asked_one]

    assert [start.job_id for start in decision.starts] == ["shares"]
    assert [start.job_id for start in decide(waiting[1:], replace(decision.after, holders=rest)).starts] == ["wide"]


def test_each_waits_for_those_who_were_asked_for_it_until_they_are_gone():
    """And for free cards before any: else a card free for the first goes to the second, and it waits for two."""
    view = host(card(0), card(1), card(2), holders=[victim("b", 0), victim("a", 1, minutes_ago=5)])
    waiting = [job("first", 2, priority=2), job("second", priority=1)]

    decision = decide(waiting, view)
    again = decide(waiting, decision.after)

    assert [(ask.victim_job_id, ask.for_job_id) for ask in decision.preempt] == [("a", "first"), ("b", "second")]
    assert [kept.cards for kept in decision.kept] == [{1, 2}, {0}]
    assert (again.kept, again.starts, again.preempt) == (decision.kept, (), ())
