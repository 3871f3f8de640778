"""What is there when nothing happens: nothing; and while a quiet job runs: its runner."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.measure import await_that
from benchmarks.row import Row, at_most
from benchmarks.scale import memory_mb
from benchmarks.spools import dispatcher, start_dispatcher
from forgather_spool.host import proc
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

GROUP = "idle"


def rows(lab: Lab) -> list[Row]:
    home = lab.home("idle")
    env = lab.embedded(home)
    found = [_after_the_last_job(lab, env)]
    with dispatcher(lab, env) as awake:
        job_id = submit(lab, env, "sleep", "1000")
        paths = Paths(str(home))
        await_that(lambda: Path(paths.process(job_id, 1)).exists(), "the job to run")
        runner_pid = _runner_of(paths, job_id)
        memory = memory_mb(runner_pid)
        span_s = 2.0 if lab.quick else 60.0
        woken = {"runner": -_switches(runner_pid), "dispatcher": -_switches(awake.pid)}
        time.sleep(span_s)
        woken["runner"] += _switches(runner_pid)
        woken["dispatcher"] += _switches(awake.pid)
        subprocess.run([lab.forgather, "job", "force-kill", "--yes", job_id], env=env, check=True, capture_output=True)
    found += [
        Row(group=GROUP, what=f"runner of a quiet job: {words}", unit="MB", value=memory[key], bar=bar)
        for key, words, bar in (
            ("Rss", "RSS", at_most(12)),
            ("Private", "its own (private)", at_most(5)),
            ("Pss", "PSS", None),
        )
    ]
    found += [
        Row(
            group=GROUP,
            what=f"{who} of a quiet job: wake-ups",
            unit="a minute",
            value=count * 60 / span_s,
            bar=at_most(1),
        )
        for who, count in woken.items()
    ]
    return found


def _after_the_last_job(lab: Lab, env: Mapping[str, str]) -> Row:
    """Processes of ours once the queue is empty, the patience of the dispatcher over and it has left."""
    job_id = submit(lab, {**env, "FORGATHER_NO_WAKE": "1"}, "true")
    start_dispatcher(lab, env, idle_s=0).wait()
    await_that(lambda: Path(Paths(env["FORGATHER_HOME"]).result(job_id, 1)).exists(), "its result")
    left = proc.pids_with_env("FORGATHER_HOME", env["FORGATHER_HOME"])
    deadline = time.monotonic() + 1
    while left and time.monotonic() < deadline:  # a runner needs some milliseconds to be gone
        time.sleep(0.01)
        left = proc.pids_with_env("FORGATHER_HOME", env["FORGATHER_HOME"])
    return Row(group=GROUP, what="after the last job", unit="processes", value=len(left), bar=at_most(0))


def submit(lab: Lab, env: Mapping[str, str], *argv: str) -> str:
    """The id of a new job."""
    command = [str(lab.forgather), "submit", "--quiet", "--", *argv]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _runner_of(paths: Paths, job_id: str) -> int:
    runner = files.read_document(paths.started(job_id, 1))["runner"]
    assert isinstance(runner, dict)
    return int(runner["pid"])


def _switches(pid: int) -> int:
    """How often it went to sleep of its own accord: once a wake-up."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0
