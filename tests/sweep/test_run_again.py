"""A dispatcher that brings jobs back, and a runner that leaves them to it, disturbed at each of their system calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgather_spool.outcome import Lost, Refused
from tests.story.world import HOST, World
from tests.sweep import ledger, scenes, strace, walk

PARTS = 2
EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])


@EFFECTS
@pytest.mark.parametrize("part", range(PARTS))
def test_each_attempt_runs_once_and_none_is_skipped(part: int, effects, tmp_path: Path) -> None:
    """One that failed, one that is decided on and not back in the queue, one whose runner died."""
    done = walk.Walk(tmp_path)
    points = done.points(walk.a_dispatcher_with_jobs_to_run_again, walk.a_dispatcher_with_everything_half_done)[
        part::PARTS
    ]

    done.go(points, effects, walk.a_dispatcher_with_jobs_to_run_again, walk.everything_has_ended_once)

    assert not done.wrong, done.report
    assert done.hits > 5


def a_runner_of_a_job_that_fails_once(world: World) -> list[str]:
    world.spool.open_host(HOST)
    _, job_id = world.submit(ledger.FAILS_ONCE, retries=3, requeue=True, retry_delay_s=0)
    (world.folder / "jobs").write_text(job_id)
    return [*walk.PYTHON, "-m", "tests.sweep.lone_runner", world.spool.paths.home, job_id]


def ended_well_in_the_end(world: World, done: strace.Disturbed) -> list[str]:
    ledger.recover(world)
    return ledger.violations(world, scenes.job_ids(world), may_be=frozenset({Lost, Refused}))


@EFFECTS
@pytest.mark.parametrize("part", range(2))
def test_a_runner_leaves_a_job_that_comes_back_or_is_called_lost(part: int, effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)
    points = done.points(a_runner_of_a_job_that_fails_once)[part::2]

    done.go(points, effects, a_runner_of_a_job_that_fails_once, ended_well_in_the_end)

    assert not done.wrong, done.report
    assert done.hits > 5
