"""Waiting for several jobs to end, with one inotify instance however many they are.

A job has ended once its spec lies in done/ or rejected/, so those folders wake
us, and the name says which. What is not heard (another host's rename on NFS,
events that were lost) is found by looking: at the names done/ would have for
our jobs every few seconds, and at the whole spool now and then. Reads only,
except that a job left between its result and done/ is moved on, as by whoever
sees it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable

from forgather_spool.errors import NoSuchJob
from forgather_spool.job import State
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.families import FEW, where
from forgather_spool.spool.follow import finish_ending
from forgather_spool.spool.place import Rejected, Taken, active_places, locate, state_at
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import CREATED, Watch

GLANCE_S = 2.0  # between looks at the newest day of done/
LOOK_S = 30.0  # between looks at everything: 100,000 queued jobs take a twentieth of a second


class Ends:
    """The ends of `job_ids`, each told once, in the order they are seen. A context manager; close it."""

    def __init__(self, spool: Spool, job_ids: Iterable[str]) -> None:
        self._spool = spool
        self.left = dict.fromkeys(job_ids)
        self._was_ending: set[str] = set()
        self._look_at = 0.0
        self._watch = Watch()
        for folder in (spool.paths.done, spool.paths.rejected):
            self._watch.add(folder, CREATED)

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()

    def next(self, deadline: float | None = None) -> list[str]:
        """Those that have ended since the last call, at least one; none when the monotonic `deadline` came first.

        Raises:
            NoSuchJob: one of them is nowhere: it was removed.
        """
        while self.left:
            ended = self._look() if time.monotonic() >= self._look_at else self._glance()
            if ended:
                return ended
            heard = self._hear(deadline)
            if heard is None:
                return []
            if heard:
                return heard
        return []

    def _hear(self, deadline: float | None) -> list[str] | None:
        """Those whose arrival was heard within `GLANCE_S`. None: the deadline came."""
        until = min(time.monotonic() + GLANCE_S, self._look_at)
        while (left_s := min(until, deadline or until) - time.monotonic()) > 0:
            if not select.select([self._watch.fileno()], [], [], left_s)[0]:
                break
            ended = []
            for folder, name, mask in self._watch.read():
                if mask & Watch.OVERFLOW:
                    self._look_at = 0.0
                elif folder == self._spool.paths.done:
                    return self._glance()  # a new day
                elif name.removesuffix(".json") in self.left:
                    ended.append(name.removesuffix(".json"))
                elif folder == self._spool.paths.rejected:
                    self._look_at = 0.0
            if ended or not self._look_at:
                return self._take(ended)
        return None if deadline is not None and time.monotonic() >= deadline else []

    def _glance(self) -> list[str]:
        """Those that lie in the newest day's folder."""
        days = sorted(files.names(self._spool.paths.done))[-1:]
        for day in days:
            folder = self._spool.paths.done_on(day)
            if folder not in self._watch.paths():
                self._watch.add(folder, CREATED)
        return self._take(
            [job_id for job_id in self.left for day in days if files.exists(self._spool.paths.ended(day, job_id))]
        )

    def _look(self) -> list[str]:
        """Those that have ended, from everything there is."""
        self._look_at = time.monotonic() + LOOK_S
        found = self._glance()
        going_on = {job_id for _, job_id in (*self._spool.waiting(), *self._spool.held())}
        for place in active_places(self._spool):
            going_on.add(place.job_id)
            if place.job_id in self.left:
                self._move_on(place)
        missing = [job_id for job_id in self.left if job_id not in going_on]
        at = where(self._spool, missing) if len(missing) > FEW else {}
        for job_id in missing:
            place_now = at.get(job_id) or locate(self._spool, job_id)
            if place_now is None:
                raise NoSuchJob(f"no job {job_id}: it was removed, or never was")
            if isinstance(place_now, (Ended, Rejected)):
                found += self._take([job_id])
        return found

    def _move_on(self, place: Taken) -> None:
        """The second time it is found between its result and done/, nobody else is going to do it."""
        if state_at(self._spool, place) is not State.ENDING or not os.path.lexists(place.path):
            return
        if place.job_id in self._was_ending:
            finish_ending(self._spool, place)
        self._was_ending.add(place.job_id)
        self._look_at = min(self._look_at, time.monotonic() + GLANCE_S)

    def _take(self, ended: list[str]) -> list[str]:
        for job_id in ended:
            self.left.pop(job_id, None)
        return ended
