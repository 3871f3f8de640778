"""What must be true of a spool once an undisturbed dispatcher has looked after it.

Each attempt of a job adds a line to the file `ran` when it runs, so a second start shows.
"""

from __future__ import annotations

import json
from pathlib import Path

from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled, Exited, Lost, Refused
from forgather_spool.spool import attempts, files
from forgather_spool.spool.names import parse_entry
from tests.story.world import World
from tests.waiting import wait_until

LINE = 'echo "$FORGATHER_JOB_ID $FORGATHER_ATTEMPT" >> ran'
FAILS_ONCE = f"{LINE}; [ $FORGATHER_ATTEMPT -gt 1 ]"


def recover(world: World) -> None:
    """A dispatcher that nobody disturbs, until there is nothing left to do, and nobody of ours is left."""
    world.dispatch_all(timeout_s=20, FORGATHER_IDLE_S="0")
    wait_until(lambda: not world.our_processes(), what=f"the end of our processes; {world.said()}")


def violations(world: World, jobs: set[str], *, may_be: frozenset[type] = frozenset()) -> list[str]:
    """What is wrong, one line each. `jobs` must be there; others may, if they are whole.

    A job ends exactly once and each attempt runs exactly once; one that is lost, cancelled or
    refused ran at most once, and is accepted where `may_be` names its outcome. The attempts before
    the last have failed or were lost, and none is left out.
    """
    found = [f"left: {name}" for name in world.leftovers()]
    places = _places(world)
    found += [f"rejected: {name}" for name in files.names(world.spool.paths.rejected)]
    found += [f"{job_id} is nowhere" for job_id in jobs - places.keys()]
    ran = world.lines("ran")
    for job_id, lie_at in places.items():
        if len(lie_at) != 1:
            found.append(f"{job_id} is in {lie_at}")
        numbers = attempts.numbers(world.spool.paths, job_id)
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"{job_id} has the attempts {numbers}")
        for number in numbers:
            run = f"{job_id} {number}"
            found += _wrong_with(world, run, ran.count(run), may_be, is_last=number == numbers[-1])
    return found + [f"{run} ran and is nowhere" for run in set(ran) if run.split()[0] not in places]


def _wrong_with(world: World, run: str, times: int, may_be: frozenset[type], *, is_last: bool) -> list[str]:
    job_id, number = run.split()
    try:
        result = Result.from_document(files.read_document(world.spool.paths.result(job_id, int(number))))
    except FileNotFoundError:
        return [f"{run} has no result"]
    outcome = result.outcome
    if isinstance(outcome, Exited):
        wrong = (outcome.exit_code == 0) != is_last or times != 1
    else:
        most = 1 if isinstance(outcome, (Lost, Cancelled)) else 0
        wrong = type(outcome) not in may_be or times > most
    return [f"{run} ran {times} times and is {outcome}"] if wrong else []


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
