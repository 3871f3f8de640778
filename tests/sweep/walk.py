"""One step of a sweep: disturb a program at one point, let an undisturbed dispatcher look after it, and judge.

Needs no pytest, so that the same walk is made inside a systemd host.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.story.world import World
from tests.sweep import ledger, scenes, strace

PYTHON = [sys.executable, "-B"]
DISPATCHER = [*PYTHON, "-m", "tests.sweep.hasty_dispatcher"]
FORGATHER = [*PYTHON, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]
STEADY = {"PYTHONHASHSEED": "0", "FORGATHER_NO_WAKE": "1", "FORGATHER_IDLE_S": "0", "LC_ALL": "C.UTF-8"}

# Makes a world's state, disturbs a program in it and gives back what is wrong, one line each.
Step = Callable[[World, strace.Point, str], list[str]]


def kill(point: strace.Point) -> list[str]:
    """Die before this call. Before one that only looks the files are as before the next that changes them."""
    return ["signal=KILL"] if strace.LONG or not point.only_looks else []


def fail(point: strace.Point) -> list[str]:
    """The kernel refuses this call."""
    return [f"error={name}" for name in strace.faults(point)]


class Walk:
    """Goes through points with a world of its own for each. `wrong`: what came of it; `hits`: faults that met."""

    def __init__(self, folder: Path, **env: str) -> None:
        self._folder = folder
        self._env = STEADY | env
        self.walked = 0
        self.hits = 0
        self.wrong: list[str] = []

    @property
    def report(self) -> str:
        return "\n".join([f"{len(self.wrong)} violations in {self.walked} points", *self.wrong])

    def points(self, prepare: Callable[[World], Sequence[str]]) -> list[strace.Point]:
        """The calls of the command `prepare` names, once it has prepared its world."""
        world = self._world("points")
        try:
            return strace.points(prepare(world), world.env, world.folder / "log", world.spool.paths.home)
        finally:
            world.end()

    def go(
        self,
        points: Iterable[strace.Point],
        effects: Callable[[strace.Point], list[str]],
        prepare: Callable[[World], Sequence[str]],
        judge: Callable[[World, strace.Disturbed], list[str]],
    ) -> None:
        for point in points:
            for effect in effects(point):
                world = self._world(f"{self.walked}")
                try:
                    argv, log = prepare(world), world.folder / "strace.log"
                    done = strace.inject(argv, world.env, point, effect, log, world.spool.paths.home)
                    found = complaints(done) + judge(world, done)
                except AssertionError as error:
                    found = [str(error)]
                finally:
                    world.end()
                self.walked += 1
                self.hits += done.hit
                self.wrong += [f"{effect} at {point}: {line}" for line in found]
                if not found:
                    shutil.rmtree(world.folder.parent)

    def _world(self, name: str) -> World:
        world = World(self._folder / name)
        world.env |= self._env
        return world


def complaints(done: strace.Disturbed) -> list[str]:
    """What is wrong with how a disturbed program ended, had it not been killed: it tells in one line, or succeeds."""
    if not done.hit or done.returncode == -9:
        return []
    if done.returncode < 0:
        return [f"it died of signal {-done.returncode}"]
    if "to the signal wakeup fd" in done.stderr:  # CPython's own words: a signal came in just this call
        return []
    found = []
    if "Traceback" in done.stderr or "bug in forgather" in done.stderr:
        found.append(f"it calls itself broken: {done.stderr[-300:]!r}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != 0 and len(errors) != 1:
        found.append(f"exit code {done.returncode} with {len(errors)} errors: {done.stderr[-300:]!r}")
    return found


# -- the dispatcher ---------------------------------------------------------------------------------------------------


def a_dispatcher_with_everything_half_done(world: World) -> list[str]:
    scenes.everything_half_done(world)
    return DISPATCHER


def a_dispatcher_with_jobs_to_run_again(world: World) -> list[str]:
    scenes.to_be_run_again(world)
    return DISPATCHER


def everything_has_ended_once(world: World, done: strace.Disturbed) -> list[str]:
    """Nothing is lost and nothing ran twice, once an undisturbed dispatcher has looked after it."""
    jobs = scenes.job_ids(world)
    ledger.recover(world)
    return ledger.violations(world, jobs, may_be=ledger.ANY_END)


def dispatcher_walk(folder: Path, effects: Callable[[strace.Point], list[str]], part: slice, **env: str) -> Walk:
    """Disturb a dispatcher at its points; `part` of them."""
    walk = Walk(folder, **env)
    points = walk.points(a_dispatcher_with_everything_half_done)[part]
    walk.go(points, effects, a_dispatcher_with_everything_half_done, everything_has_ended_once)
    return walk
