"""Many at once: a job is claimed once, started once and ended once, whoever tries."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

from forgather_spool.errors import AlreadyClaimed
from forgather_spool.spool.names import entry_name, new_job_id
from forgather_spool.spool.queue import Spool
from tests import file_system

DISPATCHERS = 16
JOBS = 10_000
FORK = multiprocessing.get_context("fork")


def claim_all(home, host, results):
    """What a greedy dispatcher does: claim whatever waits until nothing does."""
    spool = Spool(home)
    spool.open_host(host)
    won = []
    while waiting := spool.waiting():
        # each host begins elsewhere, as dispatchers with different cards do; they still meet all the time
        offset = hash(host) % len(waiting)
        for entry in [*waiting[offset:], *waiting[:offset]][:50]:
            try:
                spool.claim(entry, host)
            except AlreadyClaimed:
                continue
            won.append(entry[1])
    results.put((host, won))


def test_sixteen_dispatchers_share_ten_thousand_jobs_and_none_is_taken_twice(tmp_path):
    spool = Spool(str(tmp_path / "home")).create()
    ids = [new_job_id() for _ in range(JOBS)]
    for job_id in ids:
        Path(spool.paths.queue, entry_name(job_id, 0)).write_text('{"argv": ["true"]}')
    results = FORK.Queue()
    dispatchers = [
        FORK.Process(target=claim_all, args=(spool.paths.home, f"host{n}", results)) for n in range(DISPATCHERS)
    ]

    for dispatcher in dispatchers:
        dispatcher.start()
    won = dict(results.get(timeout=300) for _ in dispatchers)
    for dispatcher in dispatchers:
        dispatcher.join()

    taken = Counter(job_id for ids_won in won.values() for job_id in ids_won)
    assert set(taken) == set(ids)
    assert max(taken.values()) == 1
    for host, ids_won in won.items():
        assert [job_id for _, job_id in spool.taken(host)] == sorted(ids_won)


def race(action, contenders, results):
    """Every contender does `action(n)` at the same moment; True from `action` means it won."""
    barrier = FORK.Barrier(contenders)

    def contend(n):
        barrier.wait()
        results.put(action(n))

    processes = [FORK.Process(target=contend, args=(n,)) for n in range(contenders)]
    for process in processes:
        process.start()
    outcome = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    return outcome


def test_a_start_and_a_withdrawal_of_one_claim_never_both_succeed(tmp_path):
    """The runner and the dispatcher that has given it up rename the same file."""
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host("box")
    for _ in range(30):
        job_id = spool.submit({"argv": ["true"], "priority": 0})
        spool.claim((0, job_id), "box")
        spool.write_claim(job_id, {"version": 1})

        def start_or_withdraw(n, job_id=job_id):
            return spool.withdraw_claim(job_id) if n % 2 else spool.start(job_id)

        won = race(start_or_withdraw, 4, FORK.Queue())

        assert won.count(True) == 1


class InterruptingOs:
    """`os`; before its call number `at` (from 1) somebody else acts."""

    def __init__(self, at, act):
        self._left, self._act = at, act

    def __getattr__(self, name):
        found = getattr(os, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                file_system.work_on(os)
                self._act()
            return found(*args, **kwargs)

        return call


@pytest.mark.parametrize("first", ["start", "withdrawal"])
def test_a_start_and_a_withdrawal_never_both_succeed_wherever_one_comes_between(tmp_path, first, request):
    """Each at every call of the other: what the race above meets by chance."""
    request.addfinalizer(lambda: file_system.work_on(os))
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host("box")
    at, came_between = 0, True
    while came_between:
        at, came_between = at + 1, False
        job_id = spool.submit({"argv": ["true"], "priority": 0})
        spool.claim((0, job_id), "box")
        spool.write_claim(job_id, {"version": 1})
        acts = [lambda job_id=job_id: spool.start(job_id), lambda job_id=job_id: spool.withdraw_claim(job_id)]
        act, other = acts if first == "start" else acts[::-1]
        won = []

        def between(other=other, won=won):
            won.append(other())

        file_system.work_on(InterruptingOs(at, between))
        won.append(act())
        file_system.work_on(os)
        came_between = len(won) == 2
        assert won.count(True) == 1
    assert at > 2


def test_of_many_results_one_stands(tmp_path):
    spool = Spool(str(tmp_path / "home")).create()
    job_id = spool.submit({"argv": ["true"], "priority": 0})
    ended = {"version": 1, "ended_at": "2026-01-01T00:00:00Z"}

    def write(n):
        return spool.write_result(job_id, ended | {"outcome": {"kind": "exited", "exit_code": n}})

    assert race(write, 8, FORK.Queue()).count(True) == 1
    assert not write(9)
