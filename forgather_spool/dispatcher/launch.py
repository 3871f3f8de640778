"""Launching: from a decision to a runner that may go.

    claim (rename)  ->  hatch a waiting child  ->  claim.json names it  ->  scope, "make ready"  ->  "go"

Killed anywhere in between, nothing has run: the child exits when our end of
its pipe closes, and the next dispatcher puts the job back. Several launches
are on their way at once, since a scope takes the manager milliseconds.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from forgather_spool.dispatcher.specs import Specs
from forgather_spool.document import Document
from forgather_spool.errors import AlreadyClaimed, ForgatherError
from forgather_spool.frozen import dataclass
from forgather_spool.host.base import Host, Limits, ScopeStarted, scope_name
from forgather_spool.job import Claim, GpuRef, Terms
from forgather_spool.runner.client import Hatched, Nursery
from forgather_spool.spool import preempt
from forgather_spool.spool.names import FIRST_ATTEMPT, Entry
from forgather_spool.spool.queue import Spool


@dataclass(frozen=True, slots=True)
class Launch:
    """One job on its way: its child waits for the scope."""

    entry: Entry
    claim: Claim
    hatched: Hatched


@dataclass(frozen=True, slots=True)
class Launched:
    """It may run: from here on the runner acts."""

    entry: Entry
    claim: Claim


@dataclass(frozen=True, slots=True)
class NotLaunched:
    """It is back in the queue, and nothing of it has run. Try again, but not at once."""

    entry: Entry
    reason: str


class Launcher:
    """Launches of this host. `boot_id` and `host_name` go into each claim; `specs` are those that were looked at."""

    def __init__(
        self, spool: Spool, host: Host, nursery: Nursery, host_name: str, boot_id: str, specs: Specs | None = None
    ) -> None:
        self._spool = spool
        self._specs = specs or Specs(spool)
        self._host = host
        self._nursery = nursery
        self._host_name = host_name
        self._boot_id = boot_id
        self._host_environment = host_environment(os.environ)
        self._on_their_way: dict[str, Launch] = {}

    def __len__(self) -> int:
        return len(self._on_their_way)

    def __contains__(self, job_id: str) -> bool:
        return any(launch.entry[1] == job_id for launch in self._on_their_way.values())

    @property
    def claims(self) -> dict[str, Claim]:
        """Job id to claim of what is on its way."""
        return {launch.entry[1]: launch.claim for launch in self._on_their_way.values()}

    def launch(self, entry: Entry, gpus: tuple[GpuRef, ...]) -> NotLaunched | None:
        """Claim `entry` and send it on its way; None when `events` will tell the rest.

        Raises:
            AlreadyClaimed: another was first, or its start was taken before a power cut.
        """
        is_new = self._spool.claim(entry, self._host_name)
        attempt = FIRST_ATTEMPT if is_new else self._current_attempt(entry)
        hatched = None
        try:
            if not is_new:
                self._spool.withdraw_claim(entry[1], attempt)
            spec: dict[str, Any] = self._specs.taken(self._host_name, entry)
            if spec["gpus"] != len(gpus):
                return self._give_up(entry, attempt, None, "it was edited after it was looked at")
            if spec["preemptible"]:
                preempt.forget(self._spool.paths, entry[1], attempt)
            scope = scope_name(entry[1], attempt)
            hatched = self._nursery.hatch(self._request(entry, attempt, scope, gpus, spec))
            claim = self._claim(entry, attempt, scope, gpus, hatched, spec)
            self._spool.write_claim(entry[1], claim.as_document(), attempt)
            self._on_their_way[scope] = Launch(entry, claim, hatched)
            self._host.begin(scope, hatched.pid, _limits(spec), spec["name"] or os.path.basename(spec["argv"][0]))
        except (ForgatherError, OSError) as error:
            return self._give_up(entry, attempt, hatched, str(error))
        if self._host.kind == "systemd":
            self._nursery.tell(hatched)  # a scope takes the manager milliseconds
        return None

    def _current_attempt(self, entry: Entry) -> int:
        """Its number, for a job that was claimed before. Raises AlreadyClaimed: it must not be launched now."""
        attempt = self._spool.attempt(entry[1])
        if self._spool.has_started(entry[1], attempt) or self._spool.has_result(entry[1], attempt):
            # A power cut undid the rename, not the start. Where it lies now it is settled, not started.
            raise AlreadyClaimed(f"job {entry[1]} had started already")
        asked_by = self._spool.asked_to_stop_by(entry[1], attempt)
        if asked_by is None and attempt > FIRST_ATTEMPT:
            asked_by = self._spool.asked_to_stop_by(entry[1], attempt - 1)
        if asked_by is not None:
            # Somebody asked while it was being put back, or run again: it must not run now.
            self._spool.end_unstarted(entry, self._host_name, asked_by)
            raise AlreadyClaimed(f"job {entry[1]} was cancelled by {asked_by}")
        return attempt

    def events(self) -> list[Launched | NotLaunched]:
        """What became of launches since the last call."""
        told: list[Launched | NotLaunched] = []
        for event in self._host.events():
            launch = self._on_their_way.pop(event.scope, None)
            if launch is None:
                continue
            if isinstance(event, ScopeStarted):
                self._nursery.go(launch.hatched, keep=self._may_run_another(launch.claim))
                told.append(Launched(launch.entry, launch.claim))
            else:
                told.append(self._give_up(launch.entry, launch.claim.attempt, launch.hatched, event.reason))
        return told

    def ended(self, claim: Claim) -> None:
        """Its job has left running/: its runner may run the next, if that comes before `let_go`."""
        self._nursery.take_back(claim.runner_pid, claim.runner_start_ticks)

    def let_go(self) -> None:
        """No launch follows soon: what runners have no job any more exit."""
        self._nursery.let_go()

    def _may_run_another(self, claim: Claim) -> bool:
        """Cards are free when their runner has gone; from one without them systemd takes it along to the next scope."""
        return not claim.gpus

    def _give_up(self, entry: Entry, attempt: int, hatched: Hatched | None, reason: str) -> NotLaunched:
        self._on_their_way.pop(scope_name(entry[1], attempt), None)
        if hatched is not None:
            self._nursery.abandon(hatched)
        try:
            self._spool.withdraw_claim(entry[1], attempt)
            self._spool.put_back(entry, self._host_name)
        except (ForgatherError, OSError) as error:
            reason = f"{reason}; {error}"  # it stays in running/ without a claim: settled on a later pass
        return NotLaunched(entry, reason)

    def _claim(
        self, entry: Entry, attempt: int, scope: str, gpus: tuple[GpuRef, ...], hatched: Hatched, spec: Document
    ) -> Claim:
        return Claim(
            attempt=attempt,
            host=self._host_name,
            host_kind=self._host.kind,
            boot_id=self._boot_id,
            scope=scope,
            priority=-entry[0],
            gpus=gpus,
            runner_pid=hatched.pid,
            runner_start_ticks=hatched.start_ticks,
            claimed_at=datetime.now(UTC),
            terms=Terms.from_document(spec),
        )

    def _request(self, entry: Entry, attempt: int, scope: str, gpus: tuple[GpuRef, ...], spec: Document) -> Document:
        return {
            "job_id": entry[1],
            "priority": -entry[0],
            "host": self._host_name,
            "attempt": attempt,
            "scope": scope,
            "env": self._host_environment,
            "gpus": [ref.as_document() for ref in gpus],
            "cuda_visible_devices": cuda_visible_devices(gpus),
            "spec": spec,
        }


def cuda_visible_devices(gpus: tuple[GpuRef, ...]) -> str:
    """By UUID where every card has one: indexes depend on who counts. Empty for a job without cards: it sees none."""
    uuids = [ref.uuid for ref in gpus if ref.uuid is not None]
    return ",".join(uuids if len(uuids) == len(gpus) else [str(ref.index) for ref in gpus])


def host_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The few variables a job gets from the host it runs on; what its spec sets comes over these.

    Never the dispatcher's whole environment: that holds the service manager's
    sockets, and whatever the shell that woke it had.
    """
    user = pwd.getpwuid(os.geteuid())
    found = {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
    }
    passed = ("HOME", "LANG", "PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "LD_LIBRARY_PATH")
    return found | {name: environ[name] for name in passed if name in environ}


def _limits(spec: dict[str, Any]) -> Limits:
    return Limits(**{name: spec[name] for name in ("memory_bytes", "cpus", "time_limit_s", "grace_s")})
