"""A runner killed, or refused by the kernel, at each of its system calls in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgather_spool.outcome import Lost, Refused
from tests.story.world import HOST, World
from tests.sweep import ledger, scenes, strace, walk

PARTS = 4


def a_runner(world: World) -> list[str]:
    """Its command; the job waits to be claimed by it."""
    world.spool.open_host(HOST)
    _, job_id = scenes.submitted(world)
    (world.folder / "jobs").write_text(job_id)
    return [*walk.PYTHON, "-m", "tests.sweep.lone_runner", world.spool.paths.home, job_id]


def ended_once(world: World, done: strace.Disturbed) -> list[str]:
    ledger.recover(world)
    return ledger.violations(world, scenes.job_ids(world), may_be=frozenset({Lost, Refused}))


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_its_job_runs_once_or_is_called_lost(part: int, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)
    points = done.points(a_runner)[part::PARTS]

    done.go(points, walk.kill, a_runner, ended_once)

    assert not done.wrong, done.report
    assert done.hits > 5


@pytest.mark.parametrize("part", range(PARTS))
def test_refused_anything_its_job_runs_once_or_the_result_says_why_not(part: int, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)
    points = done.points(a_runner)[part::PARTS]

    done.go(points, walk.fail, a_runner, ended_once)

    assert not done.wrong, done.report
    assert done.hits > 5
