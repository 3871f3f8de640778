"""What holds of every decision, whatever the host and the queue: generated cases, and an oracle that tries all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy, GpuProcess
from forgather_spool.job import GpuRef, Terms
from forgather_spool.pending import CardsBusy, NeedsMoreCards, NeedsMoreMemory, PriorityTooLow, StartsNext
from forgather_spool.policy import Asks, View, Waiting, decide
from tests.values.policy_cases import NOW, holder

PRIORITIES = st.integers(-1, 2)
MEMORIES = st.sampled_from([None, 10, 20, 30])
OUR_PID, FOREIGN_PID = 1, 2


def for_any(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`given`, without hypothesis' time limit for each case: a busy machine is no failure."""
    return lambda test: settings(deadline=None, max_examples=200)(given(*strategies)(test))


def rarely(usual: object, rare: object) -> st.SearchStrategy[Any]:
    """Mostly `usual`: a host where everything is wrong decides nothing."""
    return st.sampled_from([usual] * 9 + [rare])


@st.composite
def cards(draw: st.DrawFn, index: int) -> Gpu:
    total = draw(st.sampled_from([None, 16, 32, 32, 32]))
    kinds = st.tuples(st.sampled_from([OUR_PID, FOREIGN_PID]), st.sampled_from(["compute", "graphics"]))
    processes = draw(st.one_of(st.just([]), st.just([]), st.lists(kinds, max_size=2)))
    return Gpu(
        index=index,
        uuid=f"GPU-{index}",
        name=None,
        memory_total_bytes=total,
        memory_used_bytes=None if total is None else draw(st.sampled_from([0, 0, 12])),
        processes=tuple(GpuProcess(pid=p, kind=k, memory_used_bytes=None, name=None, user=None) for p, k in processes),
        excluded=draw(rarely(False, True)),
        problem=draw(rarely(None, "lost")),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    gpus = [draw(cards(index)) for index in range(draw(st.sampled_from([0, 1, 2, 3, 4, 5, 5])))]
    policies = st.builds(CardPolicy, disabled=rarely(False, True), min_priority=st.one_of(st.none(), PRIORITIES))
    keys = st.sampled_from([key for index in range(5) for key in (str(index), f"GPU-{index}")])
    held = draw(st.sets(st.integers(0, 4), max_size=1))
    return View(
        gpus=gpus,
        policy=GpuPolicy(
            cards=draw(st.dictionaries(keys, policies, max_size=4)), ignore_foreign_processes=draw(st.booleans())
        ),
        now=NOW,
        holders=[
            *(holder(f"held_{index}", index) for index in held),
            *(holder(f"running_{n}") for n in range(draw(st.integers(0, 3)))),
        ],
        our_pids={OUR_PID: "q_of_ours"},
        no_gpu_limit=draw(st.integers(0, 4)),
        paused=draw(rarely(False, True)),
        nvml_problem=draw(rarely(None, "no driver")),
    )


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    shapes = draw(st.lists(st.tuples(PRIORITIES, st.sampled_from([0, 1, 1, 1, 2, 2, 3, 6]), MEMORIES), max_size=8))
    entries = [
        Waiting(f"q_{n}", priority, Asks(gpus=gpus, terms=Terms(gpu_memory_bytes=memory)))
        for n, (priority, gpus, memory) in enumerate(shapes)
    ]
    return sorted(entries, key=lambda entry: (-entry.priority, entry.job_id))


def taken(view: View) -> set[int]:
    return {index for holder in view.holders for index in holder.cards}


def without_gpu(view: View) -> int:
    return sum(1 for holder in view.holders if not holder.cards)


def least(gpu: Gpu, view: View) -> float:
    wanted = view.policy.of(gpu).min_priority
    return float("-inf") if wanted is None else wanted


def may_have(gpu: Gpu, entry: Waiting, view: View) -> bool:
    """The rules of the manual, written a second time and in another order."""
    policy = view.policy.of(gpu)
    foreign = any(p.kind == "compute" and p.pid not in view.our_pids for p in gpu.processes)
    roomy = entry.asks.terms.gpu_memory_bytes is None or (
        gpu.memory_free_bytes is not None and gpu.memory_free_bytes >= entry.asks.terms.gpu_memory_bytes
    )
    allowed = not policy.disabled and not gpu.excluded and least(gpu, view) <= entry.priority
    idle = gpu.index not in taken(view) and (view.policy.ignore_foreign_processes or not foreign)
    return allowed and idle and roomy and gpu.problem is None and view.nvml_problem is None


def best_choice(entry: Waiting, view: View, free: Sequence[Gpu]) -> tuple[GpuRef, ...] | None:
    """Of all sets of cards it may have, the one a person would pick with the rules at hand."""
    choices = [c for c in combinations(free, entry.asks.gpus) if all(may_have(gpu, entry, view) for gpu in c)]
    if not choices:
        return None
    best = min(choices, key=lambda c: sorted((-least(gpu, view), gpu.index) for gpu in c))
    return tuple(sorted((gpu.ref for gpu in best), key=lambda ref: ref.index))


def oracle(waiting: Sequence[Waiting], view: View) -> list[tuple[str, tuple[GpuRef, ...]]]:
    """Job after job, nothing skipped and nothing remembered."""
    free, room = list(view.gpus), view.no_gpu_limit - without_gpu(view)
    starts: list[tuple[str, tuple[GpuRef, ...]]] = []
    for entry in waiting:
        chosen = best_choice(entry, view, free)
        if view.paused or chosen is None or (entry.asks.gpus == 0 and room <= 0):
            continue
        room -= entry.asks.gpus == 0
        free = [gpu for gpu in free if gpu.ref not in chosen]
        starts.append((entry.job_id, chosen))
    return starts


def starts_of(waiting: Sequence[Waiting], view: View) -> list[tuple[str, tuple[GpuRef, ...]]]:
    return [(start.job_id, start.gpus) for start in decide(waiting, view).starts]


@for_any(queues(), views())
def test_the_decision_is_the_one_that_trying_everything_finds(waiting: list[Waiting], view: View):
    """So: order kept, no card twice, none ineligible, nobody skipped who could have been placed."""
    assert starts_of(waiting, view) == oracle(waiting, view)


@for_any(queues(), views())
def test_no_card_is_given_twice_and_each_job_gets_what_it_asked(waiting: list[Waiting], view: View):
    asked = {entry.job_id: entry.asks.gpus for entry in waiting}

    starts = decide(waiting, view).starts

    given_out = [ref.index for start in starts for ref in start.gpus]
    assert len(given_out) == len(set(given_out))
    assert not set(given_out) & taken(view)
    assert all(len(start.gpus) == asked[start.job_id] for start in starts)


@for_any(queues(), views())
def test_no_more_jobs_without_a_card_run_than_may(waiting: list[Waiting], view: View):
    after = decide(waiting, view).after

    assert without_gpu(after) <= max(view.no_gpu_limit, without_gpu(view))


@for_any(queues(), views(), st.randoms(use_true_random=False))
def test_the_order_in_which_nvml_lists_cards_changes_nothing(waiting: list[Waiting], view: View, random: Random):
    shuffled = list(view.gpus)
    random.shuffle(shuffled)
    other = replace(view, gpus=shuffled)

    assert starts_of(waiting, other) == starts_of(waiting, view)
    assert decide(waiting, other).reasons(waiting) == decide(waiting, view).reasons(waiting)


@for_any(queues(), views())
def test_a_second_look_after_the_starts_finds_nothing_more(waiting: list[Waiting], view: View):
    first = decide(waiting, view)
    started = {start.job_id for start in first.starts}

    assert decide([entry for entry in waiting if entry.job_id not in started], first.after).starts == ()


@for_any(queues(), views())
def test_exactly_the_jobs_that_start_are_told_so(waiting: list[Waiting], view: View):
    decision = decide(waiting, view)

    told = [(job_id, r.gpus) for job_id, r in decision.reasons(waiting).items() if isinstance(r, StartsNext)]

    assert told == [(start.job_id, start.gpus) for start in decision.starts]


@for_any(queues(), views())
def test_who_is_told_to_wait_would_start_alone_only_if_others_took_its_place(waiting: list[Waiting], view: View):
    decision = decide(waiting, view)
    for entry in waiting:
        if isinstance(decision.reasons([entry])[entry.job_id], StartsNext):
            continue
        assert not decide([entry], decision.after).starts
        if decide([entry], view).starts:
            assert decision.starts


@for_any(queues(), views())
def test_the_numbers_of_a_reason_add_up(waiting: list[Waiting], view: View):
    for reason in decide(waiting, view).reasons(waiting).values():
        match reason:
            case CardsBusy() | PriorityTooLow():
                assert reason.eligible_free < reason.asked <= len(view.gpus)
                assert reason.eligible_free + len(reason.details) == len(view.gpus)
            case NeedsMoreCards():
                assert reason.host_has < reason.asked
            case NeedsMoreMemory():
                assert reason.largest_bytes < reason.asked_bytes
        assert reason.text


@for_any(queues(), views())
def test_a_job_the_host_can_never_serve_does_not_start_on_an_idle_host_either(waiting: list[Waiting], view: View):
    idle_gpus = [replace(gpu, processes=(), memory_used_bytes=0) for gpu in view.gpus]
    idle = replace(view, gpus=idle_gpus, holders=[], policy=GpuPolicy(cards={}))
    reasons = decide(waiting, view).reasons(waiting)
    for entry in waiting:
        if isinstance(reasons[entry.job_id], (NeedsMoreCards, NeedsMoreMemory)):
            assert not decide([replace(entry, priority=99)], idle).starts


@for_any(queues(), views())
def test_the_priority_named_is_the_least_that_starts_the_job(waiting: list[Waiting], view: View):
    decision = decide(waiting, view)
    for entry in waiting:
        reason = decision.reasons([entry])[entry.job_id]
        if isinstance(reason, PriorityTooLow):
            assert decide([replace(entry, priority=reason.needed)], decision.after).starts
            assert not decide([replace(entry, priority=reason.needed - 1)], decision.after).starts


@for_any(queues(), views())
def test_one_more_free_card_never_keeps_the_first_job_from_starting(waiting: list[Waiting], view: View):
    assume(waiting)
    first = waiting[0].job_id
    extra = Gpu(index=9, uuid="GPU-9", name=None, memory_total_bytes=32, memory_used_bytes=0)
    richer = replace(view, gpus=[*view.gpus, extra])

    if first in dict(starts_of(waiting, view)):
        assert first in dict(starts_of(waiting, richer))
    if not decide(waiting, view).starts and waiting[0].asks.gpus == 1 and waiting[0].priority >= 0:
        assert view.paused or view.nvml_problem or first in dict(starts_of(waiting, richer))
