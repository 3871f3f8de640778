"""A job's output: what a torrent of it costs the runner, whether a byte is missing, how soon `tail` shows a line."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks.idle import _runner_of, submit
from benchmarks.lab import Lab
from benchmarks.measure import BenchmarkFailed, Samples, await_that
from benchmarks.row import Row, at_most, from_samples
from benchmarks.spools import dispatcher
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

GROUP = "output"
LINES_A_SECOND = 100_000
LINE_BYTES = 100
TORRENT = f"""
import os, sys, time
seconds, lines = float(sys.argv[1]), {LINES_A_SECOND // 100}
data = (b"x" * {LINE_BYTES - 1} + b"\\n") * lines
begin = time.monotonic()
for number in range(int(seconds * 100)):
    time.sleep(max(0, begin + number / 100 - time.monotonic()))
    os.write(1, data)
time.sleep(1)
"""
BURST = f"""
import os
data = (b"y" * {LINE_BYTES - 1} + b"\\n") * 1000
for _ in range(1000):
    os.write(1, data)
"""
CLOCK = """
import sys, time
for _ in range(int(sys.argv[1])):
    time.sleep(0.05)
    print(time.time_ns(), flush=True)
"""


def rows(lab: Lab) -> list[Row]:
    home = lab.home("output")
    env = lab.embedded(home)
    paths = Paths(str(home))
    with dispatcher(lab, env):
        return [*_torrent(lab, env, paths), _burst(lab, env, paths), _tail(lab, env)]


def _torrent(lab: Lab, env: dict[str, str], paths: Paths) -> list[Row]:
    span_s = 2 if lab.quick else 10
    job_id = submit(lab, env, str(lab.python), "-c", TORRENT, str(span_s))
    await_that(lambda: Path(paths.process(job_id, 1)).exists(), "the torrent to begin")
    pid = _runner_of(paths, job_id)
    begin, used_s = time.monotonic(), -_cpu_s(pid)
    time.sleep(span_s - 0.5)
    used_s += _cpu_s(pid)
    share = used_s / (time.monotonic() - begin)
    result = _result(paths, job_id)
    missing = span_s * LINES_A_SECOND * LINE_BYTES - os.path.getsize(paths.output(job_id, 1))
    return [
        Row(
            group=GROUP, what=f"{LINES_A_SECOND:,} lines/s: the runner's share of a core", unit="%",
            value=100 * share, bar=at_most(20),
            note=f"over {span_s} s; the journal was left out {result.get('journal_dropped_lines')} lines",
        ),
        Row(group=GROUP, what="the same: bytes missing in output.log", unit="bytes", value=missing, bar=at_most(0)),
    ]  # fmt: skip


def _burst(lab: Lab, env: dict[str, str], paths: Paths) -> Row:
    job_id = submit(lab, env, str(lab.python), "-c", BURST)
    _result(paths, job_id)
    missing = 1_000_000 * LINE_BYTES - os.path.getsize(paths.output(job_id, 1))
    return Row(
        group=GROUP, what="a burst of 1,000,000 lines: bytes missing", unit="bytes", value=missing, bar=at_most(0)
    )


def _tail(lab: Lab, env: dict[str, str]) -> Row:
    """From a line's printing to its being read from `forgather job tail`."""
    job_id = submit(lab, env, str(lab.python), "-c", CLOCK, str(lab.rounds(100) + 20))
    tail = subprocess.Popen([lab.forgather, "job", "tail", job_id], env=env, stdout=subprocess.PIPE, stderr=-3)
    assert tail.stdout is not None
    late_ms = [(time.time_ns() - int(line)) / 1e6 for line in tail.stdout]
    if tail.wait() != 0 or len(late_ms) < 5:
        raise BenchmarkFailed(f"job tail ended with {tail.returncode} after {len(late_ms)} lines")
    return from_samples(GROUP, "job tail: from printed to shown", Samples(tuple(late_ms[15:])), bar=at_most(10))


def _result(paths: Paths, job_id: str) -> dict[str, object]:
    await_that(lambda: Path(paths.result(job_id, 1)).exists(), f"the end of {job_id}", poll_s=0.01)
    result = files.read_document(paths.result(job_id, 1))
    if result["outcome"] != {"kind": "exited", "exit_code": 0}:
        raise BenchmarkFailed(f"{job_id}: {result['outcome']}")
    return result


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
