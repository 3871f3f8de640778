"""How many short jobs a second go through a full queue, two at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from benchmarks import peers
from benchmarks.lab import Lab
from benchmarks.measure import BenchmarkFailed, Samples
from benchmarks.row import Row, at_least, from_samples
from benchmarks.spools import ended, fill, set_dispatch, start_dispatcher

GROUP = "drain"
AT_ONCE = 2
FLOOR = 0.8  # of nq, which keeps nothing safe: the bar was set as 500 a second where nq made 626


def measure(lab: Lab, *, systemd: bool) -> dict[str, Samples]:
    """Jobs a second; with `systemd` also those in scopes, and what systemd-run starts a second."""
    jobs = 100 if lab.quick else 1000
    taken: dict[str, list[float]] = {}
    for _ in range(1 if lab.quick else 3):
        taken.setdefault("embedded", []).append(_drain(lab, "process", jobs))
        if systemd:
            taken.setdefault("scope", []).append(_drain(lab, "systemd", jobs))
            for name, words in (("systemd-run", ["--collect"]), ("systemd-run --scope", ["--scope"])):
                command = ["systemd-run", "--user", "--quiet", *words, "true"]
                taken.setdefault(name, []).append(_loop(command, lab.env(), jobs // 5))
        for name in peers.installed():
            taken.setdefault(name, []).append(peers.drain(lab, name, jobs, AT_ONCE))
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def rows(taken: Mapping[str, Samples]) -> list[Row]:
    found = []
    nq = taken.get("nq")
    embedded = at_least(500) if nq is None else at_least(FLOOR, "ratio")
    scope, unit_start = at_least(1, "ratio"), taken.get("systemd-run")
    for name, what, peer, against, bar in (
        ("embedded", "embedded", "nq", nq, embedded),
        ("scope", "in scopes", "systemd-run --user", unit_start, scope),
    ):
        if name in taken:
            note = f"`true`, {AT_ONCE} at a time, from the dispatcher's start to its end"
            found.append(
                from_samples(GROUP, what, taken[name], unit="jobs/s", peer=peer, against=against, bar=bar, note=note)
            )
    for name in ("systemd-run", "systemd-run --scope"):
        if name in taken:
            note = f"a loop of them, {AT_ONCE} at a time"
            found.append(
                from_samples(GROUP, name.replace("run", "run --user", 1), taken[name], unit="jobs/s", note=note)
            )
    for name in peers.SUBMIT:
        if name in taken:
            note = "from the opening of a gate; nothing is kept safe"
            found.append(from_samples(GROUP, name, taken[name], unit="jobs/s", note=note))
    return found


def _drain(lab: Lab, kind: str, jobs: int) -> float:
    home = lab.home(f"drain-{kind}")
    set_dispatch(home, no_gpu_limit=AT_ONCE)
    fill(home, jobs)
    begin = time.perf_counter()
    code = start_dispatcher(lab, lab.env(home, FORGATHER_HOST_KIND=kind), idle_s=0).wait()
    took_s = time.perf_counter() - begin
    if code != 0 or ended(home) != jobs:
        raise BenchmarkFailed(f"{ended(home)} of {jobs} jobs ended, the dispatcher with {code}")
    return jobs / took_s


def _loop(command: list[str], env: Mapping[str, str], count: int) -> float:
    def once(_: int) -> None:
        subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        begin = time.perf_counter()
        list(pool.map(once, range(count)))
        return count / (time.perf_counter() - begin)
