"""Removing ended jobs, killed or refused by the kernel at each system call in turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.spool.place import Ended, locate
from tests import builders
from tests.story.world import World
from tests.sweep import ledger, scenes, strace, walk

EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])


def one_ended_and_one_that_waits(world: World) -> list[str]:
    ended = [builders.ended(world.spool, output=b"x")]
    waits = scenes.submitted(world)
    (world.folder / "ended").write_text("\n".join(entry[1] for entry in ended))
    (world.folder / "jobs").write_text(waits[1])
    return [*walk.FORGATHER, "sched", "cleanup", "--yes"]


def each_job_is_whole_or_gone(world: World, done: strace.Disturbed) -> list[str]:
    """The next cleanup leaves no trace of any, and the one that waits runs once."""
    spool, found = world.spool, []
    for job_id in (world.folder / "ended").read_text().split():
        is_whole = all(map(os.path.exists, (spool.paths.result(job_id, 1), spool.paths.output(job_id, 1))))
        if isinstance(locate(spool, job_id), Ended) and not is_whole:
            found.append(f"{job_id} is listed, and part of it is gone")
    if done.returncode == 0 and os.listdir(spool.paths.jobs):
        found.append("it succeeded and left something")
    again = world.forgather("sched", "cleanup", "--yes")
    if again.returncode or os.listdir(spool.paths.jobs) or any(map(os.listdir, _days(world))):
        found.append(f"the next cleanup leaves {os.listdir(spool.paths.jobs)}: {again.stderr}")
    ledger.recover(world)
    return found + ledger.violations(world, scenes.job_ids(world))


def _days(world: World) -> list[Path]:
    return list(Path(world.spool.paths.done).iterdir())


@EFFECTS
def test_a_cleanup_removes_a_job_whole_or_not_at_all_and_the_next_finishes_it(effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)

    done.go(done.points(one_ended_and_one_that_waits), effects, one_ended_and_one_that_waits, each_job_is_whole_or_gone)

    assert not done.wrong, done.report
    assert done.hits > 5
