"""The plug is pulled: what waited runs, what ran is lost and says so, its cards are free, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.nvml import FakeCards, build
from tests.hosts import TestHost
from tests.systemd.desk import Desk
from tests.waiting import wait_until

CARDS = "/srv/cards"


@pytest.fixture
def desk(new_host: Callable[..., TestHost], tmp_path: Path) -> Desk:
    """On a host with one card, units installed."""
    shared = tmp_path / "shared"
    shared.mkdir()
    cards = FakeCards(shared / "state", build(shared))
    cards.add()
    shared.chmod(0o777)
    desk = Desk(new_host("box", share={shared: CARDS}))
    desk.environment({"FAKE_NVML_STATE": f"{CARDS}/state", "LD_LIBRARY_PATH": CARDS})
    desk.forgather("units", "install")
    return desk


def pull_the_plug(desk: Desk) -> None:
    """And boot again. The test lasts as long as the timer takes to look, seconds after the boot."""
    desk.host.kill()
    desk.host.up()


def test_after_a_power_cut_what_waited_runs_and_what_ran_is_lost(desk: Desk) -> None:
    ran = desk.submit("echo ran >> ran")
    assert desk.wait_done(ran)["kind"] == "exited"
    on_card = desk.submit("echo up >> up; sleep 1000", "--gpus", "1")
    desk.wait_for("up")
    heir = desk.submit("echo $CUDA_VISIBLE_DEVICES >> heir", "--gpus", "1")
    last = desk.submit("echo last >> last", "--gpus", "1")

    pull_the_plug(desk)

    lost = desk.wait_done(on_card, timeout_s=120)
    assert lost == {"kind": "lost", "reason": "the machine was restarted while it ran"}
    assert desk.wait_done(heir) == {"kind": "exited", "exit_code": 0}
    assert desk.wait_done(last) == {"kind": "exited", "exit_code": 0}
    assert desk.file("heir") == f"{FakeCards.uuid(0)}\n"
    assert (desk.file("ran"), desk.file("up"), desk.file("last")) == ("ran\n", "up\n", "last\n")
    wait_until(lambda: not desk.processes(), what=f"the end of {desk.processes()}")


RUNS_AGAIN = "echo $FORGATHER_ATTEMPT >> again; echo up > up; [ $FORGATHER_ATTEMPT = 2 ] || sleep 1000"


def test_after_a_power_cut_a_job_that_said_so_runs_again(desk: Desk) -> None:
    """By itself: nobody logs in, nobody submits anything."""
    job = desk.submit(RUNS_AGAIN, "--requeue", "--gpus", "1")
    desk.wait_for("up")

    pull_the_plug(desk)

    assert desk.wait_done(job, timeout_s=120) == {"kind": "exited", "exit_code": 0}
    assert desk.outcome_of_attempt(job, 1) == {"kind": "lost", "reason": "the machine was restarted while it ran"}
    assert desk.file("again") == "1\n2\n"


def test_after_a_user_manager_that_ended_with_time_to_say_goodbye_it_runs_again_as_well(desk: Desk) -> None:
    """As in a shutdown or a logout: every scope gets SIGTERM, and the runner lives to say who stopped it."""
    job = desk.submit(RUNS_AGAIN, "--requeue")
    desk.wait_for("up")

    uid = desk.host.run("id", "-u").stdout.strip()
    desk.host.run("systemctl", "restart", f"user@{uid}.service", user="root")

    assert desk.wait_done(job, timeout_s=120) == {"kind": "exited", "exit_code": 0}
    assert (desk.file("again") or "").splitlines()[-1] == "2"


def test_a_power_cut_amid_a_crowd_of_jobs_loses_none_and_repeats_none(desk: Desk) -> None:
    """Cut while jobs are submitted, launched and ended: each acknowledged one ends once, and ran at most once."""
    line = 'for n in $(seq 200); do forgather submit --quiet -- sh -c "echo $n >> ran-$n" >> acknowledged; done'
    submitting = desk.host.popen("sh", "-c", line)
    wait_until(lambda: len((desk.file("acknowledged") or "").splitlines()) > 40, what="forty acknowledgements")

    desk.host.kill()
    submitting.wait()
    acknowledged = [line for line in (desk.folder / "acknowledged").read_text().split("\n")[:-1] if line]
    desk.host.up()

    outcomes = [desk.wait_done(job_id, timeout_s=120)["kind"] for job_id in acknowledged]
    assert set(outcomes) <= {"exited", "lost"}
    assert outcomes.count("lost") <= 8  # those that ran when the plug was pulled: one a core, and never fewer than four
    assert all(path.read_text().count("\n") == 1 for path in desk.folder.glob("ran-*"))
    assert not list(desk.home.glob("spool/queue/*"))


def test_a_pause_and_a_policy_outlast_a_power_cut(desk: Desk) -> None:
    desk.forgather("sched", "pause")
    desk.forgather("gpu", "disable", "0")
    waiting = desk.submit("echo ran > ran")

    pull_the_plug(desk)

    assert "enabled=False" in desk.forgather("sched", "status")
    assert "disabled" in desk.forgather("gpu", "status")
    desk.forgather("sched", "resume")
    assert desk.wait_done(waiting) == {"kind": "exited", "exit_code": 0}
