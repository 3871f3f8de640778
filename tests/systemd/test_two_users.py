"""Somebody else on the same host can neither see nor touch: spool, environment, output, journal, scopes."""

from __future__ import annotations

import subprocess

import pytest

from tests.hosts import TestHost
from tests.systemd.desk import Desk
from tests.waiting import wait_until

SECRET = "correct-horse-battery-staple"
HOME = "/home/forge/.config/forgather"


@pytest.fixture
def desk(systemd_host: TestHost) -> Desk:
    """Whose home directory is open to all, as on many machines: the spool must not rest on it."""
    desk = Desk(systemd_host)
    desk.host.run("chmod", "755", "/home/forge")
    desk.host.run("mkdir", "-p", "/home/forge/.config")
    desk.host.run("chmod", "755", "/home/forge/.config")
    return desk


@pytest.fixture
def running(desk: Desk) -> str:
    """A job with a secret in its environment and its output."""
    line = "echo $SECRET; echo up > up; exec sleep 1000"
    job_id = desk.submit(line, "--env", f"SECRET={SECRET}", "--name", "private")
    desk.wait_for("up")
    return job_id


def as_mallory(desk: Desk, line: str) -> subprocess.CompletedProcess[str]:
    return desk.host.run("sh", "-c", line, user="mallory", check=False)


def test_another_user_reads_nothing_of_a_job(desk: Desk, running: str) -> None:
    """Not its files, not the environment of its processes, not the journal."""
    pids = " ".join(
        desk.host.run(
            "cat", f"/sys/fs/cgroup{desk.property(desk.scope(running), 'ControlGroup')}/cgroup.procs"
        ).stdout.split()
    )
    tries = [
        f"ls -R {HOME}",
        f"cat {HOME}/jobs/{running}/output.log {HOME}/jobs/{running}/started.json",
        f"cat {HOME}/spool/running/*/*",
        f"grep -r {SECRET} {HOME}",
        f"for p in {pids}; do cat /proc/$p/environ /proc/$p/cwd/up /proc/$p/fd/1; done",
        f"journalctl -t {running} -o cat",
        "journalctl --user -o cat; journalctl _UID=1777 -o cat",
        "ps -eo args e",
        "loginctl user-status forge; systemctl status forgather-job-* user@1777",
    ]
    for line in tries:
        done = as_mallory(desk, line)
        assert SECRET not in done.stdout + done.stderr, line
    assert SECRET in (desk.file(f".config/forgather/jobs/{running}/output.log") or "")


def test_another_user_can_put_nothing_in_and_stop_nothing(desk: Desk, running: str) -> None:
    scope = desk.scope(running)
    for folder in (
        "spool/incoming",
        "spool/queue",
        "spool/tmp",
        f"jobs/{running}",
        f"jobs/{running}/control",
        "server",
        "hosts",
    ):
        assert as_mallory(desk, f"echo '{{}}' > {HOME}/{folder}/evil.json").returncode != 0, folder
    pid = desk.claim(running)["runner"]["pid"]
    assert as_mallory(desk, f"kill -KILL {pid}").returncode != 0
    assert as_mallory(desk, f"systemctl --user stop {scope}").returncode != 0
    assert as_mallory(desk, f"systemctl --user -M forge@ stop {scope}").returncode != 0

    for words in (["submit", "--", "true"], ["sched", "list"], ["job", "kill", running], ["sched", "pause"]):
        done = desk.host.run("forgather", *words, user="mallory", check=False, env={"FORGATHER_HOME": HOME})
        assert done.returncode != 0, (words, done.stdout)
        assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr, (words, done.stderr)
    assert desk.outcome(running) is None
    desk.forgather("job", "kill", running)
    assert desk.wait_done(running)["kind"] == "cancelled"


@pytest.mark.parametrize("folder", ["", "/spool", "/spool/incoming", "/spool/queue"])
def test_a_spool_that_others_may_write_to_is_refused_and_runs_nothing(desk: Desk, folder: str) -> None:
    """Whoever can put a file there runs commands as its owner."""
    assert desk.wait_done(desk.submit("true"))
    wait_until(lambda: not desk.processes(), what=f"the end of {desk.processes()}")
    desk.host.run("chmod", "777", f"{HOME}{folder}")
    desk.drop("evil.json", '{"argv": ["touch", "/tmp/owned"]}')

    done = desk.host.run("forgather", "submit", "--", "true", check=False)
    dispatched = desk.host.run("forgather", "dispatch", "--foreground", check=False)

    assert (done.returncode, dispatched.returncode) == (69, 69), (done, dispatched)
    assert "may be written to by others" in done.stderr and "chmod" in done.stderr
    assert desk.host.run("ls", "/tmp/owned", check=False).returncode != 0


def test_a_file_that_belongs_to_another_user_never_runs(desk: Desk) -> None:
    """Put there while the door stood open, and found when it is closed again."""
    desk.submit("true")
    desk.host.run("chmod", "777", f"{HOME}", f"{HOME}/spool", f"{HOME}/spool/incoming")
    as_mallory(desk, f'echo \'{{"argv": ["touch", "/tmp/owned"]}}\' > {HOME}/spool/incoming/evil.json')
    desk.host.run("chmod", "700", f"{HOME}", f"{HOME}/spool", f"{HOME}/spool/incoming")

    job_id = desk.submit("true")

    assert desk.wait_done(job_id) == {"kind": "exited", "exit_code": 0}
    wait_until(lambda: (desk.home / "spool/rejected/evil.json.why").exists(), what=desk.said())
    assert "belongs to" in (desk.home / "spool/rejected/evil.json.why").read_text()
    assert desk.host.run("ls", "/tmp/owned", check=False).returncode != 0
