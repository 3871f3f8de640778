"""Many jobs in one go, and one from plain sh: beside the same files written and renamed without a sync."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import peers
from benchmarks.lab import Lab
from benchmarks.measure import BenchmarkFailed, in_turns, process_ms, runs
from benchmarks.row import Row, at_least, at_most, from_samples
from benchmarks.spools import dispatcher, set_dispatch
from forgather_spool.document import dump
from forgather_spool.spool.paths import Paths

GROUP = "many"
FLOOR = "write and rename in Python, no fsync"
PAUSE_S = 0.02
OF_NQ = 3.4  # the bar was set as 5 ms where a submit to nq, which syncs nothing, took 1.44


def rows(lab: Lab) -> list[Row]:
    return [*_together(lab), *_from_sh(lab)]


def _together(lab: Lab) -> list[Row]:
    """Jobs a second, the whole process counted, each with a spool of its own."""
    count = 2_000 if lab.quick else 10_000
    lines = lab.work / "jobs.jsonl"
    lines.write_text("".join(json.dumps({"argv": ["echo", str(i)], "name": f"n{i}"}) + "\n" for i in range(count)))
    batch: list[str | Path] = [lab.forgather, "submit", "--batch", lines]
    array: list[str | Path] = [lab.forgather, "submit", "--array", f"0-{count - 1}", "--", "true"]
    actions = {
        "floor": lambda: _floor(lab, count),
        "batch": _per_second(lab, batch, count),
        "array": _per_second(lab, array, count),
    }
    taken = in_turns(actions, lab.rounds(10))
    return [
        from_samples(
            GROUP, f"submit --batch, {count:,} durable jobs", taken["batch"], unit="jobs/s", peer=FLOOR,
            against=taken["floor"], bar=at_least(10_000) if not lab.quick else None,
        ),
        from_samples(
            GROUP, f"submit --array, {count:,} durable members", taken["array"], unit="jobs/s", peer=FLOOR,
            against=taken["floor"],
        ),
    ]  # fmt: skip


def _from_sh(lab: Lab) -> list[Row]:
    home = lab.home("drop")
    set_dispatch(home, paused=True)
    env = lab.embedded(home)
    drop: list[str | Path] = [lab.forgather.with_name("forgather-drop"), "--gpus", "1", "true"]
    actions = {"drop": runs(drop, env), "sh": runs(["sh", "-c", ":"], env)}
    if "nq" in peers.installed():
        actions["nq"] = runs([*peers.SUBMIT["nq"], "true"], peers.environment(lab))
    with dispatcher(lab, env):
        taken = in_turns(actions, lab.rounds(60), pause_s=PAUSE_S)
    nq = taken.get("nq")
    bar = at_most(5) if nq is None else at_most(OF_NQ, "ratio")
    return [
        from_samples(GROUP, "forgather-drop", taken["drop"], peer="nq", against=nq, bar=bar),
        from_samples(GROUP, "sh -c :", taken["sh"]),
    ]


def _per_second(lab: Lab, words: list[str | Path], count: int) -> Callable[[], float]:
    """An action: how many jobs a second this command makes in an empty spool, where they all are in the end."""

    def act() -> float:
        home = lab.home("many")
        took_ms = process_ms(words, lab.embedded(home, FORGATHER_NO_WAKE="1"))
        there = len(os.listdir(Paths(str(home)).queue))
        if there != count:
            raise BenchmarkFailed(f"{there} of {count} jobs are in the queue")
        return count / took_ms * 1000

    return act


def _floor(lab: Lab, count: int) -> float:
    """Files as large as a job's, written and renamed by this process."""
    data = dump({"version": 1, "argv": ["echo", "0"], "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, "name": "n0"})
    source, target = lab.home("floor-from"), lab.home("floor-to")
    begin = time.perf_counter()
    for i in range(count):
        fd = os.open(f"{source}/{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, data)
        os.close(fd)
        os.rename(f"{source}/{i}", f"{target}/{i}")
    return count / (time.perf_counter() - begin)
