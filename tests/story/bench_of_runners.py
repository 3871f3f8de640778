"""One spool, one nursery, and jobs claimed by hand: runners without a dispatcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forgather_spool.host import proc
from forgather_spool.host.base import scope_name
from forgather_spool.host.process import send_signal
from forgather_spool.job import Claim, GpuRef, Result, parse_at
from forgather_spool.outcome import Outcome
from forgather_spool.runner.client import Hatched, Nursery
from forgather_spool.spool import files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool, utc_now
from tests.builders import BOOT_ID, HOST, taken
from tests.waiting import wait_until

SIGKILL = 9


class Bench:
    """Jobs run in `folder`; a str for a command is a shell line."""

    def __init__(self, tmp_path: Path, home: Path | None = None) -> None:
        self.folder = tmp_path / "work"
        self.folder.mkdir()
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        self.spool = Spool(str(home or tmp_path / "home")).create()
        self.nursery = Nursery(self.spool.paths.home)
        self._scopes: list[str] = []

    def take(self, command: str | list[str] = "true", **spec: Any) -> Entry:
        """A job claimed by rename, without a claim.json."""
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        return taken(self.spool, argv=argv, cwd=spec.pop("cwd", str(self.folder)), **spec)

    def hatch(
        self, entry: Entry, *, cards: tuple[int, ...] = (), write_claim: bool = True, host_kind: str = "process"
    ) -> Hatched:
        """A waiting child for it, named in its claim."""
        scope = scope_name(entry[1], 1)
        self._scopes.append(scope)
        gpus = tuple(GpuRef(index=index, uuid=f"GPU-{index}") for index in cards)
        hatched = self.nursery.hatch(
            {
                "job_id": entry[1],
                "priority": -entry[0],
                "host": HOST,
                "attempt": 1,
                "scope": scope,
                "env": self.env,
                "gpus": [ref.as_document() for ref in gpus],
                "cuda_visible_devices": ",".join(str(ref.uuid) for ref in gpus),
            }
        )
        if write_claim:
            claim = claim_naming(hatched, entry, scope, gpus, host_kind)
            self.spool.write_claim(entry[1], claim.as_document())
        return hatched

    def launch(self, command: str | list[str] = "true", *, keep: bool = False, **spec: Any) -> tuple[Entry, Hatched]:
        entry = self.take(command, **spec)
        hatched = self.hatch(entry)
        self.nursery.go(hatched, keep=keep)
        return entry, hatched

    def run(self, command: str | list[str] = "true", **spec: Any) -> Result:
        """Launch it and wait for its result."""
        return self.result(self.launch(command, **spec)[0])

    def outcome(self, command: str | list[str] = "true", **spec: Any) -> Outcome:
        return self.run(command, **spec).outcome

    def result(self, entry: Entry) -> Result:
        """Its result, once the job lies in done/."""
        done = lambda: self.spool.has_result(entry[1]) and entry not in self.spool.taken(HOST)  # noqa: E731
        wait_until(done, 60, f"the end of {entry[1]}")
        return Result.from_document(files.read_document(self.spool.paths.result(entry[1], 1)))

    def output(self, entry: Entry) -> bytes:
        return Path(self.spool.paths.output(entry[1], 1)).read_bytes()

    def wait_for(self, name: str) -> str:
        """A whole line that a job writes into its folder."""
        path = self.folder / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 30, f"the file {name}")
        return path.read_text().strip()

    def end(self) -> None:
        """Nothing that was started here lives on."""
        self.nursery.close()
        for scope in self._scopes:
            for pid in proc.pids_with_env("FORGATHER_SCOPE", scope):
                send_signal(pid, SIGKILL)


def ended(hatched: Hatched) -> bool:
    return not proc.is_alive(hatched.pid, hatched.start_ticks)


def claim_naming(
    hatched: Hatched, entry: Entry, scope: str, gpus: tuple[GpuRef, ...] = (), host_kind: str = "process"
) -> Claim:
    return Claim(
        attempt=1,
        host=HOST,
        host_kind=host_kind,
        boot_id=BOOT_ID,
        scope=scope,
        priority=-entry[0],
        gpus=gpus,
        runner_pid=hatched.pid,
        runner_start_ticks=hatched.start_ticks,
        claimed_at=parse_at(utc_now()),
    )
