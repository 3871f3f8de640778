"""Somebody's desk on a real host: `forgather` as they type it, and their spool as root sees it on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgather_spool.spool import attempts
from forgather_spool.spool.paths import Paths
from tests.hosts import TestHost
from tests.waiting import wait_until

SERVICE = "forgather-dispatch.service"


class Desk:
    """Of `user`. Dispatchers that start here leave after `idle_s` with nothing to do."""

    def __init__(self, host: TestHost, user: str = "forge", idle_s: float = 0.5) -> None:
        self.host = host
        self.user = user
        self.folder = host.disk / "home" / user
        self.home = self.folder / ".config/forgather"
        self.environment({"FORGATHER_IDLE_S": str(idle_s)})

    def environment(self, variables: Mapping[str, str]) -> None:
        """For all that the user manager starts from now on, after a reboot too."""
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        self.write(f".config/environment.d/{next(iter(variables))}.conf", lines)
        self.systemctl("set-environment", *(f"{name}={value}" for name, value in variables.items()))

    def forgather(self, *words: str, check: bool = True, env: Mapping[str, str | None] | None = None) -> str:
        """What it answers, both streams."""
        done = self.host.run("forgather", *words, user=self.user, check=check, env=env)
        return done.stdout + done.stderr

    def submit(self, line: str, *options: str) -> str:
        """A job that runs a shell line in the user's home; its id."""
        return self.forgather("submit", "--quiet", *options, "--", "sh", "-c", line).strip()

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.host.run("systemctl", "--user", *words, user=self.user, check=check).stdout.strip()

    def write(self, name: str, text: str) -> None:
        """A file in the user's home, as they would write it."""
        path = Path(f"/home/{self.user}", name)
        script = 'mkdir -p "$2" && cat > "$2/.new" && mv "$2/.new" "$1"'
        self.host.run("sh", "-c", script, "sh", path, path.parent, user=self.user, input=text)

    def drop(self, name: str, document: str) -> None:
        """A file into incoming/."""
        self.write(f".config/forgather/spool/incoming/{name}", document)

    def drop_in(self, unit: str, text: str) -> None:
        """Change a setting of one of the user's units."""
        self.write(f".config/systemd/user/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def file(self, name: str) -> str | None:
        """What a file in the user's home says; None while it is not there or not a whole line."""
        try:
            text = (self.folder / name).read_text()
        except OSError:
            return None
        return text if text.endswith("\n") else None

    def wait_for(self, name: str) -> str:
        return wait_until(lambda: self.file(name), what=f"the file {name}; {self.said()}")

    def outcome(self, job_id: str) -> dict[str, Any] | None:
        """The outcome of its last attempt, once its spec lies in done/."""
        if not any(self.home.glob(f"spool/done/*/{job_id}.json")):
            return None
        return self.outcome_of_attempt(job_id, attempts.current(Paths(str(self.home)), job_id))

    def outcome_of_attempt(self, job_id: str, attempt: int) -> dict[str, Any]:
        path = Path(Paths(str(self.home)).result(job_id, attempt))
        outcome: dict[str, Any] = json.loads(path.read_text())["outcome"]
        return outcome

    def wait_done(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        return wait_until(lambda: self.outcome(job_id), timeout_s, f"the end of {job_id}; {self.said()}")

    def claim(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.home / f"jobs/{job_id}/started.json").read_text())
        return document

    def scope(self, job_id: str) -> str:
        return f"forgather-job-{job_id}-1.scope"

    def property(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, "--value", f"--property={name}")

    def processes(self) -> list[str]:
        """Command lines of this user that are ours: dispatchers, nurseries, runners."""
        lines = self.host.run("ps", "-U", self.user, "-o", "args=", user="root").stdout.splitlines()
        return [line for line in lines if "forgather" in line]

    def dispatcher(self) -> str:
        """The unit that the dispatcher is awake in."""
        return wait_until(lambda: next(iter(self._awake()), None), what="a dispatcher that is awake")

    def _awake(self) -> list[str]:
        listed = self.systemctl("list-units", "--plain", "--no-legend", "--state=active", "forgather-dispatch*.service")
        return [line.split()[0] for line in listed.splitlines()]

    def said(self) -> str:
        """What the dispatchers wrote to the journal."""
        words = ["journalctl", "--user", "-u", "forgather-dispatch*", "-o", "cat", "-n", "30"]
        return self.host.run(*words, user=self.user, check=False).stdout
