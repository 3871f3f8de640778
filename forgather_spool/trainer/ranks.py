"""How all ranks of one training run act on the same command at the same step.

Rank 0 alone reads the mailbox. A thread in every rank, not the training loop,
then settles the step, through a key-value store and without any collective:

1. rank 0's thread *proposes* the commands;
2. each rank's thread raises `hold`, then *votes* for the next step its loop
   has not passed yet; from then on the loop stops at its boundary and waits;
3. rank 0's thread takes the highest vote as *the* step and says so;
4. every loop goes on to that boundary and carries the commands out there.

Threads vote, so a loop that is inside a collective need not answer, and a loop
that waits at a boundary has finished all that others may still need of it:
nobody waits for somebody who waits. A rank that ended early has left word and
is not asked. If a rank does not answer within `PATIENCE_S`, rank 0 gives the
proposal up, for all ranks. While nobody asks, a poll reads one attribute.

The store is the TCPStore that torch.distributed was started with (torchrun's,
or the one at MASTER_ADDR:MASTER_PORT), over a connection of our own. Works the
same for gloo and NCCL, since neither takes part.
"""

from __future__ import annotations

import os
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Store(Protocol):
        """What a torch.distributed store offers, as far as it is used."""

        def set(self, key: str, value: str) -> None: ...
        def get(self, key: str) -> bytes: ...
        def check(self, keys: list[str]) -> bool: ...

    Commands = list[dict[str, Any]]

LISTEN_S = 0.01  # how often a rank's thread asks the store; one request of about 60 microseconds
PATIENCE_S = 30.0  # rank 0 waits this long for every rank's vote, then gives the proposal up
GIVE_UP_S = 2 * PATIENCE_S  # a loop at its boundary waits this long for rank 0's word; must outlast PATIENCE_S
assert GIVE_UP_S > PATIENCE_S


class Alone:
    """One process: what is proposed happens at the next boundary."""

    def __init__(self) -> None:
        self.hold = False
        self._proposed: deque[dict[str, Any]] = deque()

    def propose(self, commands: Commands) -> None:
        """Also called by a signal handler in the middle of `at`, so there is no lock: append, then raise `hold`."""
        self._proposed.extend(commands)
        self.hold = True

    def at(self, step: int) -> Commands:
        """What to carry out at this boundary."""
        self.hold = False
        commands = []
        while self._proposed:
            commands.append(self._proposed.popleft())
        return commands

    def close(self) -> None:
        return


class Together:
    """Several ranks. `on_abandoned` (rank 0) gets commands that were given up, and why."""

    def __init__(
        self, store: Store, rank: int, world_size: int, on_abandoned: Callable[[Commands, str], None], prefix: str
    ) -> None:
        import threading

        self.hold = False
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._on_abandoned = on_abandoned
        self._prefix = prefix
        self._passed = -1
        self._queue: deque[Commands] = deque()
        self._decided: dict[str, Any] | None = None
        self._word = threading.Condition()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forgather-ranks", daemon=True)
        self._thread.start()

    # -- called by the training loop --------------------------------------------------------------------------------

    def passing(self, step: int) -> None:
        """The loop is at the boundary of `step`. Stored before `hold` is read: see `_vote`."""
        self._passed = step

    def at(self, step: int) -> Commands:
        """Wait, if asked to hold, until the step is settled; the commands, if it is this one."""
        with self._word:
            until = time.monotonic() + GIVE_UP_S
            while self.hold and self._decided is None:
                if not self._word.wait(until - time.monotonic()) and time.monotonic() >= until:
                    self.hold = False  # rank 0 is gone; what ends the training is not us
                    return []
            decided = self._decided
            if decided is None or step < decided["step"]:
                return []
            self._decided = None
            self.hold = False
            commands: Commands = decided["commands"]
            return commands

    def propose(self, commands: Commands) -> None:
        """Rank 0 only: settle a step for these."""
        self._queue.append(commands)

    def close(self) -> None:
        """This rank ends: others no longer ask it. Waits for its thread, briefly."""
        self._closed.set()
        self._thread.join(timeout=2.0)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        import json

        number = 1
        try:
            while not self._closed.wait(LISTEN_S):
                if self._rank == 0 and self._queue:
                    self._set(f"proposal/{number}", json.dumps(self._queue.popleft()))
                if self._there(f"proposal/{number}"):
                    self._settle(number)
                    number += 1
            self._set(f"left/{self._rank}", "1")
        except Exception:  # the store is gone with rank 0 or the network: training itself will say so
            self._release(None)

    def _settle(self, number: int) -> None:
        import json

        commands = json.loads(self._get(f"proposal/{number}"))
        self._vote(number)
        if self._rank == 0:
            step, missing = self._count(number)
            reason = "" if step is not None else f"rank {missing} did not answer within {PATIENCE_S:g} s"
            self._set(f"decision/{number}", json.dumps({"step": step}))
            if step is None:
                self._on_abandoned(commands, reason)
        decision = self._await_decision(number)
        step = None if decision is None else decision["step"]
        self._release(None if step is None else {"step": step, "commands": commands})
        while self.hold and not self._closed.wait(LISTEN_S):
            pass  # one at a time: the next proposal waits until this one is carried out

    def _vote(self, number: int) -> None:
        # The loop stores its step and then reads `hold`; we raise `hold` and then read the step. So either the
        # loop sees `hold` at that boundary, or we see the step it has gone past.
        with self._word:
            self.hold = True
        self._set(f"vote/{number}/{self._rank}", str(self._passed + 1))

    def _count(self, number: int) -> tuple[int | None, int]:
        """The highest vote; or None and a rank that neither voted nor left."""
        until = time.monotonic() + PATIENCE_S
        votes: dict[int, int] = {}
        left: set[int] = set()
        while len(votes) + len(left) < self._world_size:
            for rank in range(self._world_size):
                if rank in votes or rank in left:
                    continue
                if self._there(f"vote/{number}/{rank}"):
                    votes[rank] = int(self._get(f"vote/{number}/{rank}"))
                elif self._there(f"left/{rank}"):
                    left.add(rank)
            missing = [rank for rank in range(self._world_size) if rank not in votes and rank not in left]
            if missing and (time.monotonic() > until or self._closed.is_set()):
                return None, missing[0]
            if missing:
                self._closed.wait(LISTEN_S / 10)
        return max(votes.values()), -1

    def _await_decision(self, number: int) -> dict[str, Any] | None:
        import json

        until = time.monotonic() + GIVE_UP_S
        while not self._there(f"decision/{number}"):
            if time.monotonic() > until or (self._closed.is_set() and self._rank != 0):
                return None
            time.sleep(LISTEN_S / 10)
        decision: dict[str, Any] = json.loads(self._get(f"decision/{number}"))
        return decision

    def _release(self, decided: dict[str, Any] | None) -> None:
        with self._word:
            self._decided = decided
            self.hold = decided is not None
            self._word.notify_all()

    def _set(self, key: str, value: str) -> None:
        self._store.set(self._prefix + key, value)

    def _get(self, key: str) -> bytes:
        return self._store.get(self._prefix + key)

    def _there(self, key: str) -> bool:
        return self._store.check([self._prefix + key])


def rank_and_world_size() -> tuple[int, int]:
    """This process's global rank and how many there are: torch.distributed's word, else the launcher's variables."""
    torch = _torch_distributed()
    if torch is not None:
        return torch.get_rank(), torch.get_world_size()
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 0, 1


def connect() -> Store:
    """A connection of our own to the store the run was started with.

    Raises:
        Exception: torch or the store is missing; several ranks cannot agree then.
    """
    from datetime import timedelta

    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(seconds=PATIENCE_S)
    store: Store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=patience)
    return store


def run_prefix() -> str:
    """Keeps this start of the run apart from an earlier one: torchrun's store outlives its restarts."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "run")
    return f"forgather/{run}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/"


def _torch_distributed() -> Any:
    import sys

    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
