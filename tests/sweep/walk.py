"""One step of a sweep: disturb a program at one point, let an undisturbed dispatcher look after it, and judge.

Needs no pytest, so that the same walk is made inside a systemd host.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryFile
from typing import Any

from tests.story.world import World
from tests.sweep import ledger, programs, scenes, strace
from tests.warm import OPTIONS

PYTHON = [sys.executable, *OPTIONS]
DISPATCHER = [*PYTHON, "-m", "tests.sweep.hasty_dispatcher"]
FORGATHER = [*PYTHON, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]
AT_ONCE = 4  # worlds that are walked beside each other
STEADY = {"PYTHONHASHSEED": "0", "FORGATHER_NO_WAKE": "1", "FORGATHER_IDLE_S": "0", "LC_ALL": "C.UTF-8"}

Effects = Callable[[strace.Point], list[str]]  # strace's words for what to do at a point
Prepare = Callable[[World], Sequence[str]]  # makes a world's state and names the command to disturb in it
Judge = Callable[[World, strace.Disturbed], list[str]]  # what is wrong then, one line each


def kill(point: strace.Point) -> list[str]:
    """Die before this call. Before one that only looks the files are as before the next that changes them."""
    return ["signal=KILL"] if strace.LONG or not point.only_looks else []


def fail(point: strace.Point) -> list[str]:
    """The kernel refuses this call."""
    return [f"error={name}" for name in strace.faults(point)]


class WarmWorld(World):
    """One whose programs of ours are begun without the price of a new interpreter."""

    def dispatch(self, **env: str) -> Any:
        with open(self.folder / f"dispatcher-{len(self.dispatchers)}.log", "w") as log:
            argv = [*PYTHON, "-m", "forgather_spool.dispatcher"]
            program = programs.begin(argv, self.env | env, log.fileno(), log.fileno())
        program.go()
        self.dispatchers.append(program)
        return program

    def forgather(self, *words: str) -> Any:
        argv = [*FORGATHER, *words]
        with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            program = programs.begin(argv, self.env, stdout.fileno(), stderr.fileno())
            program.go()
            returncode = program.wait(60)
            stdout.seek(0)
            stderr.seek(0)
            return CompletedProcess(argv, returncode, stdout.read(), stderr.read())


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

    def points(self, prepare: Prepare, beyond: Prepare | None = None) -> list[strace.Point]:
        """The calls of the command `prepare` names, once it has prepared its world.

        The shapes of what `beyond` does have been seen: its own walk has those.
        """
        seen = self.points(beyond) if beyond else []
        world = self._world(f"points-{prepare.__name__}")
        try:
            return strace.points(prepare(world), world.env, world.folder / "log", world.spool.paths.home, seen)
        finally:
            world.end()

    def go(
        self,
        points: Iterable[strace.Point],
        effects: Effects,
        prepare: Prepare,
        judge: Judge,
    ) -> None:
        """Several steps at once: each has its own world, and waits more than it computes."""
        steps = [(point, effect) for point in points for effect in effects(point)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for hit, wrong in pool.map(lambda step: self._step(*step, prepare, judge), enumerate(steps)):
                self.hits += hit
                self.wrong += wrong
        self.walked += len(steps)

    def _step(
        self, number: int, step: tuple[strace.Point, str], prepare: Prepare, judge: Judge
    ) -> tuple[bool, list[str]]:
        point, effect = step
        world = self._world(f"{self.walked + number}")
        hit = False
        try:
            argv, log = prepare(world), world.folder / "strace.log"
            done = strace.inject(argv, world.env, point, effect, log, world.spool.paths.home)
            hit = done.hit
            found = complaints(done) + judge(world, done)
        except AssertionError as error:
            found = [str(error)]
        finally:
            world.end()
        if not found:
            shutil.rmtree(world.folder.parent)
        return hit, [f"{effect} at {point}: {line}" for line in found]

    def _world(self, name: str) -> World:
        world = WarmWorld(self._folder / name)
        world.env |= self._env
        return world


def everywhere(folder: Path, effects: Effects, prepare: Prepare, judge: Judge, *, more_than: int) -> None:
    """Disturb what `prepare` runs at each point it has, and fail with all that `judge` finds wrong.

    It must have been hit at `more_than` points, or nothing was shown.
    """
    walk = Walk(folder)
    walk.go(walk.points(prepare), effects, prepare, judge)
    assert not walk.wrong, walk.report
    assert walk.hits > more_than


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


def dispatcher_walk(folder: Path, effects: Effects, part: slice, **env: str) -> Walk:
    """Disturb a dispatcher at its points; `part` of them."""
    walk = Walk(folder, **env)
    points = walk.points(a_dispatcher_with_everything_half_done)[part]
    walk.go(points, effects, a_dispatcher_with_everything_half_done, everything_has_ended_once)
    return walk
