"""What holds of shares, limits, reservations and asking to give way, whatever the host: generated cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from forgather_spool.gpu import Gpu, GpuPolicy
from forgather_spool.job import Terms
from forgather_spool.pending import ArrayFull, CardsBusy, CardsKept, GroupFull, StartsNext
from forgather_spool.policy import Asks, Decision, Group, Holder, View, Waiting, decide
from tests.values.policy_cases import NOW, submitted

GROUPS = {"one": Group(limit=1), "two": Group(limit=2), "off": Group(paused=True)}
TOTAL = 24

terms = st.builds(
    Terms,
    gpu_memory_bytes=st.sampled_from([None, None, 6, 8, 12, 20]),
    shared=st.booleans(),
    jobs_per_gpu=st.sampled_from([None, None, None, 2, 3]),
    preemptible=st.booleans(),
    time_limit_s=st.sampled_from([None, 60.0, 600.0, 3600.0]),
    group=st.sampled_from([None, None, None, *GROUPS]),
)
asks = st.builds(
    Asks,
    gpus=st.sampled_from([0, 1, 1, 1, 2, 3]),
    terms=terms,
    family=st.sampled_from([None, None, "f"]),
    family_limit=st.just(2),
)


def checked(test):
    """`given` with a queue for before, one for now, and a host; without hypothesis' time limit for each case."""
    return settings(deadline=None, max_examples=200)(given(queues("a"), queues("b"), hosts())(test))


@st.composite
def queues(draw: st.DrawFn, letter: str) -> list[Waiting]:
    drawn = draw(st.lists(st.tuples(st.integers(-1, 2), asks, st.sampled_from([10, 60])), max_size=7))
    entries = [
        Waiting(submitted(minutes, ord(letter) * 16 + n), priority, asked)
        for n, (priority, asked, minutes) in enumerate(drawn)
    ]
    return sorted(entries, key=lambda entry: (-entry.priority, entry.job_id))


@st.composite
def hosts(draw: st.DrawFn) -> View:
    cards = draw(st.integers(0, 4))
    return View(
        now=NOW - timedelta(minutes=5),
        gpus=[
            Gpu(index=n, uuid=f"GPU-{n}", name=None, memory_total_bytes=TOTAL, memory_used_bytes=0)
            for n in range(cards)
        ],
        policy=GpuPolicy(),
        no_gpu_limit=draw(st.integers(0, 3)),
        groups=GROUPS,
        reserve_after_s=draw(st.sampled_from([None, 1800.0])),
    )


def busy(view: View, before: list[Waiting]) -> View:
    """The host five minutes after it started what it could of `before`."""
    return replace(decide(before, view).after, now=NOW)


def with_terms(entry: Waiting, *, priority: int | None = None, **changes: object) -> Waiting:
    """The same job, with other terms."""
    asked = replace(entry.asks, terms=replace(entry.asks.terms, **changes))
    return replace(entry, asks=asked, priority=entry.priority if priority is None else priority)


def victims(entries: list[Waiting]) -> list[Waiting]:
    """Jobs that agreed to give way. Of no group or array: their going opens no gate for somebody else."""
    alone = [replace(entry, asks=replace(entry.asks, family=None)) for entry in entries]
    return [with_terms(entry, priority=-2, preemptible=True, group=None) for entry in alone]


@checked
def test_no_card_is_given_to_more_than_may_be_on_it(before: list[Waiting], waiting: list[Waiting], view: View):
    after = decide(waiting, busy(view, before)).after

    for gpu in after.gpus:
        on_it = [holder.terms for holder in after.holders if gpu.index in holder.cards]
        assert len(on_it) <= 1 or all(held.shares for held in on_it)
        assert all(len(on_it) <= held.jobs_per_gpu for held in on_it if held.jobs_per_gpu is not None)
        asked = [held.gpu_memory_bytes for held in on_it if held.gpu_memory_bytes is not None]
        assert sum(asked) <= TOTAL


@checked
def test_no_limit_is_exceeded(before: list[Waiting], waiting: list[Waiting], view: View):
    after = decide(waiting, busy(view, before)).after

    groups = Counter(holder.terms.group for holder in after.holders)
    assert groups["one"] <= 1 and groups["two"] <= 2 and groups["off"] == 0
    assert Counter(holder.family for holder in after.holders)["f"] <= 2
    assert sum(1 for holder in after.holders if not holder.cards) <= view.no_gpu_limit


@checked
def test_the_same_is_decided_again(before: list[Waiting], waiting: list[Waiting], view: View):
    """Whether jobs that ask alike share one value or not, and however NVML lists the cards."""
    here = busy(view, before)
    known: dict[Asks, Asks] = {}
    shared = [replace(entry, asks=known.setdefault(entry.asks, entry.asks)) for entry in waiting]

    assert decide(waiting, here) == decide(shared, here)
    turned = decide(waiting, replace(here, gpus=here.gpus[::-1]))
    assert (turned.starts, turned.preempt, turned.kept) == (
        decide(waiting, here).starts,
        decide(waiting, here).preempt,
        decide(waiting, here).kept,
    )


@checked
def test_every_reason_is_true(before: list[Waiting], waiting: list[Waiting], view: View):
    decision = decide(waiting, busy(view, before))
    after = decision.after

    reasons = decision.reasons(waiting)

    assert {job_id for job_id, reason in reasons.items() if isinstance(reason, StartsNext)} == {
        start.job_id for start in decision.starts
    }
    for reason in reasons.values():
        assert reason.text
        match reason:
            case GroupFull(name, limit, running, kept_for):
                assert running == sum(1 for holder in after.holders if holder.terms.group == name)
                assert running + len(kept_for) >= limit
            case ArrayFull(family, limit, running, kept_for):
                assert running == sum(1 for holder in after.holders if holder.family == family)
                assert running + len(kept_for) >= limit
            case CardsBusy() | CardsKept():
                assert reason.eligible_free < reason.asked <= len(view.gpus)
                assert reason.eligible_free + len(reason.details) == len(view.gpus)


@checked
def test_who_is_asked_to_give_way_agreed_is_less_important_and_makes_room(
    before: list[Waiting], waiting: list[Waiting], view: View
):
    here = busy(view, victims(before))
    decision = decide(waiting, here)
    running = {holder.job_id: holder for holder in here.holders}
    asking = {entry.job_id: entry for entry in waiting}

    for ask in decision.preempt:
        victim = running[ask.victim_job_id]
        assert victim.terms.preemptible and victim.cards and victim.priority < asking[ask.for_job_id].priority
    assert len({ask.victim_job_id for ask in decision.preempt}) == len(decision.preempt)

    if not decision.preempt:
        return
    first = decision.preempt[0].for_job_id
    gone = {ask.victim_job_id for ask in decision.preempt if ask.for_job_id == first}
    order = [entry.job_id for entry in waiting]
    then = [start.job_id for start in decided_without(gone, decision, waiting).starts]
    assert then and order.index(then[0]) <= order.index(first)  # or one further ahead that their going lets in


def decided_without(gone: set[str], before: Decision, waiting: list[Waiting]) -> Decision:
    """The decision after this one: what it started runs, and these have ended."""
    started = {start.job_id for start in before.starts}
    left = [entry for entry in waiting if entry.job_id not in started]
    rest = [holder for holder in before.after.holders if holder.job_id not in gone]
    return decide(left, replace(before.after, holders=rest))


@checked
def test_nobody_is_asked_twice_and_nobody_else_while_the_asked_one_goes(
    before: list[Waiting], waiting: list[Waiting], view: View
):
    """The passes between the question and the free cards ask nobody more."""
    decision = decide(waiting, busy(view, victims(before)))
    started = {start.job_id for start in decision.starts}

    left = [entry for entry in waiting if entry.job_id not in started]
    assert decide(left, decision.after).preempt == ()


class Future:
    """A host as time goes on: each job ends within its limit, and what is decided happens at once."""

    def __init__(self, view: View, waiting: list[Waiting], random: Random) -> None:
        self.view, self.waiting, self.random = view, waiting, random
        self.ends_at = {holder.job_id: self.end_of(holder) for holder in view.holders}
        self.started_at: dict[str, datetime] = {}

    def end_of(self, holder: Holder) -> datetime:
        latest = holder.ends_by_at or self.view.now + timedelta(hours=9)
        return self.view.now + (max(latest, self.view.now) - self.view.now) * self.random.choice([0.1, 0.5, 1, 1])

    def step(self):
        """Decide; then on to the next end."""
        decision = decide(self.waiting, self.view)
        started = {start.job_id for start in decision.starts}
        self.started_at |= dict.fromkeys(started, self.view.now)
        self.waiting = [entry for entry in self.waiting if entry.job_id not in started]
        self.ends_at |= {h.job_id: self.end_of(h) for h in decision.after.holders if h.job_id in started}
        next_at = min((self.ends_at[h.job_id] for h in decision.after.holders), default=self.view.now)
        running = tuple(h for h in decision.after.holders if self.ends_at[h.job_id] > next_at)
        self.view = replace(decision.after, now=next_at, holders=running)
        return decision


@settings(deadline=None, max_examples=200)
@given(queues("a"), queues("b"), hosts(), st.randoms(use_true_random=False), st.integers(2, 4))
def test_a_job_that_was_promised_a_start_starts_by_then(
    before: list[Waiting], others: list[Waiting], view: View, random: Random, gpus: int
):
    """Whatever fills the gap, and whoever ends early: what is promised may come sooner and never later."""
    wide = Waiting(submitted(100), 3, Asks(gpus=gpus))
    first = [with_terms(entry, preemptible=False, time_limit_s=900.0, group=None) for entry in before]
    here = replace(busy(view, first), reserve_after_s=1800.0)
    future = Future(here, [wide, *others], random)

    promised = None
    for _ in range(len(before) + len(others) + 2):  # each step ends a job
        decision = future.step()
        for kept in decision.kept:
            if kept.job_id == wide.job_id and kept.starts_at is not None:
                assert promised is None or kept.starts_at <= promised
                promised = kept.starts_at

    assert promised is None or future.started_at[wide.job_id] <= promised
