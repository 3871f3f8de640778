"""Cards kept for a job that has waited long, and what may fill the gap until it starts."""

from __future__ import annotations

from datetime import timedelta

from forgather_spool.pending import ArrayFull, CardsBusy, CardsKept
from forgather_spool.phrases import at_text
from forgather_spool.policy import Kept, decide
from tests.values.policy_cases import NOW, card, holder, host, job, process, reason, started, submitted

AFTER = {"reserve_after_s": 1800.0}
LONG, SHORT = submitted(40), submitted(20)
MARGIN_S = 20  # the default grace, and what `ends_by` adds


def in_minutes(minutes: float) -> timedelta:
    return timedelta(seconds=minutes * 60 + MARGIN_S)


def test_cards_are_kept_for_a_job_that_has_waited_long_enough():
    """The small job behind it would start for ever; it has no time limit, so nobody knows when it ends."""
    view = host(card(0), card(1), taken={0: "q_1"}, **AFTER)

    assert started([job(LONG, 2), job("small")], view) == {}
    assert started([job(SHORT, 2), job("small")], view) == {"small": [1]}
    assert started([job(LONG, 2), job("small")], host(card(0), card(1), taken={0: "q_1"})) == {"small": [1]}


def test_a_card_it_cannot_use_is_not_kept():
    view = host(card(0), card(1), card(2, total_gib=16), taken={0: "q_1"}, **AFTER)

    assert started([job(LONG, 2, memory_gib=20), job("small"), job("smaller")], view) == {"small": [2]}


def test_a_job_that_ends_in_time_fills_the_gap():
    """10 of 30 minutes are over: 20 remain, and each end is counted with its grace and a margin."""
    view = host(card(0), card(1), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], **AFTER)
    wide = job(LONG, 2)

    assert decide([wide], view).kept == (Kept(entry=wide, cards=frozenset({0, 1}), starts_at=NOW + in_minutes(20)),)
    assert started([wide, job("fits", time_limit_s=1200)], view) == {"fits": [1]}
    assert started([wide, job("too long", time_limit_s=1201)], view) == {}
    assert started([wide, job("who knows")], view) == {}


def test_who_fills_the_gap_takes_no_place_in_the_limit_of_the_one_it_waits_for():
    """Shut out by the limit, the wide job would have no cards kept for it, and one without an end would take them."""
    view = host(card(0), card(1), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], **AFTER)
    limited = {"family": "f", "family_limit": 1}
    waiting = [job(LONG, 2, **limited), job("fits", time_limit_s=60, **limited), job("who knows")]

    first = decide(waiting, view)

    assert first.starts == ()
    assert first.reasons(waiting[:2])["fits"] == ArrayFull("f", limit=1, running=0, kept_for=(LONG,))
    assert started([waiting[0], job("other", time_limit_s=60), *waiting[1:]], view) == {"other": [1]}


def test_it_is_told_when_it_starts_or_why_that_cannot_be_known():
    known = host(card(0), card(1), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], **AFTER)
    unknown = host(card(0), card(1), taken={0: "q_1"}, **AFTER)

    found = reason(job(LONG, 2), known)
    assert isinstance(found, CardsKept)
    assert found.text == (
        f"waits for 2 cards: 1 of 2 is free for it; cards 0, 1 kept for it, starts by {at_text(NOW + in_minutes(20))}"
    )
    assert reason(job(LONG, 2), unknown).text == (
        "waits for 2 cards: 1 of 2 is free for it; cards 0, 1 kept for it, when it starts cannot be known: "
        "job q_1 on card 0 has no time limit"
    )
    assert found.code == "reserved"


def test_who_waits_because_of_it_is_told_so():
    view = host(card(0), card(1), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], **AFTER)
    waiting = [job(LONG, 2), job(SHORT)]

    found = decide(waiting, view).reasons(waiting)[SHORT]

    assert isinstance(found, CardsBusy)
    assert [obstacle.text for obstacle in found.details] == [
        "card 0: job q_1",
        f"card 1: kept for job {LONG}, which starts by {at_text(NOW + in_minutes(20))}",
    ]


def test_who_has_not_waited_long_is_told_from_when_on_cards_are_kept():
    found = reason(job(SHORT, 2), host(card(0), card(1), taken={0: "q_1"}, **AFTER))

    assert isinstance(found, CardsBusy)
    assert found.kept_from_at == NOW + timedelta(minutes=10)
    assert found.text.endswith(f"; from {at_text(NOW + timedelta(minutes=10))} on cards are kept for it")


def test_the_cards_that_come_free_first_are_the_ones_kept():
    holders = [
        holder("slow", 0, minutes_ago=0, time_limit_s=7200),
        holder("fast", 1, minutes_ago=0, time_limit_s=600),
        holder("endless", 2),
    ]

    [kept] = decide([job(LONG, 2)], host(card(0), card(1), card(2), card(3), holders=holders, **AFTER)).kept

    assert (kept.cards, kept.starts_at) == ({1, 3}, NOW + in_minutes(10))


def test_of_two_that_have_waited_long_the_first_in_order_has_cards_kept():
    other = submitted(60, number=2)
    view = host(card(0), card(1), card(2), taken={0: "q_1"}, **AFTER)

    [kept] = decide([job(LONG, 3, priority=1), job(other, 3)], view).kept

    assert kept.job_id == LONG


def test_one_of_higher_priority_still_goes_first():
    view = host(card(0), card(1), taken={0: "q_1"}, **AFTER)

    assert started([job("urgent", priority=9), job(LONG, 2)], view) == {"urgent": [1]}


def test_an_old_job_behind_young_ones_that_ask_alike_has_cards_kept():
    """What is known of a shape that found no place must not hide the one who waited."""
    view = host(card(0), card(1), taken={0: "q_1"}, **AFTER)

    [kept] = decide([job(SHORT, 2, priority=1), job(LONG, 2), job("small")], view).kept

    assert kept.job_id == LONG


def test_nothing_is_kept_where_waiting_for_our_jobs_is_no_help():
    """A stranger's process may end tomorrow: others need not wait for that."""
    stranger = card(1, processes=(process(7),))
    view = host(card(0), stranger, card(2), **AFTER)

    assert started([job(LONG, 3), job("small")], view) == {"small": [0]}
    assert decide([job(LONG, 3, memory_gib=100)], host(card(0), card(1), card(2), **AFTER)).kept == ()
    assert decide([job(LONG, 2, priority=0)], host(card(0), taken={0: "q_1"}, **AFTER)).kept == ()


def test_waiting_counts_from_the_time_a_job_was_to_begin():
    begun = job(LONG, 2, begin_at=NOW - timedelta(minutes=5))

    assert started([begun, job("small")], host(card(0), card(1), taken={0: "q_1"}, **AFTER)) == {"small": [1]}


def test_a_host_so_full_that_nothing_is_looked_at_still_explains_the_reservation():
    view = host(card(0), holders=[holder("q_1", 0, minutes_ago=10, time_limit_s=1800)], no_gpu_limit=0, **AFTER)

    assert isinstance(reason(job(LONG), view), CardsKept)
