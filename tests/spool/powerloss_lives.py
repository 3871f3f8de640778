"""What some jobs go through while `powerloss.Disk` records it: the ways into the spool, and the lives after.

Each `yield` is a moment at which another job's step may come first. A step says
what others may rely on from then on, in words that `test_powerloss` holds a
recovered spool to.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from forgather_spool.dispatcher.settle import Settler
from forgather_spool.document import Document
from forgather_spool.spool import admit, batch, files, order, preempt
from forgather_spool.spool import remove as removal
from forgather_spool.spool.ended import ended_among
from forgather_spool.spool.names import Entry, parse_entries
from forgather_spool.spool.place import Queued
from forgather_spool.spool.queue import Spool, utc_now
from tests.spool import powerloss
from tests.spool.empty_machine import GONE, EmptyMachine

HOST = "box"
URGENT = 7
RETRY = {"retries": 1, "retry_delay_s": 0}
GIVE_WAY = {"preemptible": True}
Enter = Callable[..., Entry]  # the spool, the disk, and more fields of the spec
Say = Callable[[str, str], None]


def claim_of(entry: Entry, attempt: int) -> Document:
    return {
        "version": 1, "attempt": attempt, "host": HOST, "host_kind": "process", "boot_id": "before", "gpus": [],
        "scope": f"forgather-job-{entry[1]}-{attempt}.scope", "priority": -entry[0], "claimed_at": utc_now(),
        "runner": GONE,
    }  # fmt: skip


def run(spool: Spool, entry: Entry, say: Say, attempt: int = 1, *, is_claim_durable: bool = False) -> None:
    """A runner, as `runner/run.py` goes about it: what it starts has run once this says so.

    A job that may be tried again fails the first time; one that was asked for its cards gives them away.
    """
    spec = spool.taken_spec(HOST, entry)
    fails = attempt == 1 and bool(spec["retries"])
    wanted = preempt.wanted_by(spool.paths, entry[1], attempt)
    if not spool.start(entry[1], attempt, is_claim_durable=is_claim_durable):
        return
    say("ran", f"{entry[1]} {attempt}")
    outcome = (
        {"kind": "exited", "exit_code": int(fails)} if wanted is None else {"kind": "cancelled", "by": wanted["by"]}
    )
    ended_at = utc_now()
    result: Document = {"version": 1, "attempt": attempt, "outcome": outcome, "started_at": None, "ended_at": ended_at}
    spool.write_result(entry[1], result, attempt)
    say("result", f"{entry[1]} {attempt}")
    if not fails and wanted is None:
        spool.finish(entry, HOST, ended_at)


# -- ways in ----------------------------------------------------------------------------------------------------------


def submitted(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    job_id = spool.submit({"argv": ["true"], **more})
    disk.say("acknowledged", job_id)
    return 0, job_id


def drop(spool: Spool, disk: powerloss.Disk, spec: Document) -> str:
    """By a program that never heard of fsync; what `admit` calls it."""
    name = f"{spool.paths.incoming}/{files.temporary_name()}.json"
    fd = disk.open(f"{spool.paths.incoming}/.new", os.O_WRONLY | os.O_CREAT, 0o600)
    disk.write(fd, json.dumps(spec).encode())
    os.close(fd)
    disk.rename(f"{spool.paths.incoming}/.new", name)
    [(_, job_id)] = admit.admit(spool)
    return job_id


def dropped(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    """Acknowledged once it is admitted."""
    job_id = drop(spool, disk, {"argv": ["true"], **more})
    disk.say("acknowledged", job_id)
    return 0, job_id


def drop_from_sh(spool: Spool, disk: powerloss.Disk) -> None:
    """As `bin/forgather-drop` does, whose process is gone after the cut; admitted by a dispatcher that is awake."""
    name = f"{os.uname().nodename.partition('.')[0]}.4194305.{'a' * 12}.json"
    fd = disk.open(f"{spool.paths.tmp}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
    disk.write(fd, b'{"argv": ["true"]}')
    disk.fsync(fd)
    os.close(fd)
    files.sync_names(spool.paths.tmp)
    disk.say("acknowledged", "the drop")
    disk.rename(f"{spool.paths.tmp}/{name}", f"{spool.paths.incoming}/{name}")
    list(admit.admit(spool))


def a_member_of_a_dropped_array(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    family = drop(spool, disk, {"argv": ["true"], "array": {"indexes": "0-1"}, **more})
    job_ids = [f"{family}[{index}]" for index in range(2)]
    disk.say("together", " ".join(job_ids))
    for job_id in job_ids:
        disk.say("acknowledged", job_id)
    batch.spread(spool)
    return 0, job_ids[1]


def together(spool: Spool, disk: powerloss.Disk, *specs: Document) -> Entry:
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


def one_of_a_batch(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    return together(spool, disk, {"argv": ["true"]}, {"argv": ["true"], **more})


def one_of_a_large_batch(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    """Large enough for a sync of the whole file system."""
    few, batch.FEW = batch.FEW, 1
    try:
        return one_of_a_batch(spool, disk, **more)
    finally:
        batch.FEW = few


def a_member_of_an_array(spool: Spool, disk: powerloss.Disk, **more: object) -> Entry:
    return together(spool, disk, {"argv": ["true"], "array": {"indexes": "0-1"}, **more})


ENTRANCES: list[Enter] = [
    submitted, dropped, one_of_a_batch, one_of_a_large_batch, a_member_of_an_array, a_member_of_a_dropped_array,
]  # fmt: skip


# -- lives ------------------------------------------------------------------------------------------------------------


def launched(spool: Spool, entry: Entry, attempt: int = 1) -> Iterator[None]:
    spool.claim(entry, HOST)
    yield
    spool.write_claim(entry[1], claim_of(entry, attempt), attempt)
    yield


def a_run(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)


def a_run_in_a_scope(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    """There is time to make the claim durable before the start."""
    entry = enter(spool, disk)
    yield
    yield from launched(spool, entry)
    spool.make_claim_durable(entry[1])
    yield
    run(spool, entry, disk.say, is_claim_durable=True)


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
    removal.remove(spool, place)


def a_run_that_is_forgotten_with_many(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    """So many that one sync of the file system is for all."""
    entry = enter(spool, disk)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)
    yield
    (place,) = ended_among(spool, frozenset([entry[1]]))
    disk.say("forgotten", entry[1])
    few, removal.FEW = removal.FEW, 0
    try:
        removal.remove(spool, place)
    finally:
        removal.FEW = few


def a_second_try(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk, **RETRY)
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)
    yield
    yield from again(spool, disk, entry)


def a_run_that_gives_way(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk, **GIVE_WAY)
    yield
    yield from launched(spool, entry)
    preempt.want(spool.paths, entry[1], 1, "q_1_00000000")
    disk.say("wanted", entry[1])
    yield
    run(spool, entry, disk.say)
    yield
    yield from again(spool, disk, entry)


def again(spool: Spool, disk: powerloss.Disk, entry: Entry) -> Iterator[None]:
    Settler(spool, EmptyMachine(), HOST, "before", lambda _: None).settle(entry)
    yield
    yield from launched(spool, entry, 2)
    run(spool, entry, disk.say, 2)


def a_cancel(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    spool.cancel_waiting(entry, "anna")
    disk.say("cancelled", entry[1])


def a_hold(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    disk.say("holding", entry[1])
    order.hold(spool, [entry])
    disk.say("held", entry[1])
    yield
    disk.say("releasing", entry[1])
    order.release(spool, [entry])
    disk.say("released", entry[1])
    yield
    yield from launched(spool, entry)
    run(spool, entry, disk.say)


def a_changed_priority(spool: Spool, disk: powerloss.Disk, enter: Enter) -> Iterator[None]:
    entry = enter(spool, disk)
    yield
    order.reprioritize(spool, Queued(entry[1], 0, spool.paths.queued(entry[1], 0)), URGENT)
    disk.say("urgent", entry[1])
    yield
    urgent = (-URGENT, entry[1])
    yield from launched(spool, urgent)
    run(spool, urgent, disk.say)


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


LIVES = [
    a_run, a_run_in_a_scope, a_run_that_is_forgotten, a_run_that_is_forgotten_with_many, a_launch_put_back, a_cancel,
    a_stop_while_it_launches, a_second_try, a_run_that_gives_way, a_hold, a_changed_priority,
]  # fmt: skip


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
