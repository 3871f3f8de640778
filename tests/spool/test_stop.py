"""Stopping a job, wherever it stands and while it moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.errors import AlreadyClaimed, Busy, NoSuchJob
from forgather_spool.outcome import Cancelled
from forgather_spool.spool.look import look
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import Stopped, stop
from tests import builders


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_a_waiting_job_is_cancelled_and_a_running_one_is_asked(spool: Spool) -> None:
    waits, runs = builders.submitted(spool), builders.running(spool)

    assert stop(spool, waits[1], "me") is Stopped.CANCELLED
    assert stop(spool, runs[1], "me") is Stopped.ASKED
    assert stop(spool, runs[1], "me") is Stopped.ASKED_BEFORE

    assert look(spool, waits[1]).result.outcome == Cancelled("me")
    assert os.path.exists(spool.paths.stop_request(runs[1], 1, force=False))


def test_a_cancel_that_loses_to_a_claim_asks_the_runner(spool: Spool, monkeypatch) -> None:
    entry = builders.submitted(spool)
    real = Spool.cancel_waiting

    def claimed_first(self: Spool, cancelled, by: str, **how) -> None:
        builders.taken(spool, entry)
        real(self, cancelled, by, **how)

    monkeypatch.setattr(Spool, "cancel_waiting", claimed_first)

    assert stop(spool, entry[1], "me") is Stopped.ASKED


def test_a_job_put_back_while_it_is_asked_is_cancelled(spool: Spool, monkeypatch) -> None:
    """Its launch failed in this moment: no runner reads what was left, so the queue must not start it again."""
    entry = builders.taken(spool)
    real = Spool.ask_to_stop

    def then_put_back(self: Spool, job_id: str, **how) -> bool:
        asked = real(self, job_id, **how)
        spool.put_back(entry, builders.HOST)
        return asked

    monkeypatch.setattr(Spool, "ask_to_stop", then_put_back)

    assert stop(spool, entry[1], "me") is Stopped.CANCELLED


def test_an_ended_job_had_ended(spool: Spool) -> None:
    assert stop(spool, builders.ended(spool)[1], "me") is Stopped.HAD_ENDED
    assert stop(spool, builders.ending(spool)[1], "me") is Stopped.HAD_ENDED


def test_a_job_that_is_nowhere_is_no_job(spool: Spool) -> None:
    with pytest.raises(NoSuchJob):
        stop(spool, "q_1738012412345_a1b2c3d4", "anna")


def test_a_job_that_moves_each_time_it_is_looked_at_is_said_to_be_busy(spool: Spool, monkeypatch) -> None:
    entry = builders.submitted(spool)

    def too_late(*args: object, **more: object) -> None:
        raise AlreadyClaimed("somebody was first")

    monkeypatch.setattr(Spool, "cancel_waiting", too_late)

    with pytest.raises(Busy, match="is being launched and put back"):
        stop(spool, entry[1], "anna")
