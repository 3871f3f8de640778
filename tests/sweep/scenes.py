"""Spools to sweep over: fresh ones, and one in which everything is half done."""

from __future__ import annotations

import json
import os
from pathlib import Path

from forgather_spool.host import proc
from forgather_spool.spool import attempts, files, preempt
from forgather_spool.spool.names import Entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import utc_now
from forgather_spool.spool.stop import stop
from tests.story.world import HOST, World
from tests.sweep.ledger import LINE

DEAD = {"pid": 4194304, "start_ticks": 1}  # above the kernel's largest pid


def submitted(world: World) -> Entry:
    """A waiting job that writes itself down when it runs."""
    return world.submit(LINE)


def dropped(world: World, name: str = "dropped", **spec: object) -> None:
    """The same as a file in incoming/, as `mv` leaves it."""
    text = json.dumps({"argv": ["sh", "-c", LINE], "cwd": str(world.folder), **spec})
    partial = Path(world.spool.paths.incoming, f".{name}")
    partial.write_text(text)
    partial.rename(partial.with_name(f"{name}.json"))


def everything_half_done(world: World) -> None:
    """What a dispatcher can find after others were killed: one job in each state, and one dropped file."""
    world.spool.open_host(HOST)
    waiting, launching, started, ending, cancelling, cancelled, stopped = (submitted(world) for _ in range(7))
    for entry in (launching, started, ending):
        world.spool.claim(entry, HOST)
        world.spool.write_claim(entry[1], claim_of_the_dead(entry))
    for entry in (started, ending):
        world.spool.start(entry[1])
    _leave_result(world, ending)
    for entry in (cancelling, cancelled):
        os.rename(world.spool.paths.queued(entry[1], 0), world.spool.paths.taken(CANCEL, entry[1], 0))
    world.spool.write_result(cancelled[1], _result({"kind": "cancelled", "by": "anna"}))
    files.make_directory(world.spool.paths.job(stopped[1]))
    world.spool.ask_to_stop(stopped[1], by="anna")
    Path(world.spool.paths.tmp, f"{os.uname().nodename.partition('.')[0]}.{DEAD['pid']}.abc").write_text("{")
    dropped(world)
    names = [entry[1] for entry in (waiting, launching, started, ending, cancelling, cancelled, stopped)]
    (world.folder / "jobs").write_text("\n".join(names))


def to_be_run_again(world: World) -> None:
    """One that failed and is not decided on, one decided on and not put back, one whose runner died."""
    world.spool.open_host(HOST)
    failed, decided, lost = (world.submit(LINE, retries=1, requeue=True, retry_delay_s=0) for _ in range(3))
    for entry in (failed, decided, lost):
        world.spool.claim(entry, HOST)
        world.spool.write_claim(entry[1], claim_of_the_dead(entry))
        world.spool.start(entry[1])
    for entry in (failed, decided):
        _leave_result(world, entry, exit_code=1)
    again = {"version": 1, "reason": "retry", "retries": 1, "after_outcome": {"kind": "exited", "exit_code": 1}}
    attempts.make(world.spool.paths, decided[1], 2, again)
    (world.folder / "jobs").write_text("\n".join(entry[1] for entry in (failed, decided, lost)))


def order_half_done(world: World) -> None:
    """What must never start, what starts for that reason, an array in incoming/, and one that gave way.

    The jobs to run or to be refused are in `jobs`, the one to be put on hold in `held`.
    """
    world.spool.open_host(HOST)
    stopped = submitted(world)
    stop(world.spool, stopped[1], "anna")
    never = world.submit(LINE, after=[{"job": stopped[1], "when": "ok"}])
    nor_this = world.submit(LINE, after=[{"job": never[1], "when": "ok"}])
    runs = world.submit(LINE, after=[{"job": nor_this[1], "when": "notok"}])
    held = world.submit(LINE, after=[{"job": stopped[1], "when": "ok"}], after_unmet="hold")
    gave_way = world.submit(LINE, preemptible=True)
    world.spool.claim(gave_way, HOST)
    world.spool.write_claim(gave_way[1], claim_of_the_dead(gave_way))
    world.spool.start(gave_way[1])
    preempt.want(world.spool.paths, gave_way[1], 1, runs[1])
    preempt.tell_to_end(world.spool.paths, gave_way[1], 1, by=f"preemption for {runs[1]}")
    (world.folder / "ran").write_text(f"{gave_way[1]} 1\n")
    world.spool.write_result(gave_way[1], _result({"kind": "cancelled", "by": f"preemption for {runs[1]}"}))
    dropped(world, "array", array={"indexes": "0-2"})
    (world.folder / "jobs").write_text("\n".join(entry[1] for entry in (stopped, never, nor_this, runs, gave_way)))
    (world.folder / "held").write_text(held[1])


def job_ids(world: World) -> set[str]:
    """The jobs of the scene that was made here; what was dropped has no id yet."""
    return set((world.folder / "jobs").read_text().split())


def claim_of_the_dead(entry: Entry, boot_id: str | None = None) -> dict[str, object]:
    """A claim whose runner has died."""
    return {
        "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": boot_id or proc.boot_id(),
        "scope": f"forgather-job-{entry[1]}-1.scope", "priority": -entry[0], "gpus": [], "runner": DEAD,
        "claimed_at": utc_now(),
    }  # fmt: skip


def _leave_result(world: World, entry: Entry, *, exit_code: int = 0) -> None:
    """It ran once and said so."""
    with open(world.folder / "ran", "a") as ran:
        print(entry[1], 1, file=ran)
    world.spool.write_result(entry[1], _result({"kind": "exited", "exit_code": exit_code}))


def _result(outcome: dict[str, object]) -> dict[str, object]:
    return {"version": 1, "attempt": 1, "outcome": outcome, "started_at": None, "ended_at": utc_now()}
