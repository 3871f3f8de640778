"""What every kind of host can do: put a runner into a scope and say which scopes still hold anybody.

A scope is the fence around one attempt of one job: every process the job starts
is inside, however it daemonises. A job's GPUs are free when its scope is empty,
and not before. `host/systemd.py` has the kernel keep the fence; `host/process.py`
does what can be done without it. `host/detect.py` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from forgather_spool.frozen import dataclass

SCOPE_PREFIX = "forgather-job-"


def scope_name(job_id: str, attempt: int) -> str:
    """The scope of one attempt, e.g. ``forgather-job-q_1738012412345_a1b2c3d4-1.scope``.

    Member 7 of an array has ``q_1738012412345_a1b2c3d4.7`` there: a unit's name takes no brackets.
    """
    plain = job_id.replace("[", ".").removesuffix("]")
    return f"{SCOPE_PREFIX}{plain}-{attempt}.scope"


def attempt_of_scope(scope: str) -> tuple[str, int]:
    """The job id and the attempt in the name of a scope. Attempt 0: somebody else's scope, and the id means nothing."""
    stem, _, number = scope.removesuffix(".scope").rpartition("-")
    family, dot, index = stem.removeprefix(SCOPE_PREFIX).partition(".")
    return f"{family}[{index}]" if dot else family, int(number) if number.isascii() and number.isdigit() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a job may use; None is no limit. `grace_s` lies between TERM and KILL."""

    memory_bytes: int | None = None
    cpus: float | None = None
    time_limit_s: float | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ScopeStarted:
    """The process is inside and the limits hold: the runner may go."""

    scope: str


@dataclass(frozen=True, slots=True)
class ScopeRefused:
    """No scope for this one, and `reason` says why in a sentence.

    `exists`: a scope of that name is there already, so an earlier launch of the
    same attempt may be alive. Look again on the next pass; start nothing.
    Otherwise the waiting child is to be let go, and trying again may help.
    """

    scope: str
    reason: str
    exists: bool = False


HostEvent = ScopeStarted | ScopeRefused


class Host(Protocol):
    """One machine's scopes, as the dispatcher uses them."""

    kind: Literal["systemd", "process"]

    def expect(self) -> None:
        """A `begin` may follow within milliseconds: make ready what takes time. Never blocks, cannot fail."""
        ...

    def begin(self, scope: str, pid: int, limits: Limits, description: str) -> None:
        """Ask for `scope` around `pid` (a waiting child) and return at once; `events` tells how it went.

        `description` is shown to other users of the machine (systemctl, the
        journal): a job's name, never its arguments.

        Raises:
            Missing: the user manager is gone.
        """
        ...

    def fileno(self) -> int | None:
        """What to poll for reading. It changes between passes; None: nothing will come by itself."""
        ...

    def events(self) -> Sequence[HostEvent]:
        """How launches went since the last call: exactly one event per `begin`. Never blocks.

        Call it on every pass, not only when `fileno` is readable: it is also what notices a timeout.
        """
        ...

    def adopt(self, scope: str, pid: int, start_ticks: int) -> None:
        """Take note of a scope that an earlier dispatcher began, with its runner as the claim names it."""
        ...

    def live_scopes(self) -> frozenset[str]:
        """Scopes that hold any process, another spool's included; one still being started may be missing."""
        ...

    def members(self, scope: str) -> Sequence[int]:
        """The processes in `scope` now, the runner included. Empty: the scope is empty or gone."""
        ...

    def signal(self, scope: str, signum: int) -> int:
        """Send `signum` to every process in `scope`, the runner included; how many got it.

        For a forced kill and for what a dead runner left behind: the usual stop
        goes through the runner, which writes the result.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Scopes live on."""
        ...
