"""What keeps a job waiting however much is free: its time, other jobs, its group, its array."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from forgather_spool.pending import ArrayFull, AwaitsJobs, BeginsLater, GroupFull, GroupPaused, TriedAgainLater
from forgather_spool.policy import Asks, Group, Never, NeverMet, Unmet, View, Waiting, decide
from tests.values.policy_cases import NOW, card, holder, host, job, reason, started, terms

SOON = NOW + timedelta(minutes=5)


def test_a_job_waits_for_its_time_and_the_loop_is_told_when_that_is():
    view = host()
    later, sooner = job("a", 0, begin_at=SOON), job("b", 0, begin_at=SOON - timedelta(minutes=1))

    decision = decide([later, sooner], view)

    assert decision.starts == ()
    assert decision.look_again_at == SOON - timedelta(minutes=1)
    assert reason(later, view) == BeginsLater(SOON)
    assert started([job("a", 0, begin_at=NOW)], view) == {"a": []}


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-11-21 12:05:00 +0000"),
        ("Europe/Berlin", "2026-11-21 13:05:00 +0100"),
        ("XXX-25", "2026-11-21 12:05:00 +0000"),  # a day from UTC: more than a datetime may be
    ],
)
def test_a_time_is_told_as_the_clock_on_the_wall_shows_it(zone: str, shown: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert reason(job("a", 0, begin_at=SOON), host()).text == f"does not start before {shown}"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_job_that_failed_waits_out_its_pause():
    entry = job("a", 0, not_before_at=SOON)

    assert reason(entry, host()) == TriedAgainLater(SOON)
    assert decide([entry], host()).look_again_at == SOON


def test_a_pause_of_one_does_not_hold_up_another_that_asks_the_same():
    asks = Asks()
    waiting = [Waiting("a", 0, asks, not_before_at=SOON), Waiting("b", 0, asks)]

    assert started(waiting, host()) == {"b": []}


def test_a_job_waits_for_those_it_comes_after():
    entry = job("a", 0, after=Unmet(("q_1", "q_2")))

    assert started([entry, job("b", 0)], host()) == {"b": []}
    assert reason(entry, host()) == AwaitsJobs(("q_1", "q_2"))
    assert reason(entry, host()).text == "comes after job q_1 and 1 more, not ended yet"


def test_what_can_never_start_is_named_with_what_its_spec_wants_done():
    never = Never("q_1 failed")
    waiting = [job("a", 0, after=never), job("b", 0, after=never, after_unmet="hold")]

    decision = decide(waiting, host())

    assert decision.starts == ()
    assert decision.never_met == (NeverMet("a", 0, "q_1 failed", "end"), NeverMet("b", 0, "q_1 failed", "hold"))
    assert started([job("c", 0, after=never, after_unmet="run")], host()) == {"c": []}


def test_a_group_is_filled_up_to_its_limit_counting_who_runs():
    view = host(card(0), groups={"g": Group(limit=2)}, holders=[holder("running", group="g")])
    waiting = [job("a", 1, group="g"), job("b", 0, group="g"), job("c", 0), job("d", 0, group="other")]

    assert started(waiting, view) == {"a": [0], "c": [], "d": []}
    assert decide(waiting, view).reasons(waiting)["b"] == GroupFull("g", 2, 2)


def test_a_job_that_has_ended_counts_no_longer_while_it_holds_its_card():
    view = host(groups={"g": Group(limit=1)}, holders=[holder("dying", 0, group="g", ended=True)])

    assert started([job("a", 0, group="g")], view) == {"a": []}


def test_a_paused_group_starts_nothing_and_holds_up_nobody_else():
    view = host(groups={"g": Group(paused=True)})

    assert started([job("a", 0, group="g"), job("b", 0)], view) == {"b": []}
    assert reason(job("a", 0, group="g"), view) == GroupPaused("g")


def test_an_array_runs_as_many_members_at_once_as_it_says():
    asks = Asks(family="q_1", family_limit=2)
    waiting = [Waiting(f"q_1[{n}]", 0, asks) for n in range(4)]
    running = [holder("q_1[9]"), holder("q_2[9]")]
    view = host(no_gpu_limit=9, holders=[in_family(running[0], "q_1"), in_family(running[1], "q_2")])

    assert started(waiting, view) == {"q_1[0]": []}
    assert decide(waiting, view).reasons(waiting)["q_1[1]"] == ArrayFull("q_1", 2, 2)


def in_family(running, family):
    from dataclasses import replace

    return replace(running, family=family)


@pytest.mark.parametrize(
    ("entry", "view", "code"),
    [
        (job("a", 0, begin_at=SOON), host(), "begin_time"),
        (job("a", 0, not_before_at=SOON), host(), "backoff"),
        (job("a", 0, after=Unmet(("q_1",))), host(), "dependency"),
        (job("a", 0, after=Never("q_1 failed")), host(), "dependency_never"),
        (job("a", 0, group="g"), host(groups={"g": Group(paused=True)}), "group_paused"),
        (job("a", 0, group="g"), host(groups={"g": Group(limit=1)}, holders=[holder("r", group="g")]), "group_limit"),
        (job("a", 0, family="f", family_limit=0), host(), "array_limit"),
    ],
)
def test_the_words_scripts_rely_on_stay(entry: Waiting, view: View, code: str):
    assert reason(entry, view).code == code
    assert decide([entry], view).starts == ()


class Counting:
    """A queue of jobs that ask alike, as the waitlist feeds them: what is given up is passed over."""

    def __init__(self, count: int) -> None:
        self.count, self.fed = count, 0

    def fed_to(self, view: View) -> int:
        from forgather_spool.policy import GivenUp

        asks, given_up = Asks(terms=terms(group="g")), GivenUp()
        decide(self.feed(asks, given_up), view, given_up)
        return self.fed

    def feed(self, asks, given_up):
        for n in range(self.count):
            if not given_up.covers(asks, 0):
                self.fed += 1
                yield Waiting(f"q_{n}", 0, asks)


def test_a_hundred_thousand_jobs_of_a_full_group_are_decided_as_one():
    view = host(groups={"g": Group(limit=2)}, no_gpu_limit=9)

    assert Counting(100_000).fed_to(view) == 3
