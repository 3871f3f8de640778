"""What grows with the queue: looking at it, and the dispatcher that knows it."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.measure import in_turns, runs
from benchmarks.row import Row, at_most, from_samples
from benchmarks.spools import dispatcher, fill, set_dispatch

GROUP = "a long queue"
LOOKS = {"sched list": ["sched", "list"], "sched status": ["sched", "status"], "submit": ["submit", "--", "true"]}


def rows(lab: Lab) -> list[Row]:
    sizes = [0, 1000] if lab.quick else [0, 10_000, 100_000]
    envs = {}
    for size in sizes:
        home = lab.home(f"queue-{size}")
        set_dispatch(home, paused=True)
        fill(home, size)
        envs[size] = lab.embedded(home, FORGATHER_NO_WAKE="1")
    actions = {
        (name, size): runs([lab.forgather, *words], envs[size]) for name, words in LOOKS.items() for size in sizes
    }
    actions["python3 -c pass", 0] = runs([lab.python, "-c", "pass"], envs[0])
    taken = in_turns(actions, lab.rounds(20))
    found = []
    for name in LOOKS:
        found.append(
            from_samples(
                GROUP,
                f"{name}, empty queue",
                taken[name, 0],
                peer="python3 -c pass",
                against=taken["python3 -c pass", 0],
            )
        )
        found += [
            from_samples(
                GROUP, f"{name}, {size:,} queued", taken[name, size], peer="empty queue", against=taken[name, 0],
                bar=at_most(3, "ratio"),
            )
            for size in sizes[1:]
        ]  # fmt: skip
    return found + [row for size in sizes for row in _dispatcher(lab, Path(envs[size]["FORGATHER_HOME"]), size)]


def _dispatcher(lab: Lab, home: Path, size: int) -> list[Row]:
    """How long it takes to be ready over such a queue, and what it holds then."""
    begin = time.perf_counter()
    with dispatcher(lab, lab.embedded(home)) as process:
        ready_s = time.perf_counter() - begin
        rss_mb = memory_mb(process.pid)["Rss"]
    bar_s, bar_mb = (at_most(1), at_most(60)) if size >= 100_000 else (None, None)
    what = f"dispatcher, {size:,} queued"
    return [
        Row(group=GROUP, what=f"{what}: from its start to its first look's end", unit="s", value=ready_s, bar=bar_s),
        Row(group=GROUP, what=f"{what}: memory (RSS)", unit="MB", value=rss_mb, bar=bar_mb),
    ]


def memory_mb(pid: int) -> dict[str, float]:
    """`Rss`, `Pss` and `Private`, in MB of 1,000,000 bytes; see proc_pid_smaps_rollup(5)."""
    found = {"Private": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        mb = int(rest.split()[0]) * 1024 / 1e6
        if name.startswith("Private"):
            found["Private"] += mb
        else:
            found[name] = mb
    return found
