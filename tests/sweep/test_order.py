"""A dispatcher that refuses, holds, expands and brings back what gave way, disturbed at each of its system calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.story.world import World
from tests.sweep import ledger, scenes, strace, walk

PARTS = 4  # so that several processes share the work
EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])


def a_dispatcher_with_much_to_order(world: World) -> list[str]:
    scenes.order_half_done(world)
    return walk.DISPATCHER


def each_came_to_what_its_spec_wants(world: World, done: strace.Disturbed) -> list[str]:
    jobs = scenes.job_ids(world)
    held = (world.folder / "held").read_text()
    ledger.recover(world)
    found = ledger.violations(world, jobs, may_be=ledger.ANY_END)
    if [entry[1] for entry in world.spool.held()] != [held]:
        found.append(f"on hold is {world.spool.held()}")
    ran = [line.split()[0] for line in world.lines("ran")]
    *_, never, nor_this, runs, gave_way = sorted(jobs)
    if {never, nor_this, held} & set(ran):
        found.append("one ran that was never to")
    if not {runs, gave_way} <= set(ran):
        found.append("one did not run that was to")
    if sum("[" in job_id for job_id in ran) != 3:
        found.append(f"of the array ran {ran}")
    return found


@EFFECTS
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_disturbs_it_each_is_refused_held_or_run_as_its_spec_wants(part: int, effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)
    points = done.points(a_dispatcher_with_much_to_order, walk.a_dispatcher_with_everything_half_done)[part::PARTS]

    done.go(points, effects, a_dispatcher_with_much_to_order, each_came_to_what_its_spec_wants)

    assert not done.wrong, done.report
    assert done.hits > 5
