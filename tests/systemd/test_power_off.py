"""The plug is pulled: what was acknowledged is still there, and nothing runs twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.hosts import TestHost
from tests.waiting import wait_until

IDLE = {"FORGATHER_IDLE_S": "0.2"}


def jobs_on(host: TestHost) -> dict[str, dict[str, Any]]:
    """Every job by name, as `sched list` tells it."""
    told = json.loads(host.run("forgather", "sched", "list", "--all", "--json", env=IDLE).stdout)
    rows = [row for rows in told.values() if isinstance(rows, list) for row in rows if isinstance(row, dict)]
    return {str(row["name"]): row for row in rows if row.get("job_id")}


def submit(host: TestHost, name: str, line: str) -> None:
    """Acknowledged: `submit` has returned."""
    host.run("forgather", "submit", "--quiet", "--name", name, "--", "sh", "-c", line, env=IDLE)


def test_queued_jobs_survive_a_power_cut_and_running_ones_are_lost(new_host: Callable[..., TestHost]) -> None:
    """The queue is intact and runs once; what ran is called lost, and not run again."""
    host = new_host("plug")
    host.run("forgather", "sched", "limit", "1")
    submit(host, "running", "echo started >> ~/ran-running; sync; exec sleep 1000")
    wait_until(lambda: host.run("cat", "ran-running", check=False).stdout == "started\n", what="the first job")
    for n in range(5):
        submit(host, f"waiting{n}", f"echo ran >> ~/ran-{n}")
    before = jobs_on(host)
    assert [before[f"waiting{n}"]["state"] for n in range(5)] == ["waiting"] * 5

    host.kill()
    host.up()
    host.run("forgather", "sched", "resume", env=IDLE)  # looks at the queue, and wakes a dispatcher
    submit(host, "after", "true")
    wait_until(lambda: {job["state"] for job in jobs_on(host).values()} == {"done"}, what="the end of all jobs")

    after = jobs_on(host)
    assert after.keys() == before.keys() | {"after"}
    assert after["running"]["outcome"] == {"kind": "lost", "reason": "the machine was restarted while it ran"}
    assert host.run("cat", "ran-running").stdout == "started\n"
    for n in range(5):
        assert after[f"waiting{n}"]["outcome"] == {"kind": "exited", "exit_code": 0}
        assert host.run("cat", f"ran-{n}").stdout == "ran\n"
    assert host.run("find", ".config/forgather/spool/tmp", "-type", "f").stdout == ""


def test_another_user_can_neither_read_nor_inject(systemd_host: TestHost) -> None:
    """Files, environment, journal and the queue itself are the owner's alone."""
    submit(systemd_host, "secret", "echo hidden-output; echo $$ > ~/pid; exec sleep 1000")
    wait_until(lambda: systemd_host.run("cat", "pid", check=False).stdout.strip(), what="the job")
    pid = systemd_host.run("cat", "pid").stdout.strip()
    job_id = jobs_on(systemd_host)["secret"]["job_id"]
    home = "/home/forge/.config/forgather"
    systemd_host.run("chmod", "755", "/home/forge")  # as many systems have it: the spool must hold by itself
    systemd_host.run("chmod", "755", "/home/forge/.config")

    attempts = [
        ["ls", f"{home}/spool/queue"],
        ["cat", f"{home}/jobs/{job_id}/output.log"],
        ["cat", f"/proc/{pid}/environ"],
        ["sh", "-c", f'echo \'{{"argv": ["id"]}}\' > {home}/spool/incoming/evil.json'],
        ["kill", pid],
    ]
    for attempt in attempts:
        assert systemd_host.run(*attempt, user="mallory", check=False).returncode != 0, attempt
    journal = systemd_host.run("journalctl", "-t", job_id, "--no-pager", user="mallory", check=False)
    assert "hidden-output" not in journal.stdout

    systemd_host.run("chmod", "770", f"{home}/spool/incoming")
    refused = systemd_host.run("forgather", "submit", "--", "true", check=False)
    assert refused.returncode == 69
    assert "may be written to by others" in refused.stderr
