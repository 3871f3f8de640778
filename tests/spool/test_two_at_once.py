"""Two at the same job or file, the second one acting before any call of the first: nothing is lost, nothing twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from forgather_spool.errors import ForgatherError
from forgather_spool.spool import admit, batch, unique
from forgather_spool.spool.attempts import make
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.remove import remove, sweep_removed
from forgather_spool.spool.stop import stop
from tests import builders
from tests.spool.crashing import CHANGES, LOOKS, another_acts_after
from tests.spool.test_each_call import KEY, STEPS, a_spool_for, check, places

CALLS = frozenset(CHANGES | LOOKS)


def a_dispatcher_begins(spool: Spool) -> None:
    admit.sweep_tmp(spool)
    list(admit.admit(spool))
    unique.go_on(spool)
    unique.forget_ended(spool)
    batch.promote_decided(spool)
    batch.spread(spool)


def a_dispatcher_takes_it(spool: Spool) -> None:
    for entry in spool.waiting():
        spool.claim(entry, builders.HOST)


def it_is_put_back(spool: Spool) -> None:
    for entry in spool.taken(builders.HOST):
        spool.put_back(entry, builders.HOST)


def it_ends(spool: Spool) -> None:
    for entry in spool.taken(builders.HOST):
        spool.write_result(entry[1], builders.a_result(), spool.attempt(entry[1]))
        spool.finish(entry, builders.HOST, utc_now())


def it_has_ended(spool: Spool) -> None:
    """And lies in running/ still."""
    for _, job_id in spool.taken(builders.HOST):
        spool.write_result(job_id, builders.a_result(), spool.attempt(job_id))


def it_is_cancelled(spool: Spool) -> None:
    for job_id in list(places(spool)):
        stop(spool, job_id, "berta")


def a_twin_comes(spool: Spool) -> None:
    with suppress(ForgatherError):
        unique.submit(spool, KEY)


def tmp_is_swept(spool: Spool) -> None:
    """By somebody whose clock is an hour ahead, and who takes the writer for dead."""
    for path in Path(spool.paths.tmp).iterdir():
        os.utime(path, (1, 1))
    admit.sweep_tmp(spool)


def another_cleans_up(spool: Spool) -> None:
    for place in ended_places(spool):
        remove(spool, place)
    sweep_removed(spool)


def its_next_attempt_is_made(spool: Spool) -> None:
    for _, job_id in spool.taken(builders.HOST):
        again = {"version": 1, "reason": "requeue", "retries": 0, "not_before_at": None, "after_outcome": None}
        make(spool.paths, job_id, spool.attempt(job_id) + 1, again)


PAIRS: dict[str, tuple[Callable[[Spool], None], ...]] = {
    "submit": (tmp_is_swept,), "submit with a key": (a_twin_comes, tmp_is_swept, a_dispatcher_begins),
    "submit many": (a_dispatcher_begins, tmp_is_swept), "admit": (a_dispatcher_begins,),
    "admit with a key": (a_dispatcher_begins, a_twin_comes, it_is_cancelled),
    "admit an array": (a_dispatcher_begins, tmp_is_swept), "reject": (a_dispatcher_begins,),
    "spread": (a_dispatcher_begins, a_dispatcher_takes_it, it_is_cancelled),
    "hold": (a_dispatcher_takes_it, it_is_cancelled), "release": (it_is_cancelled,),
    "reprioritize": (a_dispatcher_takes_it, it_is_cancelled), "edit": (it_is_cancelled,),
    "cancel": (a_dispatcher_takes_it, it_is_cancelled), "cancel on hold": (it_is_cancelled,),
    "stop": (it_ends, it_has_ended, it_is_put_back, its_next_attempt_is_made, it_is_cancelled),
    "run again": (it_is_cancelled,),
    "give way": (it_ends, it_is_cancelled), "clean up": (another_cleans_up,), "export": (another_cleans_up,),
    "begin": (a_dispatcher_begins, a_twin_comes, it_is_cancelled), "tell": (it_ends,),
    "launch again": (it_is_cancelled,), "settings": (), "live": (), "command": (), "import": (another_cleans_up,),
}  # fmt: skip


def test_every_step_has_its_rivals() -> None:
    assert set(PAIRS) == set(STEPS)


@pytest.mark.parametrize(
    ("name", "rival"),
    [(name, rival) for name, rivals in PAIRS.items() for rival in rivals],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_another_does_meanwhile_loses_nothing(name: str, rival: Callable[[Spool], None], tmp_path: Path) -> None:
    """Either of them may be told that the other was first; no traceback, and no job lost or there twice."""
    for calls in range(10_000):
        spool, step, before = a_spool_for(name, tmp_path / f"{calls}")

        interrupting = another_acts_after(calls, lambda spool=spool: rival(spool), names=CALLS)
        with interrupting as interrupted, suppress(ForgatherError):
            step()
        if not interrupted.has_acted:
            break

        kept = set() if rival is another_cleans_up else before
        check(spool, name, kept, f"{rival.__name__} after {calls} calls")
    assert calls > 3
