"""Jobs in any state, made by the very steps of `Spool` a dispatcher and a runner take."""

from __future__ import annotations

import os
from typing import Any

from forgather_spool.document import dump
from forgather_spool.job import Claim, GpuRef, parse_at
from forgather_spool.spool import attempts
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.submit import submit

HOST = "box"
BOOT_ID = "11111111-2222-3333-4444-555555555555"


def submitted(spool: Spool, **spec: Any) -> Entry:
    """A waiting job, ``true`` unless `argv` says otherwise."""
    priority = spec.get("priority", 0)
    return -priority, submit(spool, {"argv": ["true"], "priority": priority, **spec})


def held(spool: Spool, **spec: Any) -> Entry:
    """A job on hold."""
    return submitted(spool, hold=True, **spec)


def taken(spool: Spool, entry: Entry | None = None, host: str = HOST, **spec: Any) -> Entry:
    """A job a dispatcher has claimed and not yet written a claim for."""
    spool.open_host(host)
    entry = submitted(spool, **spec) if entry is None else entry
    spool.claim(entry, host)
    return entry


def claimed(
    spool: Spool, entry: Entry | None = None, *, host: str = HOST, cards: tuple[int, ...] = (), **spec: Any
) -> Entry:
    """A job with its claim, about to be started. Its runner is this very process."""
    entry = taken(spool, entry, host, **spec)
    spool.write_claim(entry[1], a_claim(entry, host=host, cards=cards).as_document())
    return entry


def running(spool: Spool, entry: Entry | None = None, *, output: bytes | None = None, **how: Any) -> Entry:
    """A job whose runner has started it; `output` is what it wrote so far."""
    entry = claimed(spool, entry, **how)
    assert spool.start(entry[1])
    process = {"version": 1, "pid": os.getpid(), "start_ticks": 1, "started_at": utc_now()}
    spool_file(spool.paths.process(entry[1], spool.attempt(entry[1])), process)
    if output is not None:
        write(spool, entry, output)
    return entry


def ending(spool: Spool, entry: Entry | None = None, *, outcome: dict[str, Any] | None = None, **how: Any) -> Entry:
    """A job with a result that nobody has moved to done/ yet."""
    entry = running(spool, entry, **how)
    assert spool.write_result(entry[1], a_result(outcome))
    return entry


def waiting_again(spool: Spool, entry: Entry | None = None, *, not_before_at: str | None = None, **how: Any) -> Entry:
    """A job back in the queue after an attempt that failed; `not_before_at` is its back-off."""
    entry = running(spool, entry, **how)
    run_again(spool, entry, not_before_at=not_before_at, host=how.get("host", HOST))
    return entry


def run_again(spool: Spool, entry: Entry, *, not_before_at: str | None = None, host: str = HOST) -> None:
    """End the attempt of a job that is `running` with exit code 7, and put it back for the next."""
    attempt, outcome = spool.attempt(entry[1]), {"kind": "exited", "exit_code": 7}
    assert spool.write_result(entry[1], a_result(outcome))
    again = {"version": 1, "reason": "retry", "retries": attempt, "not_before_at": not_before_at}
    assert attempts.make(spool.paths, entry[1], attempt + 1, {**again, "after_outcome": outcome})
    spool.put_back(entry, host)


def ended(spool: Spool, entry: Entry | None = None, *, host: str = HOST, **how: Any) -> Entry:
    """A job in done/, exited 0 unless `outcome` says otherwise."""
    entry = ending(spool, entry, host=host, **how)
    spool.finish(entry, host, utc_now())
    return entry


def end(spool: Spool, entry: Entry, outcome: dict[str, Any] | None = None, host: str = HOST) -> None:
    """The runner's last steps, for a job that is `running`."""
    assert spool.write_result(entry[1], a_result(outcome))
    spool.finish(entry, host, utc_now())


def write(spool: Spool, entry: Entry, output: bytes) -> None:
    """More output of a running job."""
    with open(spool.paths.output(entry[1], spool.attempt(entry[1])), "ab") as log:
        log.write(output)


def a_claim(entry: Entry, *, host: str = HOST, cards: tuple[int, ...] = ()) -> Claim:
    return Claim(
        attempt=1,
        host=host,
        host_kind="process",
        boot_id=BOOT_ID,
        scope=f"forgather-job-{entry[1]}-1.scope",
        priority=-entry[0],
        gpus=tuple(GpuRef(index=index, uuid=f"GPU-{index}") for index in cards),
        runner_pid=os.getpid(),
        runner_start_ticks=1,
        claimed_at=parse_at(utc_now()),
    )


def a_result(outcome: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    now = utc_now()
    outcome = outcome or {"kind": "exited", "exit_code": 0}
    return {"version": 1, "attempt": 1, "outcome": outcome, "started_at": now, "ended_at": now, **more}


def spool_file(path: str, document: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        file.write(dump(document))


def damage(path: str, garbage: bytes = b"\x00not json{") -> None:
    """Put garbage where a document of ours stood."""
    with open(path, "wb") as file:
        file.write(garbage)
