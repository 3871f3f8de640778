"""What can be done for an attempt before its start is taken: its scope may be coming up meanwhile.

    the claim on disk for good  ->  the spec, which came along or is read  ->  the command found

Nothing of it runs here and nothing is written, so no harm if no start follows:
then the next runner does it all again. What is wrong with the job itself becomes
its result, once the start is taken; what is wrong with the claim keeps us from taking it.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.host import proc
from forgather_spool.host.program import find_program
from forgather_spool.runner.command import Command, find_cwd, write_script
from forgather_spool.runner.environment import job_environment
from forgather_spool.runner.journal_copy import JournalCopy
from forgather_spool.runner.request import Request
from forgather_spool.spool import files
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from forgather_spool.document import Document

ISOLATED = ("-E", "-s", "-S")  # the job's PYTHONPATH is not for us
SNAPSHOT_MAIN = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/snapshot/__main__.py"


class Ready:
    """An attempt that `take_start` may start. Made by `make_ready`."""

    __slots__ = (
        "_is_claim_durable", "command", "has_scope", "journal", "problem", "refusal", "request", "spec", "spool",
    )  # fmt: skip

    def __init__(self, request: Request, spool: Spool) -> None:
        self.request = request
        self.spool = spool
        self.journal = JournalCopy(request.job_id)
        self.problem: str | None = None  # a sentence: nothing may be run
        self.has_scope = False  # once the start is taken: whether a control group was made for it
        self.spec = request.spec  # None: it cannot be read
        self.command: Command | None = None  # None: `refusal` says why
        self.refusal = ""
        self._is_claim_durable = False

    def take_start(self) -> str | None:
        """None: the start is ours, durably. Otherwise why nothing may be run."""
        if self.problem is not None:
            return self.problem
        request, paths = self.request, self.spool.paths
        if not os.path.lexists(paths.taken(request.host, request.job_id, request.priority)):
            return f"it is not in running/{request.host}/"
        try:
            claim = files.read_document(paths.claim(request.job_id, request.attempt))
            if not self.is_ours(claim):
                return "its claim names another runner"
            self.has_scope = claim.get("host_kind") == "systemd"
            taken = self.spool.start(request.job_id, request.attempt, is_claim_durable=self._is_claim_durable)
        except FileNotFoundError:
            taken = False
        except BadDocument as error:
            return f"its claim cannot be read: {error}"
        except (StorageFailed, UnreadableFile) as error:
            # Perhaps renamed and not durable: a power cut could undo it, so nothing may run. Settled as lost.
            return str(error)
        return None if taken else "its claim was withdrawn"

    def write_script(self) -> None:
        """Put the job's script where `command` finds it, if it has one: once the start is taken. Raises Missing."""
        if self.spec is not None and self.spec["script"] is not None:
            write_script(self.spool.paths.script(self.request.job_id, self.request.attempt), self.spec["script"])

    def make_claim_durable(self) -> None:
        """Have what leads to the start on disk for good; else `problem` is set. Without, `take_start` does it."""
        try:
            self.spool.make_claim_durable(self.request.job_id, self.request.attempt)
            self._is_claim_durable = True
        except FileNotFoundError:
            self.problem = "its claim was withdrawn"
        except (StorageFailed, UnreadableFile) as error:
            self.problem = str(error)

    def is_ours(self, claim: Document) -> bool:
        """Whether it names this process and this attempt."""
        pid, start_ticks = proc.this_process()
        mine = {"pid": pid, "start_ticks": start_ticks}
        return claim.get("runner") == mine and claim.get("attempt") == self.request.attempt

    def find_command(self) -> None:
        """Read the spec and see what it means here and now; else `refusal` is set."""
        try:
            if self.spec is None:
                self.spec = self.spool.taken_spec(self.request.host, self.request.entry)
            self.command = _command(self.request, self.spool, self.spec)
        except (ForgatherError, OSError) as error:
            self.refusal = str(error)


def make_ready(request: Request, home: str, *, is_early: bool = True) -> Ready:
    """Prepare as much of `request` as leaves no trace. Its claim stands.

    `is_early`: there is time until the go, and the disk may have its share of it;
    otherwise the start brings it all to disk at once.
    """
    ready = Ready(request, Spool(home))
    if is_early:
        ready.make_claim_durable()
    if ready.problem is None:
        ready.find_command()
    return ready


def _command(request: Request, spool: Spool, spec: dict[str, Any]) -> Command:
    env = job_environment(request, spec, spool.paths.home)
    script = "" if spec["script"] is None else spool.paths.script(request.job_id, request.attempt)
    if spec["snapshot"] is not None:  # what makes its worktree becomes the command; that its own is there is no matter
        spec_path = spool.paths.taken(request.host, request.job_id, request.priority)
        words = ["enter", spool.paths.home, request.job_id, spec_path, script]
        argv = [sys.executable, *ISOLATED, SNAPSHOT_MAIN, *words]
        return Command(sys.executable, argv, spool.paths.home, env, spec["tty"])
    cwd = find_cwd(spec["cwd"], env)
    argv = list(spec["argv"])
    return Command(script or find_program(argv[0], cwd, env), argv, cwd, env, spec["tty"])
