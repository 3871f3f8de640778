"""The lives of some jobs, the power cut after each change to the disk, and every state that may be left of it.

Acknowledged is there, what ran does not run again, and a result that was given stands.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.dispatcher.launch import Launched, Launcher
from forgather_spool.dispatcher.settle import Settler
from forgather_spool.errors import AlreadyClaimed
from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled, Exited, Lost, Outcome
from forgather_spool.spool import admit, batch, files
from forgather_spool.spool.queue import Spool
from tests.spool import powerloss
from tests.spool.empty_machine import EmptyMachine, Nursery
from tests.spool.powerloss_lives import HOST, URGENT, drop_from_sh, lives, run

PARTS = 4  # so that several processes share the work
IS_LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"
STATES = 60_000 if IS_LONG else 5_200
ONE_IN = 1 if IS_LONG else 4  # of the states of one series of lives: more different lives tell more in the same time
MEMORY = Path("/dev/shm")  # files as real as any, made and removed in a fifth of the time


class Volatile:
    """`os` without its fsync: what is recovered here meets no second cut."""

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, fd):
        return None


# -- what is left, and what becomes of it ----------------------------------------------------------------------------


def materialise(tree: powerloss.Tree, recorded_at: str, home: str) -> None:
    os.mkdir(home, 0o700)
    for path, content in sorted(tree, key=lambda item: item[0]):
        here = home + path.removeprefix(recorded_at)
        if content is None:
            os.makedirs(here, 0o700, exist_ok=True)
        else:
            Path(here).write_bytes(content)


def recover(home: str) -> dict[str, int]:
    """What a dispatcher does after the restart, with the launcher's own steps; "id attempt" to priority of what ran."""
    ran: dict[str, int] = {}
    spool = Spool(home).create()
    spool.open_host(HOST)
    machine = EmptyMachine()
    settler = Settler(spool, machine, HOST, "after", lambda line: None)
    admit.sweep_tmp(spool)
    batch.promote_decided(spool)
    admit.move_on(spool)
    list(admit.admit(spool))
    batch.spread(spool)
    settler.set_aside_bad_specs()
    launcher = Launcher(spool, machine, Nursery(), HOST, "after")
    for _ in range(3):  # what could not be launched, or is run again, is settled in the next pass
        settler.settle_cancelled()
        for entry in spool.taken(HOST):
            settler.settle(entry)
        for entry in spool.waiting():
            try:
                launcher.launch(entry, ())
            except AlreadyClaimed:
                continue
        for event in launcher.events():
            assert isinstance(event, Launched)

            def note(what: str, whose: str, priority: int = -event.entry[0]) -> None:
                if what == "ran":
                    assert whose not in ran, f"{whose} ran twice after the cut"
                    ran[whose] = priority

            run(spool, event.entry, note, event.claim.attempt)
    return ran


def wrong_with(home: str, said: frozenset[tuple[str, str]], ran: dict[str, int]) -> list[str]:
    spool = Spool(home)
    said_of: dict[str, set[str]] = {}
    for what, whose in said:
        said_of.setdefault(whose, set()).add(what)
    found = [f"{whose} ran once more" for whose in ran if "ran" in said_of.get(whose, ())]
    found += [f"left in {path}" for path in (spool.paths.queue, spool.paths.running_on(HOST)) if os.listdir(path)]
    done = Counter(name.removesuffix(".json") for day in Path(spool.paths.done).iterdir() for name in os.listdir(day))
    there = done + Counter(name.partition(".p")[0] for name in os.listdir(spool.paths.held))
    for job_ids in (whose.split() for whose, what in said_of.items() if "together" in what):
        found += _torn([job_id for job_id in job_ids if "forgotten" not in said_of.get(job_id, ())], there)
    found += [
        line for family in _families(there) if not _is_forgotten(family, said_of) for line in _torn(family, there)
    ]
    for job_id, words in said_of.items():
        if "acknowledged" not in words or "forgotten" in words:
            continue
        if there[job_id] != 1:
            found.append(f"{job_id} was acknowledged and is there {there[job_id]} times")
        elif done[job_id]:
            found += _wrong_end(spool, job_id, words, said_of, ran)
        elif "holding" not in words or "released" in words:
            found.append(f"{job_id} is on hold and had {sorted(words)}")
    return found


def _families(there: Counter[str]) -> Iterator[list[str]]:
    """Of each array that is there, whatever was said of it, the ids of all its members."""
    for family in {job_id.partition("[")[0] for job_id in there if "[" in job_id}:
        yield [f"{family}[{index}]" for index in range(2)]


def _is_forgotten(job_ids: list[str], said_of: dict[str, set[str]]) -> bool:
    return any("forgotten" in said_of.get(job_id, ()) for job_id in job_ids)


def _torn(job_ids: list[str], there: Counter[str]) -> list[str]:
    found = [job_id for job_id in job_ids if there[job_id]]
    return [f"of {job_ids} only {found} are there"] if 0 < len(found) < len(job_ids) else []


def _wrong_end(
    spool: Spool, job_id: str, words: set[str], said_of: dict[str, set[str]], ran: dict[str, int]
) -> list[str]:
    """What is not as it may be with a job that has ended, in each of its attempts."""
    found = []
    if "held" in words and "releasing" not in words:
        found.append(f"{job_id} was on hold and has ended")
    last = spool.attempt(job_id)
    for attempt in range(1, last + 1):
        whose = f"{job_id} {attempt}"
        outcome = Result.from_document(files.read_document(spool.paths.result(job_id, attempt))).outcome
        times = int(whose in ran) + ("ran" in said_of.get(whose, ()))
        if not _may_have_ended(outcome, times, words | said_of.get(whose, set())):
            found.append(f"{whose} had {sorted(words)}, ran {times} times and is {outcome}")
        if "urgent" in words and ran.get(whose, URGENT) != URGENT:
            found.append(f"{whose} ran with priority {ran[whose]}")
    if isinstance(outcome, Exited) and outcome.exit_code:
        found.append(f"{job_id} failed and was not tried again")
    return found


def _may_have_ended(outcome: Outcome, times: int, said: set[str]) -> bool:
    ended_itself = isinstance(outcome, Exited) or ("wanted" in said and isinstance(outcome, Cancelled) and times == 1)
    if "stopped" in said or "cancelled" in said:
        return isinstance(outcome, Cancelled) and times == 0
    if "result" in said:
        return ended_itself
    if "ran" in said:
        return ended_itself or isinstance(outcome, Lost)
    # Started and not yet told so: nothing has run, and that is not known any more.
    return (times == 1) == ended_itself and isinstance(outcome, (Exited, Cancelled, Lost))


def some_of(states: Iterator[powerloss.State], seed: int) -> Iterator[powerloss.State]:
    """One in `ONE_IN`, by chance and the same ones each time."""
    chance = random.Random(seed)
    return (state for state in states if chance.randrange(ONE_IN) == 0)


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="forgather-powerloss-", dir=MEMORY) as path:
        yield Path(path)


@pytest.mark.parametrize("part", range(PARTS))
def test_after_a_power_cut_at_any_change_nothing_is_lost_and_nothing_runs_twice(part: int, quick_path: Path) -> None:
    """The states that the ordered and the weak model allow, recovered by the dispatcher's own steps.

    With FORGATHER_LONG_TESTS every one of each series of lives, else some of more series.
    """
    recorded_at, home = str(quick_path / "home"), str(quick_path / "after")
    seen: set[powerloss.State] = set()
    wrong: dict[str, int] = {}
    recovered = 0
    for seed in itertools.count(part * 1_000):
        disk = lives(recorded_at, seed)
        shutil.rmtree(recorded_at)
        with powerloss.on(Volatile()):
            for said, tree in some_of(powerloss.states(disk, seen), seed):
                materialise(tree, recorded_at, home)
                for line in wrong_with(home, said, recover(home)):
                    wrong.setdefault(line, seed)
                shutil.rmtree(home)
                recovered += 1
        if wrong or recovered >= STATES // PARTS:
            break

    assert not wrong, wrong


def test_after_a_power_cut_what_was_dropped_from_sh_is_one_job(quick_path: Path) -> None:
    """It is acknowledged in tmp/, and its way through incoming/ is synced by whoever admits it."""
    recorded_at, home = str(quick_path / "home"), str(quick_path / "after")
    disk = powerloss.Disk()
    with powerloss.on(disk):
        drop_from_sh(Spool(recorded_at).create(), disk)
    shutil.rmtree(recorded_at)

    counts = set()
    with powerloss.on(Volatile()):
        for said, tree in powerloss.states(disk, set()):
            materialise(tree, recorded_at, home)
            counts.add((bool(said), len(recover(home))))
            shutil.rmtree(home)

    assert counts == {(False, 0), (False, 1), (True, 1)}
