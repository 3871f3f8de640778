"""``python -m tests.data.generate``: a spool as this version writes it, into ``tests/data/<version>/``.

Run once for each release, on the day of it, and never again for an older one:
what lies here is what that release wrote, and every later one must read it.
Every document, every outcome and every state is there once. Paths and hosts are
made up; the machine it ran on is not to be found in it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from forgather_spool import __version__
from forgather_spool.runner.output import OutputLog
from forgather_spool.spool import settings
from forgather_spool.spool.batch import Batch
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.reject import reject
from tests import builders
from tests.builders import BOOT_ID, HOST

HERE = Path(__file__).parent
OUTCOMES: dict[str, dict[str, Any]] = {
    "exited-0": {"kind": "exited", "exit_code": 0},
    "exited-3": {"kind": "exited", "exit_code": 3},
    "killed": {"kind": "killed", "signal": 11},
    "timed-out": {"kind": "timed_out", "limit_s": 60.0, "signal": 15},
    "out-of-memory": {"kind": "out_of_memory", "signal": 9},
    "cancelled": {"kind": "cancelled", "by": "anna@box", "signal": 15},
    "lost": {"kind": "lost", "reason": "the machine was restarted"},
    "refused": {"kind": "refused", "reason": "the command 'nosuch' is not in the job's PATH (/usr/bin:/bin)"},
}
EVERY_FIELD: dict[str, Any] = {
    "version": 1, "argv": ["sh", "-c", "echo \"$GREETING\"; exit 0"], "cwd": "/tmp", "env": {"GREETING": "grüß dich"},
    "name": "every-field", "gpus": 0, "gpu_memory_bytes": None, "priority": -5, "time_limit_s": 3600.0,
    "memory_bytes": 1 << 30, "cpus": 1.5, "tty": False, "grace_s": 2.5, "type": "command",
    "job_params": {"anything": [1, 2.5, None, True]}, "script": None, "rerun_of": "q_1738012412_a1b2c3d4",
    "git_commit": "0123456789abcdef0123456789abcdef01234567", "group": "nightly", "hold": False,
    "begin_at": "2026-01-01T00:00:00Z", "after_unmet": "run", "retries": 2, "retry_on": ["1", "signals", "timeout"],
    "retry_delay_s": 0.5, "requeue": True, "preemptible": True, "shared": False, "jobs_per_gpu": None,
    "unique": "nightly-eval", "snapshot": None, "notify": [], "notify_on": "failure", "output_limit_bytes": 8192,
}  # fmt: skip


def main() -> None:
    home = HERE / __version__
    shutil.rmtree(home, ignore_errors=True)
    spool = Spool(str(home)).create()
    _the_ended(spool)
    _the_living(spool)
    _what_is_set(spool)
    for path in [*home.rglob("*.lock"), *Path(spool.paths.tmp).iterdir()]:
        path.unlink()
    for path in Path(spool.paths.rejected).glob("*.why"):
        path.write_text(path.read_text().replace(str(home), "/home/anna/.config/forgather"))
    print(f"wrote {sum(path.is_file() for path in home.rglob('*'))} files to {home}")


def _the_ended(spool: Spool) -> None:
    for name, outcome in OUTCOMES.items():
        facts = {
            "cpu_s": 1.25, "peak_memory_bytes": 1 << 20, "output_bytes": 6, "output_lost_bytes": 0,
            "journal_dropped_lines": 2, "steps": [{"at": utc_now(), "did": "TERM to 1 process: asked by anna@box"}],
        }  # fmt: skip
        entry = builders.running(spool, name=name, cards=(0,), output=b"hello\n", gpus=1)
        spool.write_result(entry[1], builders.a_result(outcome, **facts))
        spool.finish(entry, HOST, utc_now())
    spool.cancel_waiting(builders.submitted(spool, name="cancelled-waiting"), "anna@box")
    twice = builders.waiting_again(spool, name="twice", retries=1, output=b"first\n")
    builders.ended(spool, twice, output=b"second\n")
    limited = builders.running(spool, name="limited", output_limit_bytes=4096)
    log = OutputLog(spool.paths.output(limited[1], 1), 4096)
    log.write(b"".join(b"%07d\n" % n for n in range(2000)))
    log.close()
    spool.write_result(
        limited[1], builders.a_result(output_bytes=log.bytes_seen, output_omitted_bytes=log.bytes_omitted)
    )
    spool.finish(limited, HOST, utc_now())
    _a_trainer(spool)


def _a_trainer(spool: Spool) -> None:
    entry = builders.running(spool, name="trainer", type="train", output=b"step 10\n")
    mailbox = Mailbox(spool.paths, entry[1])
    mailbox.create()
    command = mailbox.post("save_checkpoint", by="anna@box")
    mailbox.acknowledge(command, outcome="done", by="trainer", step=10, checkpoint="/tmp/run/checkpoint-10")
    status = {
        "version": 1, "job_id": entry[1], "status": "ended", "global_step": 10, "max_steps": 10, "epoch": 1.0,
        "metrics": {"loss": 2.5}, "updated_at": utc_now(),
    }  # fmt: skip
    builders.spool_file(spool.paths.status(entry[1], 1), status)
    builders.end(spool, entry)


def _the_living(spool: Spool) -> None:
    builders.submitted(spool, name="waiting")
    builders.submitted(spool, **EVERY_FIELD)
    builders.held(spool, name="held", priority=7)
    builders.waiting_again(spool, name="between-attempts", retries=1, output=b"first\n")
    builders.taken(spool, name="taken")
    builders.claimed(spool, name="claimed")
    started = builders.running(spool, name="started", output=b"so far\n")
    spool.ask_to_stop(started[1], by="anna@box", grace_s=1.0)
    builders.ending(spool, name="ending")
    cancelling = builders.submitted(spool, name="cancelling")
    os.rename(spool.paths.queued(cancelling[1], 0), spool.paths.taken(CANCEL, cancelling[1], 0))
    array = Batch(spool)
    array.add({"version": 1, "argv": ["true"], "name": "array", "array": {"indexes": "0-2", "limit": 2}})
    array.commit()
    bad = Path(spool.paths.incoming, "bad.json")
    bad.write_text('{"argv": "not a list"}')
    reject(spool, str(bad), "$.argv: expected array of strings, got string")
    Path(spool.paths.incoming, "dropped.json").write_text('{"argv": ["true"], "name": "dropped"}\n')


def _what_is_set(spool: Spool) -> None:
    groups = {"nightly": {"limit": 1, "paused": False}}
    settings.change_dispatch(spool.paths, paused=False, no_gpu_limit=4, groups=groups)
    policy = {"version": 1, "gpus": {"0": {"disabled": False, "min_priority": 5}}, "ignore_foreign_processes": False}
    builders.spool_file(spool.paths.gpu_policy, policy)
    host = {
        "version": 1, "host": HOST, "kind": "process", "boot_id": BOOT_ID, "gpus": [], "last_seen_at": utc_now(),
        "dispatcher_pid": None,
    }  # fmt: skip
    builders.spool_file(spool.paths.host(HOST), host)


if __name__ == "__main__":
    sys.exit(main())
