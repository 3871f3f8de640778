"""task-spooler and nq, as they are measured beside us where they are installed.

They keep nothing safe (a crash or a power cut loses their queue), so they show
what the least costs, and are no bar.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Mapping

from benchmarks.lab import Lab

SUBMIT = {"task-spooler": ["tsp"], "nq": ["nq", "-q"]}  # and the command
_rounds = itertools.count()
TSP_HOLDS = 900  # it blocks for ever near a thousand: select() and FD_SETSIZE


def installed() -> tuple[str, ...]:
    return tuple(name for name, words in SUBMIT.items() if shutil.which(words[0]))


def environment(lab: Lab, folder: str = "peers") -> dict[str, str]:
    """Where they keep what is theirs: nothing of the user's own queue is touched."""
    place = lab.work / folder
    place.mkdir(exist_ok=True)
    return lab.env(TS_SOCKET=f"{place}/socket", TS_SLOTS="1", NQDIR=str(place), TMPDIR=str(place))


def drain(lab: Lab, name: str, jobs: int, at_once: int) -> float:
    """Jobs a second: `jobs` times true, `at_once` at a time, from the opening of a gate they wait behind."""
    jobs = min(jobs, TSP_HOLDS)
    anew = next(_rounds)  # nq looks through all that lies in its folder, ended or not
    gate = lab.work / f"gate-{name}"
    waiting = ["sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.01; done"]
    if name == "nq":  # one at a time in a folder
        queues = [environment(lab, f"nq-{number}-{anew}") for number in range(at_once)]
    else:
        queues = [environment(lab, "tsp") | {"TS_SLOTS": str(at_once)}]
    for number in range(at_once):
        _run([*SUBMIT[name], *waiting], queues[number % len(queues)])
    for number in range(jobs):
        _run([*SUBMIT[name], "true"], queues[number % len(queues)])
    begin = time.perf_counter()
    gate.touch()
    for env in queues:
        _await_all(name, env)
    took_s = time.perf_counter() - begin
    os.unlink(gate)
    if name == "task-spooler":
        _run(["tsp", "-K"], queues[0])
    return jobs / took_s


def end(lab: Lab) -> None:
    """Have task-spooler's server of `environment` leave."""
    if shutil.which("tsp") and os.path.exists(environment(lab)["TS_SOCKET"]):
        _run(["tsp", "-K"], environment(lab))


def _await_all(name: str, env: Mapping[str, str]) -> None:
    if name == "nq":
        _run(["nq", "-w"], env)
        return
    while any(word in _run(["tsp", "-l"], env) for word in (" queued ", " running ")):
        _run(["tsp", "-w"], env)


def _run(words: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(words, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout
