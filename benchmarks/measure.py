"""Taking samples: in turns, by the wall clock, with median and 95th percentile."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)
WARM_UP_ROUNDS = 2
SECONDS = 1.0  # of what is measured by its rate
PATIENCE_S = 60.0


class BenchmarkFailed(Exception):
    """What was to be measured did not do what it should; its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What one thing took, in whatever unit its row names."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return sorted(self.values)[math.ceil(0.95 * len(self.values)) - 1]


def in_turns(actions: Mapping[Name, Callable[[], float]], rounds: int, *, pause_s: float = 0.0) -> dict[Name, Samples]:
    """Each action once a round, `rounds` times, after a few that do not count. An action returns its own figure."""
    taken: dict[Name, list[float]] = {name: [] for name in actions}
    for number in range(-min(WARM_UP_ROUNDS, rounds), rounds):
        for name, action in actions.items():
            value = action()
            if number >= 0:
                taken[name].append(value)
            time.sleep(pause_s)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def process_ms(argv: Sequence[str | Path], env: Mapping[str, str]) -> float:
    """From spawning a process to having waited for its end. Raises BenchmarkFailed: it did not exit 0."""
    words = [str(word) for word in argv]
    begin = time.perf_counter()
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=-1)
    _, status = os.waitpid(process.pid, 0)
    took_ms = (time.perf_counter() - begin) * 1000
    process.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        assert process.stderr is not None
        raise BenchmarkFailed(f"{' '.join(words)}: exit code {process.returncode}: {process.stderr.read().decode()}")
    assert process.stderr is not None
    process.stderr.close()
    return took_ms


def runs(argv: Sequence[str | Path], env: Mapping[str, str]) -> Callable[[], float]:
    """An action for `in_turns`: how long this command takes, in ms."""
    return lambda: process_ms(argv, env)


def await_that(condition: Callable[[], bool], what: str, *, poll_s: float = 0.0005) -> None:
    """Wait until `condition` holds. Raises BenchmarkFailed after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(poll_s)


def rate(
    source: Iterable[Any],
    size: Callable[[Any], int] = lambda example: 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Examples a second for about a second, from the beginning, as often as that takes."""
    count, begin = 0, clock()
    while True:
        for number, one in enumerate(source):
            count += size(one)
            if number % 16 == 0 and clock() - begin > SECONDS:
                return count / (clock() - begin)


def processor_s(pid: int) -> float:
    """What the process has had of the processor, all its threads, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
