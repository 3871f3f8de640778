"""One good document of each kind, with every field set, for `mutate` to spoil."""

from __future__ import annotations

from typing import Any

AT = "2026-11-21T03:40:12.123456Z"
JOB = "q_1738012412345_a1b2c3d4"
OUTCOMES: tuple[dict[str, Any], ...] = (
    {"kind": "exited", "exit_code": 7},
    {"kind": "killed", "signal": 9},
    {"kind": "timed_out", "limit_s": 60.5, "signal": 15},
    {"kind": "out_of_memory"},
    {"kind": "cancelled", "by": "anna"},
    {"kind": "lost", "reason": "the machine was restarted"},
    {"kind": "refused", "reason": "no such command"},
)
SPEC: dict[str, Any] = {
    "version": 1, "argv": ["train", "--lr", "1e-4"], "cwd": "/tmp", "env": {"A": "b"}, "name": "run", "gpus": 2,
    "gpu_memory_bytes": 1 << 30, "priority": 3, "time_limit_s": 3600, "memory_bytes": 1 << 30, "cpus": 1.5,
    "tty": False,
    "grace_s": 5, "type": "train", "job_params": {"config": "a.yaml"}, "script": "#!/bin/sh\ntrue", "rerun_of": JOB,
    "git_commit": "a" * 40, "group": "night", "hold": True, "begin_at": AT, "after": [{"job": JOB, "when": "any"}],
    "after_unmet": "hold", "array": {"indexes": "0-9:3,12", "limit": 2, "size": 5}, "retries": 3, "retry_on": ["1",
    "oom"],
    "retry_delay_s": 10, "requeue": True, "preemptible": True, "shared": True, "jobs_per_gpu": 2, "unique": "key",
    "notify": ["mail:a@b.c", "https://a.b/c"], "notify_on": "failure", "output_limit_bytes": 1 << 20,
    "snapshot": {"ref": "refs/a", "git_dir": "/g", "top": "/t", "prefix": "p", "commit": "a" * 40, "state": "b" * 40},
}  # fmt: skip
SPECS = (SPEC, {"argv": ["true"]}, {"argv": ["a", "é"], "array": {"indexes": "1,3,5-9"}})
CLAIM: dict[str, Any] = {
    "version": 1, "attempt": 1, "host": "box", "host_kind": "systemd", "boot_id": "b", "priority": 0,
    "scope": f"forgather-job-{JOB}-1.scope", "gpus": [{"index": 0, "uuid": "GPU-1"}], "claimed_at": AT,
    "runner": {"pid": 4711, "start_ticks": 12345},
    "terms": {"gpu_memory_bytes": 1, "shared": True, "jobs_per_gpu": 2, "preemptible": True, "time_limit_s": 60,
    "grace_s": 5},
}  # fmt: skip
RESULTS = tuple(
    {
        "version": 1, "attempt": 1, "outcome": outcome, "started_at": AT, "ended_at": AT, "cpu_s": 1.5,
        "peak_memory_bytes": 1 << 20, "output_bytes": 100, "output_lost_bytes": 0, "steps": [{"at": AT, "did": "TERM"}],
    }
    for outcome in OUTCOMES
)  # fmt: skip
AGAIN = tuple(
    {
        "version": 1, "reason": reason, "retries": 1, "requeues": 0, "not_before_at": AT, "after_outcome": outcome,
        "gave_way_to": JOB,
    }
    for reason in ("retry", "requeue", "preempted") for outcome in OUTCOMES
)  # fmt: skip
GPU_POLICY = {
    "version": 1, "gpus": {"0": {"disabled": True, "min_priority": 5}, "GPU-1": {"min_priority": None}},
    "ignore_foreign_processes": True, "foreign_memory_bytes": 1 << 20,
}  # fmt: skip
DISPATCH = {
    "version": 1, "paused": True, "paused_at": AT, "no_gpu_limit": 4, "notify": ["desktop"], "notify_on": "end",
    "retention": {"older_than_s": 86400, "keep": 10, "max_bytes": 1 << 30, "outcomes": ["ok"]},
    "groups": {"night": {"limit": 2, "paused": True}}, "reserve_after_s": 60,
}  # fmt: skip
COMMAND = {
    "version": 1, "command": "save_checkpoint", "args": {"a": 1}, "by": "anna", "posted_at": AT, "deadline_at": AT,
}  # fmt: skip
ACKNOWLEDGEMENT = {
    "version": 1, "outcome": "done", "step": 5, "checkpoint": "/c", "reason": "r", "answered_at": AT,
    "answered_by": "trainer", "data": {"a": 1},
}  # fmt: skip
STATUS = {
    "version": 1, "job_id": JOB, "status": "training", "global_step": 5, "max_steps": 10, "epoch": 0.5,
    "metrics": {"loss": 1.5}, "updated_at": AT,
}  # fmt: skip
ENDPOINT = {
    "version": 1, "job_id": JOB, "host": "127.0.0.1", "port": 8000, "pid": 4711, "start_ticks": 1, "boot_id": "b",
    "hostname": "box", "started_at": AT, "output_dir": "/o", "logging_dir": "/l",
}  # fmt: skip
STOP = {"version": 1, "force": False, "grace_s": 5, "by": "anna", "requested_at": AT}
PREEMPT = {"version": 1, "for_job": JOB, "at": AT, "by": "the dispatcher"}
HOST = {
    "version": 1, "host": "box", "kind": "systemd", "boot_id": "b", "gpus": [{"index": 0}], "last_seen_at": AT,
    "dispatcher_pid": 4711,
}  # fmt: skip
POSTS = ({"command": "status"}, {"command": "save_checkpoint", "data": {"a": [1]}, "wait_s": 5})
