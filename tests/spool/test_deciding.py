"""What a dispatcher looks at before it asks the policy: no more than it must, and never less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forgather_spool.dispatcher.deciding import Deciding
from forgather_spool.dispatcher.view import view_of
from forgather_spool.host import nvml
from forgather_spool.host.nvml import GpuReading
from forgather_spool.job import Terms
from forgather_spool.policy import NeverMet
from forgather_spool.spool import preempt, settings
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.values.policy_cases import card

FAILED = {"kind": "exited", "exit_code": 3}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(builders.HOST)
    return spool


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One free card; each look at it is counted."""
    looks: list[int] = []

    def read(visible: str | None) -> GpuReading:
        looks.append(1)
        return GpuReading(gpus=(card(0),), problem=None)

    monkeypatch.setattr(nvml, "read_gpus", read)
    return looks


@pytest.fixture
def deciding(spool: Spool) -> Deciding:
    def unexpected(error: object) -> None:
        raise AssertionError(error)

    return Deciding(spool, lambda _: None, unexpected)


def after(*entries: Entry) -> list[dict[str, str]]:
    return [{"job": entry[1], "when": "ok"} for entry in entries]


def started(deciding: Deciding) -> list[str]:
    decision = deciding.decide({}, {})
    return [] if decision is None else [start.job_id for start in decision.starts]


def test_a_job_with_a_card_is_found_while_no_job_without_one_may_start(spool: Spool, deciding: Deciding, cards):
    """The room without a card is taken and no card was looked at: the one that wants a card waits behind unread."""
    settings.change_dispatch(spool.paths, no_gpu_limit=1)
    runs = builders.running(spool)
    for _ in range(3):
        builders.submitted(spool)
    wants_one = builders.submitted(spool, gpus=1)
    deciding.look()

    decision = deciding.decide({runs[1]: builders.a_claim(runs)}, {})

    assert decision is not None
    assert [start.job_id for start in decision.starts] == [wants_one[1]]


def test_where_no_card_has_room_it_is_not_asked_for_in_each_pass(
    spool: Spool, deciding: Deciding, monkeypatch: pytest.MonkeyPatch
):
    """To open NVML costs milliseconds; looked at again is at once when a job of ours has left its cards."""
    looks: list[int] = []

    def read(visible: str | None) -> GpuReading:
        looks.append(1)
        return GpuReading(gpus=(), problem="no driver")

    monkeypatch.setattr(nvml, "read_gpus", read)
    settings.change_dispatch(spool.paths, no_gpu_limit=1)
    plain, holder = builders.running(spool), builders.running(spool)
    for _ in range(3):
        builders.submitted(spool)
    deciding.look()
    claims = {plain[1]: builders.a_claim(plain), holder[1]: builders.a_claim(holder, cards=(0,))}

    for _ in range(3):
        deciding.decide(claims, {})
    assert looks == [1]
    deciding.decide({plain[1]: claims[plain[1]]}, {})

    assert looks == [1, 1]


def test_what_the_owner_sets_counts_in_the_next_decision(spool: Spool, deciding: Deciding):
    entry = builders.submitted(spool)
    deciding.look()
    assert started(deciding) == [entry[1]]

    settings.change_dispatch(spool.paths, paused=True)
    assert started(deciding) == []
    settings.change_dispatch(spool.paths, paused=False)

    assert started(deciding) == [entry[1]]


def test_no_card_is_looked_at_for_jobs_that_want_none(spool: Spool, deciding: Deciding, cards):
    """An open NVML keeps the driver loaded."""
    builders.submitted(spool)
    deciding.look()

    assert len(started(deciding)) == 1
    assert cards == []


def test_who_awaits_an_end_is_asked_about_again_when_it_came(spool: Spool, deciding: Deciding):
    first = builders.running(spool)
    second = builders.submitted(spool, after=after(first))
    deciding.look()
    assert started(deciding) == []

    builders.end(spool, first)
    assert started(deciding) == []  # nobody has said that anything ended
    deciding.may_have_ended(first[1])

    assert started(deciding) == [second[1]]


def test_an_end_that_nobody_told_of_is_noticed_at_the_next_look(spool: Spool, deciding: Deciding):
    first = builders.running(spool)
    second = builders.submitted(spool, after=after(first))
    deciding.look()
    assert started(deciding) == []

    builders.end(spool, first)
    deciding.look()

    assert started(deciding) == [second[1]]


def test_one_of_several_that_failed_is_enough(spool: Spool, deciding: Deciding):
    """It need not wait for the others to know that it can never start."""
    runs, fails = builders.running(spool), builders.running(spool)
    hopeless = builders.submitted(spool, after=after(runs, fails))
    deciding.look()
    assert started(deciding) == []

    builders.end(spool, fails, FAILED)
    deciding.may_have_ended(fails[1])

    decision = deciding.decide({}, {})
    assert decision is not None
    assert [job.job_id for job in decision.never_met if isinstance(job, NeverMet)] == [hopeless[1]]


def test_the_reasons_of_those_who_await_others_are_told(spool: Spool, deciding: Deciding):
    first = builders.running(spool)
    second = builders.submitted(spool, after=after(first))
    deciding.look()
    deciding.decide({}, {})

    assert deciding.reasons(10) == {second[1]: f"comes after job {first[1]}, not ended yet"}


def test_the_policy_is_told_for_whom_a_running_job_gives_way(spool: Spool):
    """Also after another dispatcher has asked it."""
    runs = builders.running(spool)
    claim = replace(builders.a_claim(runs, cards=(0,)), terms=Terms(preemptible=True))
    preempt.want(spool.paths, runs[1], 1, "q_1738012412345_a1b2c3d4")

    (holder,) = view_of(spool, {runs[1]: claim}, {}, (card(0),), None).holders

    assert (holder.going, holder.going_for) == (True, "q_1738012412345_a1b2c3d4")
