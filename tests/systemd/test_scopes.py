"""Scopes on a real systemd: what `host/systemd.py` promises the dispatcher."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hosts import REPOSITORY, TestHost

ENV = {"PYTHONPATH": str(REPOSITORY)}
DRIVER = [sys.executable, "-B", "-m", "tests.systemd.scope_driver"]


def ask(host: TestHost, scenario: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.run(*DRIVER, scenario, env=ENV, cwd=REPOSITORY).stdout)
    return answer


def test_three_hundred_scopes_at_once_each_tell_when_the_process_is_inside(systemd_host: TestHost) -> None:
    """ScopeStarted means inside, for each; the connection is dropped when nothing is under way."""
    answer = ask(systemd_host, "burst")

    assert answer == {"inside_when_told": 300, "live": 300, "connection_kept": False, "emptied": True}


def test_a_host_that_expects_a_launch_is_connected_already_and_hangs_up_when_none_comes(
    systemd_host: TestHost,
) -> None:
    assert ask(systemd_host, "expected") == {"connected": True, "started": True, "dropped": True}


def test_the_session_bus_serves_where_the_private_socket_is_missing(systemd_host: TestHost) -> None:
    answer = ask(systemd_host, "bus_only")

    assert answer == {"inside_when_told": 20, "live": 20, "connection_kept": False, "emptied": True}


def test_a_scope_carries_its_limits_and_a_harmless_description(systemd_host: TestHost) -> None:
    assert ask(systemd_host, "properties") == {
        "Description": "two lines %h  ",
        "KillMode": "control-group",
        "OOMPolicy": "continue",
        "MemoryMax": str(1 << 30),
        "MemorySwapMax": "0",
        "CPUQuotaPerSecUSec": "1s",
        "RuntimeMaxUSec": "2min 1s",
        "TimeoutStopUSec": "1min 1s",
        "Slice": "forgather.slice",
        "CollectMode": "inactive-or-failed",
    }


def test_a_taken_name_and_a_dead_process_are_refused_and_told_apart(systemd_host: TestHost) -> None:
    """Only the taken name says `exists`, and who was there first stays alone inside."""
    answer = ask(systemd_host, "refused")

    assert answer["started"] == [True]
    assert sorted(answer["refused"]) == [[False, False], [True, True]]
    assert answer["members"]


def test_a_scope_left_running_and_empty_does_not_keep_its_job_from_starting(systemd_host: TestHost) -> None:
    """systemd 252 keeps some scopes whose process died while it was put inside: without help, for ever."""
    answer = ask(systemd_host, "left_empty")

    if not answer["kept"]:
        pytest.skip("this systemd keeps none")
    assert (answer["refused"], answer["again"]) == (True, True)


def test_kill_reaches_what_ignores_term(systemd_host: TestHost) -> None:
    answer = ask(systemd_host, "kill")

    assert answer == {"told": 2, "alive_after_term": 2, "killed": 2, "status": -9, "empty": True}


def test_every_launch_is_answered_once_though_the_manager_replaces_itself(systemd_host: TestHost) -> None:
    """daemon-reexec in the middle of a hundred launches: a hundred answers, and running scopes stay."""
    answer = ask(systemd_host, "reexec")

    assert answer == {"events": 100, "scopes": 100, "kept": True, "again": True}


def test_a_restarted_manager_leaves_no_ghosts_and_launches_again(systemd_host: TestHost) -> None:
    driver = systemd_host.popen(*DRIVER, "restart", env=ENV, cwd=REPOSITORY, stdin=subprocess.PIPE)
    assert driver.stdout is not None
    assert json.loads(driver.stdout.readline()) == {"live": True}

    systemd_host.run("systemctl", "restart", "user@1777.service", user="root")
    out, err = driver.communicate("\n", timeout=60)

    assert json.loads(out or "{}") == {"gone": True, "again": True}, err


def test_a_host_without_a_manager_says_so_when_systemd_is_asked_for(systemd_host: TestHost) -> None:
    """FORGATHER_HOST_KIND=systemd is an error with a hint there; unset, plain processes serve."""
    code = (
        "import os\n"
        "from forgather_spool.errors import Missing\n"
        "from forgather_spool.host.detect import detect, why_not_systemd\n"
        "away = {'XDG_RUNTIME_DIR': '/nonexistent', 'DBUS_SESSION_BUS_ADDRESS': ''}\n"
        "print(detect(os.environ).kind, detect(away).kind, why_not_systemd(os.environ), why_not_systemd(away))\n"
        "try:\n"
        "    detect({**away, 'FORGATHER_HOST_KIND': 'systemd'})\n"
        "except Missing as error:\n"
        "    print(bool(error.hint))\n"
    )
    out = systemd_host.run(sys.executable, "-c", code, env=ENV).stdout

    why = "no systemd user manager: /nonexistent has no sockets of one"
    assert out.splitlines() == [f"systemd process None {why}", "True"]
