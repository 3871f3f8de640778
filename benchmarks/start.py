"""From submitting to the job's first instruction, and the same through systemd-run.

The job stamps the clock as its first act. With systemd (`python -m
benchmarks.inside start`, in a host with a user manager) our two kinds of host
and systemd-run take turns; elsewhere only the embedded default is measured.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.lab import Lab
from benchmarks.measure import Samples, await_that, in_turns, process_ms, runs
from benchmarks.row import Row, at_most, from_samples
from benchmarks.spools import dispatcher
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

GROUP = "submit to first instruction"
PYTHON = "python3 -c pass"
AGAINST_SYSTEMD_RUN = (  # and how many times as long it may take
    ("scope", "in a scope, dispatcher awake", 1.0),
    ("scope, stopped", "in a scope, from a stopped dispatcher", 8.0),
    ("embedded, stopped", "embedded, from a stopped dispatcher", 8.0),
)
PAUSE_S = 0.05
_numbers = itertools.count()


def measure(lab: Lab, *, systemd: bool) -> dict[str, Samples]:
    """In ms. With `systemd` also "scope" and "systemd-run", and each from a stopped dispatcher."""
    embedded = lab.embedded(lab.home("start-embedded"))
    asleep = lab.embedded(lab.home("start-asleep"), FORGATHER_IDLE_S="0")
    actions: dict[str, Callable[[], float]] = {
        "floor": runs([lab.python, "-c", "pass"], embedded),
        "spawn": lambda: _stamped(lab, [], lab.env()),
        "embedded": lambda: _submitted(lab, embedded),
        "embedded, stopped": lambda: _submitted_asleep(lab, asleep),
    }
    for name in peers.installed():
        env = peers.environment(lab)
        actions[name] = partial(_stamped, lab, peers.SUBMIT[name], env)
    awake = [embedded]
    if systemd:
        scope = lab.env(lab.home("start-scope"), FORGATHER_HOST_KIND="systemd")
        stopped = lab.env(lab.home("start-scope-asleep"), FORGATHER_HOST_KIND="systemd", FORGATHER_IDLE_S="0")
        awake.append(scope)
        actions |= {
            "systemd-run": lambda: _stamped(lab, ["systemd-run", "--user", "--quiet", "--collect"], lab.env()),
            "systemd-run --scope": lambda: _stamped(lab, ["systemd-run", "--user", "--quiet", "--scope"], lab.env()),
            "scope": lambda: _submitted(lab, scope),
            "scope, stopped": lambda: _submitted_asleep(lab, stopped),
        }
    with ExitStack() as stack:
        for env in awake:
            stack.enter_context(dispatcher(lab, env))
        stack.callback(peers.end, lab)
        return in_turns(actions, lab.rounds(40), pause_s=PAUSE_S)


def rows(taken: Mapping[str, Samples]) -> list[Row]:
    """What `measure` found, against systemd-run where that could be measured."""
    unit_start, peer = taken.get("systemd-run"), "systemd-run --user"
    found = [_row("embedded, dispatcher awake", taken["embedded"], PYTHON, taken["floor"], 2.0)]
    for name, what, limit in AGAINST_SYSTEMD_RUN:
        if name in taken and unit_start is not None:
            found.append(_row(what, taken[name], peer, unit_start, limit))
        elif name in taken:
            found.append(_row(what, taken[name], PYTHON, taken["floor"], None))
    for name in ("systemd-run --scope", "spawn", *peers.SUBMIT):
        if name in taken:
            what = {"spawn": "fork and exec alone", "systemd-run --scope": "systemd-run --user --scope"}.get(name, name)
            found.append(_row(what, taken[name], peer if unit_start else PYTHON, unit_start or taken["floor"], None))
    return found


def _row(what: str, samples: Samples, peer: str, against: Samples, limit: float | None) -> Row:
    return from_samples(
        GROUP, what, samples, peer=peer, against=against, bar=None if limit is None else at_most(limit, "ratio")
    )


def _submitted(lab: Lab, env: Mapping[str, str]) -> float:
    return _stamped(lab, [str(lab.forgather), "submit", "--quiet", "--"], env)


def _submitted_asleep(lab: Lab, env: Mapping[str, str]) -> float:
    """Once the dispatcher of the turn before has left and its jobs are done."""
    paths = Paths(env["FORGATHER_HOME"])
    host = env["FORGATHER_HOST"]
    await_that(lambda: not files.names(paths.running_on(host)) and not _is_locked(paths.host_lock(host)), "its sleep")
    return _submitted(lab, env)


def _stamped(lab: Lab, words: list[str], env: Mapping[str, str]) -> float:
    """From before the command is spawned to what the stamp says, in ms."""
    path = Path(lab.work, f"stamp-{next(_numbers)}")
    begin_ns = time.time_ns()
    process_ms([*words, lab.stamp, path], env)
    await_that(lambda: path.exists() and path.read_bytes().endswith(b"\n"), "the job's stamp")
    stamp_ns = int(path.read_bytes())
    path.unlink()
    return (stamp_ns - begin_ns) / 1e6


def _is_locked(path: str) -> bool:
    import fcntl

    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
