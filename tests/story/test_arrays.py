"""Arrays as they run: each member is a job, knows which it is, and is asked for by its number."""

from __future__ import annotations

import json
import os
from pathlib import Path

from forgather_spool.job import Exited
from forgather_spool.spool import batch
from tests.story.world import World

LINE = (
    'echo "$FORGATHER_ARRAY_INDEX of $FORGATHER_ARRAY_SIZE, $FORGATHER_JOB_ID" >> members; exit $FORGATHER_ARRAY_INDEX'
)


def submit_array(world: World, indexes: str, line: str = LINE, **more) -> str:
    """The family's id."""
    gathered = batch.Batch(world.spool)
    family = gathered.add({"argv": ["sh", "-c", line], "cwd": str(world.folder), "array": {"indexes": indexes}, **more})
    gathered.commit()
    batch.spread(world.spool)
    return family


def outcomes(world: World, family: str, indexes: range) -> list[object]:
    found = [world.result((0, f"{family}[{i}]")) for i in indexes]
    return [result and result.outcome for result in found]


def test_each_member_runs_once_and_knows_which_it_is(world: World):
    family = submit_array(world, "0-11")

    world.dispatch_all()

    assert outcomes(world, family, range(12)) == [Exited(i) for i in range(12)]
    ran = (world.folder / "members").read_text().splitlines()
    assert sorted(ran) == sorted(f"{i} of 12, {family}[{i}]" for i in range(12))


def test_an_array_dropped_into_incoming_runs_like_one_that_was_submitted(world: World):
    document = {"argv": ["sh", "-c", LINE], "cwd": str(world.folder), "array": {"indexes": "3,5"}}
    Path(world.spool.paths.tmp, "mine").write_text(json.dumps(document))
    os.rename(f"{world.spool.paths.tmp}/mine", f"{world.spool.paths.incoming}/mine.json")

    world.dispatch_all()

    ran = (world.folder / "members").read_text().splitlines()
    assert sorted(line.partition(",")[0] for line in ran) == ["3 of 2", "5 of 2"]


def test_a_dispatcher_that_comes_later_moves_on_what_a_dead_submitter_left(world: World):
    gathered = batch.Batch(world.spool)
    for _ in range(3):
        gathered.add({"argv": ["sh", "-c", "echo x >> ran"], "cwd": str(world.folder)})
    gathered.commit()

    world.dispatch_all()

    assert (world.folder / "ran").read_text() == "x\n" * 3
