"""Many jobs at once, with the submitter or the dispatcher killed, or refused, at each of their system calls in turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forgather_spool.outcome import Cancelled
from forgather_spool.spool import batch
from tests.story.world import World
from tests.sweep import ledger, strace, walk

EFFECTS = pytest.mark.parametrize("effects", [walk.kill, walk.fail])
MANY = 3
PARTS = 2
MANY_WAITING = 12  # more than are cancelled one by one


def spec(world: World, **more: object) -> dict[str, object]:
    return {"argv": ["sh", "-c", ledger.LINE], "cwd": str(world.folder), **more}


def a_batch(world: World) -> list[str]:
    path = world.folder / "jobs.jsonl"
    path.write_text((json.dumps(spec(world)) + "\n") * MANY)
    return [*walk.FORGATHER, "submit", "--batch", str(path)]


def an_array(world: World) -> list[str]:
    command = ["--", "sh", "-c", ledger.LINE]
    return [*walk.FORGATHER, "submit", "--cwd", str(world.folder), "--array", f"0-{MANY - 1}", *command]


def all_or_none(world: World, done: strace.Disturbed) -> list[str]:
    """Acknowledged they all run, refused none does, and killed it is one of the two."""
    world.spool.create()
    ledger.recover(world)
    ran = len(world.lines("ran"))
    found = [] if ran in (0, MANY) else [f"{ran} of {MANY} ran"]
    acknowledged = done.stdout.startswith("queued: ")
    if acknowledged and ran != MANY:
        found.append(f"it said {done.stdout!r}, and {ran} ran")
    if done.returncode == 0 and ran != MANY:
        found.append(f"it succeeded, and {ran} ran")
    if done.returncode > 0 and ran and "are queued" not in done.stderr:
        found.append(f"it said no ({done.stderr!r}), and {ran} ran")
    return found + ledger.violations(world, set())


@EFFECTS
@pytest.mark.parametrize("many", [a_batch, an_array])
def test_a_submit_of_many_is_all_of_them_or_none(many, effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, many, all_or_none, more_than=10)


def a_dispatcher_with_a_dropped_array(world: World) -> list[str]:
    text = json.dumps(spec(world, array={"indexes": f"0-{MANY - 1}"}))
    Path(world.spool.paths.incoming, ".array").write_text(text)
    Path(world.spool.paths.incoming, ".array").rename(f"{world.spool.paths.incoming}/array.json")
    return walk.DISPATCHER


def a_dispatcher_with_what_a_submitter_left(world: World) -> list[str]:
    gathered = batch.Batch(world.spool)
    for _ in range(MANY):
        gathered.add(spec(world))
    gathered.commit()
    return walk.DISPATCHER


def all_ran_once(world: World, done: strace.Disturbed) -> list[str]:
    ledger.recover(world)
    ran = [line.split()[0] for line in world.lines("ran")]
    ended = [path.stem for path in Path(world.spool.paths.done).glob("*/*")]
    wrong = [] if len(set(ended)) == MANY else [f"{len(set(ended))} of {MANY} members: {ended}"]
    return wrong + ledger.violations(world, set(ran), may_be=ledger.ANY_END)


@EFFECTS
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scene", [a_dispatcher_with_a_dropped_array, a_dispatcher_with_what_a_submitter_left])
def test_what_was_left_becomes_each_of_its_jobs_once(scene, part, effects, tmp_path: Path) -> None:
    done = walk.Walk(tmp_path)
    points = done.points(scene, walk.a_dispatcher_with_everything_half_done)[part::PARTS]

    done.go(points, effects, scene, all_ran_once)

    assert not done.wrong, done.report
    assert done.hits > 10


def a_cancel_of_an_array(world: World) -> list[str]:
    family = batch.submit_one(world.spool, spec(world, array={"indexes": f"0-{MANY_WAITING - 1}"}))
    return [*walk.FORGATHER, "sched", "cancel", family]


def cancelled_or_run(world: World, done: strace.Disturbed) -> list[str]:
    ledger.recover(world)
    ended = list(Path(world.spool.paths.done).glob("*/*"))
    found = [] if len(ended) == MANY_WAITING else [f"{len(ended)} of {MANY_WAITING} have ended"]
    if done.returncode == 0 and world.lines("ran"):
        found.append(f"it said {done.stdout!r}, and some ran")
    return found + ledger.violations(world, {path.stem for path in ended}, may_be=frozenset({Cancelled}))


@EFFECTS
def test_a_cancel_of_many_leaves_each_cancelled_or_run(effects, tmp_path: Path) -> None:
    walk.everywhere(tmp_path, effects, a_cancel_of_an_array, cancelled_or_run, more_than=10)
