"""The hosts the systemd ring stands on: what they promise, they do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.hosts import REPOSITORY, TESTHOST, TestHost, TestHostFailed
from tests.waiting import wait_until

NewHost = Callable[..., TestHost]


def test_an_ordinary_user_has_a_user_manager(systemd_host: TestHost) -> None:
    assert systemd_host.run("id", "-un").stdout == "forge\n"
    assert systemd_host.run("systemctl", "--user", "is-system-running").stdout == "running\n"


def test_a_command_can_be_put_into_a_scope(systemd_host: TestHost) -> None:
    """The user manager takes a process over from a login session, as it must for jobs."""
    scope = systemd_host.run("systemd-run", "--user", "--scope", "-q", "--unit=job", "cat", "/proc/self/cgroup")

    assert "/user@1777.service/app.slice/job.scope" in scope.stdout


def test_the_journal_of_a_unit_can_be_read_by_its_user(systemd_host: TestHost) -> None:
    systemd_host.run("systemd-run", "--user", "-q", "--wait", "--unit=speaker", "echo", "spoken in the unit")

    def spoken() -> bool:
        return "spoken in the unit" in systemd_host.run("journalctl", "--user", "-u", "speaker", "-o", "cat").stdout

    wait_until(spoken, what="the journal to carry the line")


def test_this_checkout_runs_in_the_host(systemd_host: TestHost) -> None:
    """An ordinary user may use the interpreter and the code, wherever on this machine they lie."""
    program = "import sys, forgather_spool; print(sys.prefix, forgather_spool.__file__)"

    seen = systemd_host.run(sys.executable, "-c", program, cwd=REPOSITORY).stdout.split()

    assert seen == [sys.prefix, str(REPOSITORY / "forgather_spool/__init__.py")]


def test_a_failing_command_tells_its_code_and_its_words(systemd_host: TestHost) -> None:
    with pytest.raises(TestHostFailed, match=r"exit code 3\n(?s:.*)what went wrong"):
        systemd_host.run("bash", "-c", "echo what went wrong >&2; exit 3")

    assert systemd_host.run("bash", "-c", "exit 3", check=False).returncode == 3


def test_variables_and_input_reach_the_command_and_nothing_else_does(
    systemd_host: TestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_MACHINE", "must not enter")

    done = systemd_host.run("bash", "-c", "cat; env", env={"GREETING": "a b", "XDG_RUNTIME_DIR": None}, input="said\n")

    lines = done.stdout.splitlines()
    assert lines[0] == "said"
    assert "GREETING=a b" in lines
    assert not any(line.startswith(("OF_THIS_MACHINE=", "XDG_RUNTIME_DIR=")) for line in lines)


def test_a_second_ordinary_user_cannot_read_the_first_ones_home(systemd_host: TestHost) -> None:
    systemd_host.run("bash", "-c", "umask 077; echo secret > diary")

    reading = systemd_host.run("cat", "/home/forge/diary", user="mallory", check=False)

    assert reading.returncode != 0
    assert systemd_host.run("systemctl", "--user", "is-system-running", user="mallory").stdout == "running\n"


def test_fresh_ends_what_ran_and_empties_the_home(systemd_host: TestHost) -> None:
    systemd_host.run("systemd-run", "--user", "-q", "--unit=leftover", "sleep", "infinity")
    left_behind = systemd_host.popen("sleep", "infinity")
    systemd_host.run("touch", "leftover")

    systemd_host.fresh()

    assert left_behind.wait(timeout=30) != 0
    assert systemd_host.run("ls", "-A").stdout == ""
    assert systemd_host.run("systemctl", "--user", "is-active", "leftover", check=False).stdout == "inactive\n"
    assert systemd_host.run("systemctl", "--user", "is-system-running").stdout == "running\n"


def test_killing_what_popen_gave_kills_the_command(systemd_host: TestHost) -> None:
    sleeping = systemd_host.popen("sleep", "infinity")
    wait_until(lambda: is_sleeping(systemd_host), what="the command to start")

    sleeping.kill()
    sleeping.wait()

    wait_until(lambda: not is_sleeping(systemd_host), what="the command to die")


def is_sleeping(host: TestHost) -> bool:
    return host.run("pgrep", "-x", "-u", "forge", "sleep", check=False).returncode == 0


def test_a_power_cut_kills_all_at_once_and_keeps_the_disk(systemd_host: TestHost) -> None:
    systemd_host.run("bash", "-c", "echo kept > kept; echo lost > /tmp/lost")
    running = systemd_host.popen("bash", "-c", "trap '' TERM INT HUP; echo ready; sleep infinity")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    before = systemd_host.boot_id

    systemd_host.kill()

    running.wait(timeout=30)
    with pytest.raises(TestHostFailed, match="not up"):
        systemd_host.run("true")
    assert (systemd_host.disk / "home/forge/kept").read_text() == "kept\n"

    systemd_host.up()

    assert systemd_host.boot_id != before
    assert systemd_host.run("cat", "kept").stdout == "kept\n"
    assert systemd_host.run("test", "-e", "/tmp/lost", check=False).returncode == 1


def test_a_shared_folder_is_one_folder_on_both_hosts_and_here(new_host: NewHost, tmp_path: Path) -> None:
    """Folders under /tmp keep what they hold, although a boot empties the host's own /tmp."""
    (tmp_path / "from_here").write_text("here")
    tmp_path.chmod(0o777)
    a = new_host("a", share={tmp_path: "/tmp/shared"})
    b = new_host("b", share={tmp_path: "/srv/shared"})

    a.run("bash", "-c", "cat /tmp/shared/from_here > /tmp/shared/from_a")

    assert b.run("cat", "/srv/shared/from_a").stdout == "here"
    assert (tmp_path / "from_a").read_text() == "here"


def test_a_cut_host_is_out_of_reach_until_it_is_healed(new_host: NewHost) -> None:
    a, b = new_host("a"), new_host("b")
    serving = b.popen(sys.executable, "-m", "http.server", "8000", "--bind", b.addr)
    wait_until(lambda: answers(a), what="a to reach b by its name")

    b.cut()
    assert not answers(a)

    b.heal()
    wait_until(lambda: answers(a), what="a to reach b again")
    serving.kill()


def answers(host: TestHost) -> bool:
    """Whether `host` gets an answer from b, within a second."""
    program = "import urllib.request; urllib.request.urlopen('http://b:8000', timeout=1)"
    return host.run(sys.executable, "-c", program, check=False).returncode == 0


def test_hosts_have_machine_ids_of_their_own(new_host: NewHost) -> None:
    ids = {host.run("cat", "/etc/machine-id").stdout for host in (new_host("a"), new_host("b"))}

    assert len(ids | {Path("/etc/machine-id").read_text()}) == 3


@pytest.mark.parametrize("ending", ["sys.exit()", "raise RuntimeError", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_nothing_of_a_lab_is_left_however_its_owner_ends(hosts_can_boot: None, ending: str) -> None:
    """Even a killed owner's hosts go, when somebody next boots one (or says reap)."""
    program = f"import os, sys, tests.hosts; tests.hosts.TestHost('a').up(); print(os.getpid(), flush=True); {ending}"

    owner = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    subprocess.run([TESTHOST, "reap"], check=True)

    assert owner.stdout, owner.stderr
    assert traces_of_lab(f"p{owner.stdout.strip()}") == []


def traces_of_lab(lab: str) -> list[str]:
    """Mounts, namespaces, folders, control groups and processes that carry the lab's name."""
    found = Path("/proc/self/mounts").read_text().splitlines()
    found += map(str, [*Path("/run").glob("netns/*"), *Path("/run").glob("systemd/nspawn/*/*")])
    found += [str(lab_folder) for lab_folder in Path("/run/forgather-testhost").glob("*")]
    found += [group for group, _, _ in os.walk("/sys/fs/cgroup")]
    for process in psutil.process_iter(["cmdline"]):
        found += [" ".join(process.info["cmdline"] or [])]
    return [name for name in found if re.search(rf"\b{lab}\b", name)]
