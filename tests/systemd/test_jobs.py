"""The whole program on a real systemd: scopes, units, the journal, and what happens when any of it is killed."""

from __future__ import annotations

import json

import pytest

from tests.hosts import TestHost
from tests.systemd.desk import SERVICE, Desk
from tests.waiting import wait_until

UNTIL_GO = "echo up >> up; while [ ! -e go ]; do sleep 0.05; done"


@pytest.fixture
def desk(systemd_host: TestHost) -> Desk:
    """Nothing installed: `submit` starts what is needed."""
    return Desk(systemd_host)


@pytest.fixture
def units(desk: Desk) -> Desk:
    """With `forgather units install`."""
    desk.forgather("units", "install")
    return desk


def ended_well(desk: Desk, job_id: str, code: int = 0) -> bool:
    return desk.wait_done(job_id) == {"kind": "exited", "exit_code": code}


def test_a_job_runs_and_then_nothing_of_ours_does(desk: Desk) -> None:
    job_id = desk.submit("echo hello; exit 3")

    assert ended_well(desk, job_id, 3)
    assert desk.file(f".config/forgather/jobs/{job_id}/output.log") == "hello\n"
    wait_until(lambda: not desk.processes(), what=f"the end of {desk.processes()}")
    assert desk.systemctl("list-units", "--all", "--no-legend", "forgather*.scope", "forgather*.service") == ""


def test_limits_are_those_of_its_scope(desk: Desk) -> None:
    job_id = desk.submit(UNTIL_GO, "--memory", "512M", "--cpus", "1.5", "--time", "1h", "--name", "limited")
    desk.wait_for("up")

    limits = {name: desk.property(desk.scope(job_id), name) for name in ("MemoryMax", "CPUQuotaPerSecUSec", "Slice")}

    assert limits == {"MemoryMax": str(512 << 20), "CPUQuotaPerSecUSec": "1.500000s", "Slice": "forgather.slice"}
    assert desk.property(desk.scope(job_id), "RuntimeMaxUSec").startswith("1h")
    desk.write("go", "\n")
    assert ended_well(desk, job_id)


def test_one_runner_goes_through_the_scopes_of_several_jobs(desk: Desk) -> None:
    """Each job is in its own, and no scope is left behind."""
    desk.forgather("sched", "limit", "1")
    desk.forgather("sched", "pause")
    job_ids = [desk.submit("sed -n 's/^0::.*[/]//p' /proc/self/cgroup") for _ in range(6)]

    desk.forgather("sched", "resume")

    assert [ended_well(desk, job_id) for job_id in job_ids] == [True] * 6
    said = [desk.file(f".config/forgather/jobs/{job_id}/output.log") for job_id in job_ids]
    assert said == [f"{desk.scope(job_id)}\n" for job_id in job_ids]
    assert len({desk.claim(job_id)["runner"]["pid"] for job_id in job_ids}) < len(job_ids)
    wait_until(lambda: not desk.processes(), what=f"the end of {desk.processes()}")
    assert desk.systemctl("list-units", "--all", "--no-legend", "forgather*.scope") == ""


@pytest.mark.parametrize("how", ["stop", "restart", "kill --signal=KILL", "kill --signal=ABRT"])
def test_a_job_outlives_its_dispatcher(desk: Desk, how: str) -> None:
    job_id = desk.submit(f"{UNTIL_GO}; exit 5")
    desk.wait_for("up")

    desk.systemctl(*how.split(), desk.dispatcher())
    other = desk.submit("true")
    assert ended_well(desk, other)
    desk.write("go", "\n")

    assert ended_well(desk, job_id, 5)
    assert desk.file("up") == "up\n"


def test_stopping_its_scope_is_a_stop_and_says_so(desk: Desk) -> None:
    job_id = desk.submit("trap 'echo saved > saved; exit 0' TERM; echo up > up; while :; do sleep 0.05; done")
    desk.wait_for("up")

    desk.systemctl("stop", desk.scope(job_id))

    assert desk.wait_done(job_id)["kind"] == "cancelled"
    assert desk.file("saved") == "saved\n"


def test_killing_its_scope_leaves_a_lost_job(desk: Desk) -> None:
    """KILL takes the runner along: nobody is left to write a result but the dispatcher."""
    job_id = desk.submit("echo up > up; exec sleep 1000")
    desk.wait_for("up")

    desk.systemctl("kill", "--signal=KILL", desk.scope(job_id))

    assert desk.wait_done(job_id)["kind"] == "lost"


def test_a_job_over_its_memory_is_out_of_memory_and_the_runner_says_so(desk: Desk) -> None:
    eats = "import time; open('up', 'w').write('up\\n'); time.sleep(0.2); x = b'x' * (1 << 29); time.sleep(60)"
    job_id = desk.submit(f'exec python3 -c "{eats}"', "--memory", "64M", "--time", "30s")
    desk.wait_for("up")
    group = desk.property(desk.scope(job_id), "ControlGroup")
    if not desk.host.run("sh", "-c", f"ls /sys/fs/cgroup{group}/memory.max", check=False).stdout:
        desk.forgather("job", "kill", job_id)
        pytest.skip("no memory controller reaches the hosts of this machine")

    assert desk.wait_done(job_id)["kind"] == "out_of_memory"


def test_its_output_is_in_the_journal_under_its_id(desk: Desk) -> None:
    job_id = desk.submit("echo first; echo second >&2")
    assert ended_well(desk, job_id)

    def lines() -> list[str]:
        return desk.host.run("journalctl", "--user", "-t", job_id, "-o", "cat", check=False).stdout.splitlines()

    wait_until(lambda: {"first", "second"} <= set(lines()), what=f"two lines in the journal; {lines()}")


# -- started by files and by the clock --------------------------------------------------------------------------------


def test_a_dropped_file_starts_the_dispatcher(units: Desk) -> None:
    units.drop("mine.json", json.dumps({"argv": ["sh", "-c", "echo ran > ran"]}))

    assert units.wait_for("ran") == "ran\n"
    wait_until(lambda: not units.processes(), what=f"the end of {units.processes()}")


def test_the_timer_finds_what_no_file_event_told_of(units: Desk) -> None:
    units.systemctl("stop", "forgather-dispatch.path")
    units.drop_in("forgather-dispatch.timer", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/1\nAccuracySec=100ms\n")
    units.drop("mine.json", json.dumps({"argv": ["sh", "-c", "echo ran > ran"]}))

    units.systemctl("restart", "forgather-dispatch.timer")

    assert units.wait_for("ran") == "ran\n"


@pytest.mark.parametrize("idle_s", [0, 10])
def test_twenty_poisoned_files_do_not_keep_the_next_job_from_running(units: Desk, idle_s: int) -> None:
    """Also when each wakes a dispatcher that leaves at once: the path unit then gives up, and the timer goes on."""
    units.systemctl("set-environment", f"FORGATHER_IDLE_S={idle_s}")
    units.drop_in("forgather-dispatch.timer", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/1\nAccuracySec=100ms\n")
    units.systemctl("restart", "forgather-dispatch.timer")
    for n in range(20):
        units.drop(f"bad-{n}.json", '{"argv": "no list"}')
        wait_until(
            lambda n=n: (units.home / f"spool/rejected/bad-{n}.json.why").exists(), what=f"no. {n}: {units.said()}"
        )

    units.drop("good.json", json.dumps({"argv": ["sh", "-c", "echo ran > ran"]}))

    assert units.wait_for("ran") == "ran\n"
    assert units.systemctl("list-units", "--failed", "--no-legend", "forgather*.service") == ""


def test_a_dispatcher_that_hangs_is_restarted_and_its_jobs_go_on(units: Desk) -> None:
    units.drop_in(SERVICE, "[Service]\nWatchdogSec=2\n")
    job_id = units.submit(f"{UNTIL_GO}; exit 5")
    units.wait_for("up")
    pid = units.property(SERVICE, "MainPID")

    units.host.run("kill", "-STOP", pid)

    wait_until(lambda: units.property(SERVICE, "MainPID") not in (pid, "0"), what="another dispatcher")
    units.write("go", "\n")
    assert ended_well(units, job_id, 5)
    assert units.file("up") == "up\n"


# -- when the user manager itself goes ---------------------------------------------------------------------------------


def test_a_user_manager_that_restarts_ends_jobs_and_runs_none_twice(units: Desk) -> None:
    """It takes its scopes along; what waited runs afterwards."""
    units.forgather("sched", "pause")
    waiting = units.submit("echo waiting >> ran")
    units.forgather("sched", "resume")
    assert ended_well(units, waiting)
    job_id = units.submit("echo up >> up; exec sleep 1000", "--grace", "1s")
    units.wait_for("up")

    units.host.run("systemctl", "restart", "user@1777.service", user="root")
    after = units.submit("echo after >> ran")

    assert ended_well(units, after)
    assert units.wait_done(job_id)["kind"] in ("cancelled", "lost")
    assert (units.file("up"), units.file("ran")) == ("up\n", "waiting\nafter\n")


def test_without_lingering_a_submit_says_what_will_happen(desk: Desk) -> None:
    session = ["systemd-run", "--quiet", "--unit=login", "-p", "PAMName=login", "-p", "User=forge", "sleep", "600"]
    desk.host.run(*session, user="root")
    sessions = ["loginctl", "list-sessions", "--no-legend"]
    wait_until(lambda: "forge" in desk.host.run(*sessions, user="root").stdout, what="a session of forge's")
    desk.host.run("loginctl", "disable-linger", "forge", user="root")
    try:
        answer = desk.forgather("submit", "--", "true")
    finally:
        desk.host.run("loginctl", "enable-linger", "forge", user="root")
        desk.host.run("systemctl", "stop", "login.service", user="root")

    assert "loginctl enable-linger" in answer
