"""The state table: what is done with a job in running/ follows from four facts, and from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.dispatcher.steps import Facts, Step, next_step

facts = st.builds(
    Facts,
    started=st.booleans(),
    result=st.booleans(),
    runner_alive=st.booleans(),
    scope_populated=st.booleans(),
    again=st.booleans(),
)


@given(facts)
def test_a_job_with_a_result_is_put_away_unless_it_is_run_again(given_facts):
    """Whatever else is there: it has ended, and nothing may start or stop for it."""
    put_away = given_facts.result and not given_facts.again
    assert (next_step(given_facts) is Step.FINISH) == put_away


@given(facts)
def test_a_job_is_run_again_only_when_it_has_ended_and_its_runner_is_gone(given_facts):
    """Two runners of one job at once would share its cards."""
    if next_step(given_facts) is Step.AGAIN:
        assert given_facts.result and given_facts.again and not given_facts.runner_alive


@given(facts)
def test_what_has_started_never_goes_back_to_the_queue(given_facts):
    """Else it could run twice."""
    if given_facts.started:
        assert next_step(given_facts) is not Step.PUT_BACK


@given(facts)
def test_nothing_is_taken_from_a_living_runner(given_facts):
    """It will write its own result, or exit without having run anything."""
    if given_facts.runner_alive and not given_facts.result:
        assert next_step(given_facts) is Step.WAIT


@given(facts)
def test_a_job_is_lost_only_when_nothing_of_it_runs(given_facts):
    """Lost frees its cards."""
    if next_step(given_facts) is Step.LOSE:
        assert not given_facts.runner_alive
        assert not given_facts.scope_populated


@pytest.mark.parametrize(
    ("started", "runner_alive", "scope_populated", "step"),
    [
        (False, False, False, Step.PUT_BACK),
        (False, True, True, Step.WAIT),
        (True, True, True, Step.WAIT),
        (True, False, True, Step.END_REMAINS),
        (True, False, False, Step.LOSE),
    ],
)
def test_the_rows_of_the_table(started, runner_alive, scope_populated, step):
    found = Facts(started=started, result=False, runner_alive=runner_alive, scope_populated=scope_populated)

    assert next_step(found) is step
