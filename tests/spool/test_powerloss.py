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
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgather_spool.dispatcher.launch import Launched, Launcher
from forgather_spool.dispatcher.settle import Settler
from forgather_spool.errors import AlreadyClaimed
from forgather_spool.host.base import ScopeStarted
from forgather_spool.job import Result
from forgather_spool.outcome import Cancelled, Exited, Lost
from forgather_spool.runner.client import Hatched
from forgather_spool.spool import admit, batch, files
from forgather_spool.spool.ended import ended_among
from forgather_spool.spool.names import parse_entries
from forgather_spool.spool.queue import Entry, Spool, utc_now
from forgather_spool.spool.remove import remove
from tests.spool import powerloss

HOST = "box"
PARTS = 4  # so that several processes share the work
IS_LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"
STATES = 60_000 if IS_LONG else 2_400
ONE_IN = 1 if IS_LONG else 4  # of the states of one series of lives: more different lives tell more in the same time
MEMORY = Path("/dev/shm")  # files as real as any, made and removed in a fifth of the time
Enter = Callable[[Spool, powerloss.Disk], Entry]
GONE = {"pid": 4194304, "start_ticks": 1}


class Volatile:
    """`os` without its fsync: what is recovered here meets no second cut."""

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, fd):
        return None


class EmptyMachine:
    """A host after a restart: nothing runs, and every launch goes well."""

    kind = "process"

    def __init__(self):
        self.begun = []

    def members(self, scope):
        return []

    def begin(self, scope, pid, limits, description):
        self.begun.append(ScopeStarted(scope))

    def events(self):
        told, self.begun = self.begun, []
        return told


class Nursery:
    """Its children are told to go and do what `run` says, at once."""

    def prepare(self):
        return None

    def hatch(self, request):
        return Hatched(GONE["pid"], GONE["start_ticks"], -1)

    def go(self, hatched, *, keep):
        return None


def claim_of(entry: Entry) -> dict[str, object]:
    return {
        "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": "before", "gpus": [],
        "scope": f"forgather-job-{entry[1]}-1.scope", "priority": 0, "claimed_at": utc_now(), "runner": GONE,
    }  # fmt: skip


def run(spool: Spool, entry: Entry, say) -> None:
    """A runner, as `runner/run.py` goes about it: what it starts has run once this says so."""
    if not spool.start(entry[1], HOST):
        return
    say("ran", entry[1])
    ended_at = utc_now()
    spool.write_result(
        entry[1],
        {"version": 1, "outcome": {"kind": "exited", "exit_code": 0}, "started_at": None, "ended_at": ended_at},
    )
    say("result", entry[1])
    spool.finish(entry, HOST, ended_at)


# -- lives: each `yield` is a moment at which another job's step may come first ------------------------------------


def submitted(spool: Spool, disk: powerloss.Disk) -> Entry:
    job_id = spool.submit({"argv": ["true"]})
    disk.say("acknowledged", job_id)
    return 0, job_id


def dropped(spool: Spool, disk: powerloss.Disk) -> Entry:
    """By a program that never heard of fsync; acknowledged once it is admitted."""
    name = f"{spool.paths.incoming}/{files.temporary_name()}.json"
    fd = disk.open(f"{spool.paths.incoming}/.new", os.O_WRONLY | os.O_CREAT, 0o600)
    disk.write(fd, b'{"argv": ["true"]}')
    os.close(fd)
    disk.rename(f"{spool.paths.incoming}/.new", name)
    [(_, job_id)] = admit.admit(spool)
    disk.say("acknowledged", job_id)
    return 0, job_id


def together(spool: Spool, disk: powerloss.Disk, *specs: dict[str, object]) -> Entry:
    """Of these and of all their members the last; acknowledged are all or none. The syncs are those of many."""
    gathered = batch.Batch(spool)
    for spec in specs:
        gathered.add(spec)
    folder = next(path for path in map(str, Path(spool.paths.tmp).iterdir()) if os.path.isdir(path))
    job_ids = [job_id for _, job_id in parse_entries(os.listdir(folder))]
    disk.say("together", " ".join(job_ids))
    gathered.commit()
    for job_id in job_ids:
        disk.say("acknowledged", job_id)
    batch.spread(spool)
    return 0, max(job_ids)


def one_of_a_batch(spool: Spool, disk: powerloss.Disk) -> Entry:
    return together(spool, disk, {"argv": ["true"]}, {"argv": ["true"]})


def one_of_a_large_batch(spool: Spool, disk: powerloss.Disk) -> Entry:
    """Large enough for a sync of the whole file system."""
    few, batch.FEW = batch.FEW, 1
    try:
        return one_of_a_batch(spool, disk)
    finally:
        batch.FEW = few


def a_member_of_an_array(spool: Spool, disk: powerloss.Disk) -> Entry:
    return together(spool, disk, {"argv": ["true"], "array": {"indexes": "0-1"}})


ENTRANCES: list[Enter] = [submitted, dropped, one_of_a_batch, one_of_a_large_batch, a_member_of_an_array]


def launched(spool: Spool, entry: Entry) -> Iterator[None]:
    spool.claim(entry, HOST)
    yield
    spool.write_claim(entry[1], claim_of(entry))
    yield


def a_run(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)


def a_launch_put_back(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield from launched(spool, entry)
    spool.withdraw_claim(entry[1])
    yield
    spool.put_back(entry, HOST)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)


def a_run_that_is_forgotten(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)
    yield
    (place,) = ended_among(spool, frozenset([entry[1]]))
    disk.say("forgotten", entry[1])
    remove(spool, place)


def a_cancel(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    spool.cancel_waiting(entry, "anna")
    disk.say("cancelled", entry[1])


def a_stop_while_it_launches(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    spool.claim(entry, HOST)
    spool.ask_to_stop(entry[1], by="anna")
    disk.say("stopped", entry[1])
    yield
    spool.put_back(entry, HOST)
    yield
    spool.claim(entry, HOST)
    spool.end_unstarted(entry, HOST, "anna")


LIVES = [a_run, a_run_that_is_forgotten, a_launch_put_back, a_cancel, a_stop_while_it_launches]


def lives(home: str, seed: int) -> powerloss.Disk:
    """Three jobs, their steps in some order."""
    chance = random.Random(seed)
    disk = powerloss.Disk()
    kinds = chance.choices(LIVES, k=3)
    with powerloss.on(disk):
        spool = Spool(home).create()
        spool.open_host(HOST)
        going_on = [kind(spool, disk, chance.choice(ENTRANCES)) for kind in kinds]
        while going_on:
            life = chance.choice(going_on)
            if next(life, life) is life:
                going_on.remove(life)
    return disk


# -- what is left, and what becomes of it ----------------------------------------------------------------------------


def materialise(tree: powerloss.Tree, recorded_at: str, home: str) -> None:
    os.mkdir(home, 0o700)
    for path, content in sorted(tree, key=lambda item: item[0]):
        here = home + path.removeprefix(recorded_at)
        if content is None:
            os.makedirs(here, 0o700, exist_ok=True)
        else:
            Path(here).write_bytes(content)


def recover(home: str) -> list[str]:
    """What a dispatcher does after the restart, with the launcher's own steps; the jobs that ran."""
    ran: list[str] = []
    spool = Spool(home).create()
    spool.open_host(HOST)
    machine = EmptyMachine()
    settler = Settler(spool, machine, HOST, "after", lambda line: None)
    admit.sweep_tmp(spool)
    batch.promote_decided(spool)
    batch.spread(spool)
    settler.set_aside_bad_specs()
    launcher = Launcher(spool, machine, Nursery(), HOST, "after")
    for _ in range(2):  # what could not be launched is settled in the next pass
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
            run(spool, event.entry, lambda what, job_id: ran.append(job_id) if what == "ran" else None)
    return ran


def wrong_with(home: str, said: frozenset[tuple[str, str]], ran: list[str]) -> list[str]:
    spool = Spool(home)
    times = Counter(ran) + Counter(job_id for what, job_id in said if what == "ran")
    found = [f"{job_id} ran {n} times" for job_id, n in times.items() if n > 1]
    found += [f"left in {path}" for path in (spool.paths.queue, spool.paths.running_on(HOST)) if os.listdir(path)]
    done = Counter(name.removesuffix(".json") for day in Path(spool.paths.done).iterdir() for name in os.listdir(day))
    forgotten = {job_id for what, job_id in said if what == "forgotten"}
    for job_ids in (set(job_ids.split()) - forgotten for what, job_ids in said if what == "together"):
        there = [job_id for job_id in job_ids if done[job_id]]
        found += [f"of {job_ids} only {there} are there"] if there and len(there) < len(job_ids) else []
    for job_id in (job_id for what, job_id in said if what == "acknowledged" and job_id not in forgotten):
        if done[job_id] != 1:
            found.append(f"{job_id} was acknowledged and is in done/ {done[job_id]} times")
            continue
        outcome = Result.from_document(files.read_document(spool.paths.result(job_id, 1))).outcome
        found += _wrong_outcome(job_id, outcome, times[job_id], {what for what, whose in said if whose == job_id})
    return found


def _wrong_outcome(job_id: str, outcome: object, times: int, said: set[str]) -> list[str]:
    if "stopped" in said or "cancelled" in said:
        right = isinstance(outcome, Cancelled) and times == 0
    elif "result" in said:
        right = isinstance(outcome, Exited)
    elif "ran" in said:
        right = isinstance(outcome, (Exited, Lost))
    else:
        # Started and not yet told so: nothing has run, and that is not known any more.
        right = isinstance(outcome, (Exited, Cancelled, Lost)) and (times == 1) == isinstance(outcome, Exited)
    return [] if right else [f"{job_id} had {sorted(said)}, ran {times} times and is {outcome}"]


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
