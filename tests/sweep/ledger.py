"""What must be true of a spool once an undisturbed dispatcher has looked after it.

Each job adds a line to the file `ran` when it runs, so a second start shows.
"""

from __future__ import annotations

import json
from pathlib import Path

from forgather_spool.job import Cancelled, Exited, Lost, Refused, Result
from forgather_spool.spool import files
from forgather_spool.spool.paths import parse_entry
from tests.story.world import World
from tests.waiting import wait_until

LINE = 'echo "$FORGATHER_JOB_ID" >> ran'


def recover(world: World) -> None:
    """A dispatcher that nobody disturbs, until there is nothing left to do, and nobody of ours is left."""
    world.dispatch_all(timeout_s=20, FORGATHER_IDLE_S="0")
    wait_until(lambda: not world.our_processes(), what=f"the end of our processes; {world.said()}")


def violations(world: World, jobs: set[str], *, may_be: frozenset[type] = frozenset()) -> list[str]:
    """What is wrong, one line each. `jobs` must be there; others may, if they are whole.

    A job ends exactly once and runs exactly once; one that is lost, cancelled or
    refused ran at most once, and is accepted where `may_be` names its outcome.
    """
    found = [f"left: {name}" for name in world.leftovers()]
    places = _places(world)
    found += [f"rejected: {name}" for name in files.names(world.spool.paths.rejected)]
    found += [f"{job_id} is nowhere" for job_id in jobs - places.keys()]
    ran = world.lines("ran")
    for job_id, lie_at in places.items():
        if len(lie_at) != 1:
            found.append(f"{job_id} is in {lie_at}")
        found += _wrong_with(world, job_id, ran.count(job_id), may_be)
    return found + [f"{job_id} ran and is nowhere" for job_id in set(ran) - places.keys()]


def _wrong_with(world: World, job_id: str, times: int, may_be: frozenset[type]) -> list[str]:
    try:
        result = Result.from_document(files.read_document(world.spool.paths.result(job_id, 1)))
    except FileNotFoundError:
        return [f"{job_id} has no result"]
    outcome = result.outcome
    if isinstance(outcome, Exited):
        wrong = outcome.exit_code != 0 or times != 1
    else:
        most = 1 if isinstance(outcome, (Lost, Cancelled)) else 0
        wrong = type(outcome) not in may_be or times > most
    return [f"{job_id} ran {times} times and is {outcome}"] if wrong else []


def _places(world: World) -> dict[str, list[str]]:
    """Job id to the folders its spec lies in; a spec that is not whole is an error here."""
    found: dict[str, list[str]] = {}
    root = Path(world.spool.paths.spool)
    for path in [*root.glob("queue/*"), *root.glob("running/*/*"), *root.glob("done/*/*")]:
        entry = parse_entry(path.name)
        assert json.loads(path.read_text())["argv"], path
        found.setdefault(entry[1] if entry else path.stem, []).append(path.parent.name)
    return found


ANY_END = frozenset({Lost, Cancelled, Refused})
