"""Following one job: being woken when something of it changes, and looking then.

Inotify wakes; the files say what is true. Another host's writes on NFS wake
nobody, so every wait ends after `LOOK_AGAIN_S` at the latest. Reads only,
except that a job left between its result and done/ is moved on after a while:
whoever sees it may.
"""

from __future__ import annotations

import os
import select
import time

from forgather_spool.errors import NoSuchJob, WaitedLongEnough
from forgather_spool.job import Result, State, format_at
from forgather_spool.spool import files
from forgather_spool.spool.names import FIRST_ATTEMPT
from forgather_spool.spool.next_attempt import next_attempt
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import Held, Place, Queued, Taken, locate, state_at
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import CREATED, GONE, GROWN, Watch

LOOK_AGAIN_S = 1.0  # without any wake-up
ENDING_PATIENCE_S = 2.0  # for the runner, a millisecond from done/, before we take its last step

UNCLAIMED = (State.WAITING, State.HELD)
ENDED = (State.DONE, State.REJECTED)


class Follower:
    """One job. `with_output` also wakes when its output grows. A context manager; close it."""

    def __init__(self, spool: Spool, job_id: str, *, with_output: bool = False) -> None:
        self._spool = spool
        self._job_id = job_id
        self.attempt = FIRST_ATTEMPT  # the current one at the last look
        self._folder = spool.paths.job(job_id)
        self._folder_mask = CREATED | GONE | (GROWN if with_output else 0)
        self._place: Place | None = None
        self._ending_since: float | None = None
        self._watch = Watch()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self) -> State:
        """Its state now, and from here on `wait` hears of what changes it.

        Raises:
            NoSuchJob: it is not there, or was removed.
        """
        while True:
            self._find()
            assert self._place is not None
            self.attempt = self._spool.attempt(self._job_id)
            listening = self._listen(self._place)
            state = state_at(self._spool, self._place, self.attempt)
            if not listening and os.path.lexists(self._place.path):
                return self._moved_on(state)

    def wait(self, limit_s: float = LOOK_AGAIN_S) -> None:
        """Until something of the job may have changed; at most `limit_s`, and at most `LOOK_AGAIN_S`."""
        deadline = time.monotonic() + min(limit_s, LOOK_AGAIN_S)
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([self._watch.fileno()], [], [], left_s)[0]:
                return
            if any(self._concerns(*event) for event in self._watch.read()):
                return

    def wait_until_ended(self, deadline: float | None = None) -> State:
        """DONE or REJECTED, once it is so.

        Raises:
            WaitedLongEnough: the monotonic `deadline` came first.
        """
        while (state := self.look()) not in ENDED:
            left_s = LOOK_AGAIN_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise WaitedLongEnough(f"job {self._job_id} is still {state}", hint="it goes on; nothing was stopped")
            self.wait(left_s)
        return state

    def close(self) -> None:
        self._watch.close()

    def _find(self) -> None:
        if self._place is None or not os.path.lexists(self._place.path):
            self._place = locate(self._spool, self._job_id)
        if self._place is None:
            raise NoSuchJob(f"no job {self._job_id}: it was removed, or never was")

    def _listen(self, place: Place) -> bool:
        """Watch where the job lies now. True: something is watched anew, so look once more."""
        wanted = {}
        if isinstance(place, (Queued, Held, Taken)):
            wanted[os.path.dirname(place.path)] = GONE
            if os.path.isdir(self._folder):
                wanted[self._folder] = self._folder_mask
                wanted[self._spool.paths.attempt(self._job_id, self.attempt)] = self._folder_mask
            else:
                wanted[self._spool.paths.jobs] = CREATED
        for path in self._watch.paths() - wanted.keys():
            self._watch.remove(path)
        new = wanted.keys() - self._watch.paths()
        return any([self._watch.add(path, wanted[path]) for path in new])

    def _concerns(self, path: str, name: str, mask: int) -> bool:
        return bool(mask & Watch.OVERFLOW) or path.startswith(self._folder) or name.startswith(self._job_id)

    def _moved_on(self, state: State) -> State:
        """`state`; a job that stays ENDING is taken to done/, which the next look finds."""
        if state is not State.ENDING:
            self._ending_since = None
            return state
        now = time.monotonic()
        self._ending_since = now if self._ending_since is None else self._ending_since
        if now - self._ending_since >= ENDING_PATIENCE_S and isinstance(self._place, Taken):
            finish_ending(self._spool, self._place)
        return state


def finish_ending(spool: Spool, place: Taken) -> None:
    """The last step of a job whose result stands: into done/. Somebody else having done it is fine.

    A job that is run again is left alone: that step is its dispatcher's.

    Raises:
        BadDocument, UnreadableFile: its result is damaged; the dispatcher decides.
    """
    if place.host == CANCEL:
        spool.end_unstarted(place.entry, CANCEL, "a cancel that was interrupted")
        return
    try:
        attempt = spool.attempt(place.job_id)
        if next_attempt(spool, place.job_id, attempt, place.path) is not None:
            return
        result = Result.from_document(files.read_document(spool.paths.result(place.job_id, attempt)))
    except FileNotFoundError:
        return
    spool.finish(place.entry, place.host, format_at(result.ended_at))
