"""Whether there is another attempt: a pure function, so every rule of the table is asked here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.again import MAX_DELAY_S, SERVICE_MANAGER, Again, again, may_follow

EXITED = {"kind": "exited", "exit_code": 7}
SUCCESS = {"kind": "exited", "exit_code": 0}
KILLED = {"kind": "killed", "signal": 11}
OOM = {"kind": "out_of_memory"}
TIMED_OUT = {"kind": "timed_out", "limit_s": 5.0}
LOST = {"kind": "lost", "reason": "the machine was restarted"}
SHUT_DOWN = {"kind": "cancelled", "by": SERVICE_MANAGER}
CANCELLED = {"kind": "cancelled", "by": "anna"}
REFUSED = {"kind": "refused", "reason": "no such directory"}
FAILURES = [EXITED, KILLED, OOM, TIMED_OUT]
EVERY = [*FAILURES, SUCCESS, LOST, SHUT_DOWN, CANCELLED, REFUSED]

specs = st.fixed_dictionaries(
    {
        "retries": st.integers(0, 5),
        "retry_on": st.lists(st.sampled_from(["7", "1", "signals", "oom", "timeout"]), max_size=3),
        "retry_delay_s": st.floats(0, 86400),
        "requeue": st.booleans(),
    }
)
outcomes = st.sampled_from(EVERY)
counts = st.integers(0, 2000)


def a_spec(**more):
    return {"retries": 0, "retry_on": [], "retry_delay_s": 10.0, "requeue": False, **more}


def asked(spec, outcome, *, retries=0, requeues=0, asked_to_stop=False, gave_way=False) -> Again | None:
    return again(
        spec, outcome, retries=retries, requeues=requeues, asked_to_stop=asked_to_stop, gave_way=gave_way
    )  # fmt: skip


@given(specs, outcomes, counts, counts, st.booleans())
def test_a_job_somebody_stopped_never_comes_back(spec, outcome, retries, requeues, gave_way):
    found = asked(spec, outcome, retries=retries, requeues=requeues, asked_to_stop=True, gave_way=gave_way)

    assert found is None


@given(specs, st.sampled_from([SUCCESS, CANCELLED, REFUSED]), counts, counts)
def test_what_succeeded_was_cancelled_or_cannot_start_is_over(spec, outcome, retries, requeues):
    assert asked(spec, outcome, retries=retries, requeues=requeues) is None


@given(specs, outcomes, counts, counts)
def test_there_are_no_more_retries_than_were_granted(spec, outcome, retries, requeues):
    found = asked(spec, outcome, retries=retries, requeues=requeues)

    if found is not None and found.reason == "retry":
        assert found.retries == retries + 1 <= spec["retries"]


@given(specs, outcomes, counts, counts, st.booleans(), st.booleans())
def test_who_may_not_look_on_disk_never_puts_a_job_away_that_comes_back(
    spec, outcome, retries, requeues, asked_to_stop, gave_way
):
    """`may_follow` knows less, and is wrong on the safe side only."""
    found = asked(
        spec, outcome, retries=retries, requeues=requeues, asked_to_stop=asked_to_stop, gave_way=gave_way
    )  # fmt: skip

    if found is not None:
        assert may_follow(spec, outcome, preempted=gave_way)


@given(specs, outcomes, counts, counts)
def test_a_pause_ends_within_the_hour_unless_a_longer_one_was_asked_for(spec, outcome, retries, requeues):
    found = asked(spec, outcome, retries=retries, requeues=requeues)

    if found is not None:
        assert 0 <= found.delay_s <= max(MAX_DELAY_S, spec["retry_delay_s"])


def test_the_pause_doubles_with_each_retry():
    spec = a_spec(retries=20, retry_delay_s=10.0)

    pauses = [asked(spec, EXITED, retries=n).delay_s for n in (0, 1, 2, 8, 9, 19)]

    assert pauses == [10.0, 20.0, 40.0, 2560.0, 3600.0, 3600.0]


@pytest.mark.parametrize("outcome", FAILURES, ids=lambda one: one["kind"])
def test_without_more_words_every_failure_is_a_reason(outcome):
    assert asked(a_spec(retries=1), outcome) is not None


@pytest.mark.parametrize(
    ("cause", "outcome"), [("7", EXITED), ("signals", KILLED), ("oom", OOM), ("timeout", TIMED_OUT)]
)
def test_a_cause_that_is_named_is_the_only_one(cause, outcome):
    spec = a_spec(retries=1, retry_on=[cause])

    assert [failure for failure in FAILURES if asked(spec, failure) is not None] == [outcome]


def test_retries_are_for_failures_and_not_for_what_was_lost():
    """A lost job may have done its work: whoever wants it again says so."""
    assert asked(a_spec(retries=3), LOST) is None


@pytest.mark.parametrize("outcome", [LOST, SHUT_DOWN], ids=["lost", "shut down"])
def test_a_requeue_is_for_what_was_lost_and_uses_up_no_retry(outcome):
    found = asked(a_spec(retries=2, requeue=True), outcome, retries=1)

    assert (found.reason, found.delay_s, found.retries, found.requeues) == ("requeue", 0.0, 1, 1)


def test_a_job_that_brings_its_machine_down_pauses_longer_each_time():
    spec = a_spec(requeue=True)

    assert [asked(spec, LOST, requeues=n).delay_s for n in (0, 1, 2, 3, 50)] == [0.0, 10.0, 20.0, 40.0, 3600.0]


def test_a_job_that_gave_way_comes_back_at_once_and_uses_up_nothing():
    found = asked(a_spec(retries=1), CANCELLED | {"by": "preemption"}, retries=1, gave_way=True)

    assert (found.reason, found.delay_s, found.retries, found.requeues) == ("preempted", 0.0, 1, 0)
