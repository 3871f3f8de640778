"""The waiting jobs as a dispatcher knows them, and what is found out about the jobs they come after."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgather_spool.dispatcher.dependencies import Dependencies
from forgather_spool.dispatcher.launch import Launcher, NotLaunched
from forgather_spool.dispatcher.specs import KEPT, Specs
from forgather_spool.dispatcher.unmet import refuse
from forgather_spool.dispatcher.waitlist import Waitlist
from forgather_spool.host.process import ProcessHost
from forgather_spool.job import Claim, GpuRef, Terms, format_at
from forgather_spool.policy import MET, After, GivenUp, Never, Unmet
from forgather_spool.runner.client import Nursery
from forgather_spool.spool import attempts, files
from forgather_spool.spool.queue import Spool
from tests import builders

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


@pytest.fixture
def waitlist(spool: Spool) -> Waitlist:
    def unexpected(entry, error):
        raise AssertionError(f"{entry}: {error}")

    return Waitlist(spool, unexpected, unexpected)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def never_skip(job_id: str) -> bool:
    return False


def test_jobs_that_ask_alike_share_what_was_read(spool: Spool, waitlist: Waitlist):
    """100,000 of them then cost the memory, and the policy the time, of one."""
    for _ in range(3):
        builders.submitted(spool, gpus=1, group="g")
    builders.submitted(spool, gpus=2)
    waitlist.load()

    asked = [waiting.asks for waiting in waitlist.candidates(never_skip)]

    assert asked[0] is asked[1] is asked[2] is not asked[3]
    assert (asked[0].gpus, asked[0].terms.group) == (1, "g")


def test_a_name_that_comes_again_is_read_again(spool: Spool, waitlist: Waitlist):
    """Somebody held it, edited it and let it go, and of all that only the end was heard."""
    entry = builders.submitted(spool, gpus=1)
    name = os.path.basename(spool.paths.queued(entry[1], 0))
    waitlist.load()
    assert [waiting.asks.gpus for waiting in waitlist.candidates(never_skip)] == [1]

    files.replace(spool.paths.queued(entry[1], 0), {"version": 1, "argv": ["true"], "gpus": 2}, spool.paths.tmp)
    waitlist.add(name)

    assert [waiting.asks.gpus for waiting in waitlist.candidates(never_skip)] == [2]
    assert len(waitlist) == 1


def test_a_job_edited_behind_the_policys_back_is_put_back_and_not_run_with_other_cards(spool: Spool):
    entry = builders.submitted(spool, gpus=2)
    spool.open_host(builders.HOST)
    launcher = Launcher(spool, ProcessHost(), Nursery(spool.paths.home), builders.HOST, "boot")

    failed = launcher.launch(entry, (GpuRef(index=0, uuid=None),))

    assert failed == NotLaunched(entry, "it was edited after it was looked at")
    assert spool.waiting() == [entry]


def test_a_job_edited_between_its_look_and_its_launch_runs_as_edited(spool: Spool):
    specs = Specs(spool)
    spool.open_host(builders.HOST)
    entry = builders.submitted(spool, argv=["old"])
    specs.queued(entry)
    files.replace(spool.paths.queued(entry[1], 0), {"version": 1, "argv": ["new"]}, spool.paths.tmp)

    spool.claim(entry, builders.HOST)

    assert specs.taken(builders.HOST, entry)["argv"] == ["new"]


def test_of_the_specs_that_were_looked_at_the_last_few_are_not_read_again(spool: Spool):
    specs = Specs(spool)
    spool.open_host(builders.HOST)
    entries = [builders.submitted(spool) for _ in range(KEPT + 1)]
    looked_at = [specs.queued(entry) for entry in entries]
    for entry in entries:
        spool.claim(entry, builders.HOST)

    again = [specs.taken(builders.HOST, entry) for entry in entries]

    assert again == looked_at
    assert [one is other for one, other in zip(again, looked_at, strict=True)] == [False] + KEPT * [True]


def test_what_is_given_up_is_not_fed_to_the_policy(spool: Spool, waitlist: Waitlist):
    for _ in range(3):
        builders.submitted(spool, group="g")
    waitlist.load()
    given_up = GivenUp()

    fed = []
    for waiting in waitlist.candidates(never_skip, given_up):
        fed.append(waiting)
        given_up.add(waiting)

    assert len(fed) == 1


def test_a_job_that_is_run_again_carries_its_pause_and_its_dependencies_no_more(spool: Spool, waitlist: Waitlist):
    """They were met when it first started; by now the jobs may have been removed."""
    gone = [{"job": "q_1738012412345_a1b2c3d4", "when": "ok"}]
    entry = builders.submitted(spool, after=gone)
    again = {
        "version": 1,
        "reason": "retry",
        "not_before_at": format_at(SOON),
        "after_outcome": {"kind": "lost", "reason": "x"},
    }
    os.makedirs(spool.paths.job(entry[1]))
    assert attempts.make(spool.paths, entry[1], 2, again)
    waitlist.load()

    [waiting] = waitlist.candidates(never_skip, None, Dependencies(spool).state)

    assert (waiting.after, waiting.not_before_at) == (MET, SOON)


def test_a_pause_is_no_longer_for_a_clock_that_was_set_back_meanwhile(
    spool: Spool, waitlist: Waitlist, monkeypatch: pytest.MonkeyPatch
):
    """Read before the step: the moment is an hour further away then, and counts by the other clock."""
    entry = builders.submitted(spool)
    os.makedirs(spool.paths.job(entry[1]))
    in_a_minute = format_at(datetime.now(UTC) + timedelta(minutes=1))
    again = {"version": 1, "reason": "retry", "not_before_at": in_a_minute, "after_outcome": {"kind": "lost"}}
    assert attempts.make(spool.paths, entry[1], 2, again)
    waitlist.load()
    [waiting] = waitlist.candidates(never_skip, None, Dependencies(spool).state)
    assert waiting.not_before_at is not None

    then = time.monotonic() + 61
    monkeypatch.setattr("forgather_spool.dispatcher.waitlist.time.monotonic", lambda: then)

    [waiting] = waitlist.candidates(never_skip, None, Dependencies(spool).state)
    assert waiting.not_before_at is None


def test_members_of_an_array_come_by_their_number(spool: Spool, waitlist: Waitlist):
    family = "q_1738012412345_a1b2c3d4"
    for index in (10, 9, 100):
        waitlist.add(f"{family}[{index}].p0.json")
    waitlist.add("q_1738012412344_a1b2c3d4.p0.json")
    waitlist.remove((0, f"{family}[9]"))

    assert [job_id for _, job_id in waitlist.entries()] == [
        "q_1738012412344_a1b2c3d4",
        f"{family}[10]",
        f"{family}[100]",
    ]


@pytest.mark.parametrize(
    ("outcome", "when", "met"),
    [
        ({"kind": "exited", "exit_code": 0}, "ok", True),
        ({"kind": "exited", "exit_code": 0}, "notok", False),
        ({"kind": "exited", "exit_code": 1}, "ok", False),
        ({"kind": "killed", "signal": 9}, "notok", True),
        ({"kind": "cancelled", "by": "ann"}, "notok", True),
        ({"kind": "cancelled", "by": "ann"}, "any", True),
    ],
    ids=str,
)
def test_how_a_job_must_have_ended(spool: Spool, outcome: dict[str, object], when: str, met: bool):
    entry = builders.ended(spool, outcome=outcome)

    state = Dependencies(spool).state([After(entry[1], when)])

    assert (state == MET) == met
    assert met or isinstance(state, Never)


def test_a_job_has_not_ended_before_its_spec_lies_in_done(spool: Spool):
    """A result alone may yet be followed by another attempt."""
    waiting, running, ending = builders.submitted(spool), builders.running(spool), builders.ending(spool)
    after = [After(entry[1], "any") for entry in (waiting, running, ending)]

    assert Dependencies(spool).state(after) == Unmet((waiting[1], running[1], ending[1]))


def test_what_has_not_ended_is_looked_up_again_only_when_it_may_have(spool: Spool):
    entry = builders.running(spool)
    after, dependencies = [After(entry[1], "ok")], Dependencies(spool)
    assert isinstance(dependencies.state(after), Unmet)

    builders.end(spool, entry)

    assert isinstance(dependencies.state(after), Unmet)
    dependencies.may_have_ended(entry[1])
    assert dependencies.state(after) == MET


def test_a_job_that_can_never_start_ends_refused_with_the_reason(spool: Spool):
    spool.open_host(builders.HOST)
    entry = builders.submitted(spool)

    assert refuse(spool, entry, builders.HOST, "q_1 failed")
    assert not refuse(spool, entry, builders.HOST, "q_1 failed")

    state = Dependencies(spool).state([After(entry[1], "ok")])
    assert state == Never(f"{entry[1]} was refused, and this job wanted it to end well")


def test_a_claim_written_before_there_were_terms_still_loads():
    document = builders.a_claim((0, "q_1738012412345_a1b2c3d4"), cards=(0,)).as_document()
    del document["terms"]

    assert Claim.from_document(document).terms == Terms()
