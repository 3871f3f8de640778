"""How the jobs that others come after stand: not ended, ended as wanted, or never to be.

What has ended stays ended and is looked up once. What has not is looked up
again when its spec has left queue/ or running/ (`may_have_ended`), and at
every look at everything (`forget_unended`), which is how another host's ends
and cancels of held jobs are noticed: within a minute. A chain of a thousand
costs a dictionary look-up each pass, not a thousand files.

The id of an array stands for all its members: it has ended once all have, and
ended well if all did.

A job that lies in no folder is gone: somebody removed it. Who comes after it
in `any` case may start, and nobody else ever can.
"""

from __future__ import annotations

from collections.abc import Iterable

from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.frozen import dataclass
from forgather_spool.job import Result, format_at
from forgather_spool.outcome import Exited, Refused, describe
from forgather_spool.policy import MET, After, AfterState, Never, Unmet
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.families import members
from forgather_spool.spool.names import any_member, family_of, is_job_id, parse_entries
from forgather_spool.spool.place import (
    Queued,
    Rejected,
    Taken,
    locate,
    locate_at_a_glance,
)
from forgather_spool.spool.queue import Spool


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a job that moves no more. `ok` None: nobody knows."""

    ok: bool | None
    words: str


GONE = Fate(None, "is gone: it was removed")
NOBODY = Fate(None, "is no id of a job")
GLANCES = 64  # so many are looked for one by one, before all that has not ended is listed


class Dependencies:
    """Looks at one spool, and remembers."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._fates: dict[str, Fate] = {}
        self._unended: set[str] = set()
        self._unended_members: dict[str, set[str]] = {}  # by the id of their array
        self._listed = False
        self._glances_left = GLANCES

    def forget_unended(self) -> None:
        """Whatever was not at its end may be now."""
        self._unended.clear()
        self._unended_members.clear()
        self._listed = False
        self._glances_left = GLANCES

    def may_have_ended(self, job_id: str) -> None:
        """Its spec has left a folder."""
        self._unended.discard(job_id)
        self._unended_members.get(family_of(job_id) or "", set()).discard(job_id)

    def is_awaited(self, job_id: str) -> bool:
        """Whether this job, or array, has not ended."""
        return self._fate(job_id) is None

    def state(self, after: Iterable[After]) -> AfterState:
        """How these stand together. One that can never be met decides."""
        unmet = []
        for wish in after:
            fate = self._fate(wish.job_id)
            if fate is None:
                unmet.append(wish.job_id)
            elif not _is_met(wish, fate):
                return Never(f"{wish.job_id} {fate.words}, and this job wanted {_WANTED[wish.when]}")
        return Unmet(tuple(unmet)) if unmet else MET

    def _fate(self, job_id: str) -> Fate | None:
        """None: it has not ended."""
        fate = self._fates.get(job_id)
        if fate is not None:
            return fate
        if not is_job_id(job_id):  # a spec that somebody wrote: it may hold anything, and names no path of ours
            return NOBODY
        if not self._listed and not self._is_seen(job_id):
            self._list()
        if job_id in self._unended or self._unended_members.get(job_id):
            return None
        fate = self._look(job_id)
        if fate is not None:
            self._fates[job_id] = fate
        elif not self._unended_members.get(job_id):
            self._unended.add(job_id)
        return fate

    def _is_seen(self, job_id: str) -> bool:
        """Whether this one was found by itself: for a few, all that waits is not listed."""
        if job_id in self._unended:
            return True
        self._glances_left -= 1
        place = locate_at_a_glance(self._spool, job_id) if self._glances_left >= 0 else None
        if isinstance(place, (Queued, Taken)):
            self._unended.add(job_id)
        return place is not None

    def _list(self) -> None:
        paths = self._spool.paths
        folders = [paths.queue, paths.held, *map(paths.running_on, self._spool.hosts_with_jobs())]
        job_ids = [job_id for folder in folders for _, job_id in parse_entries(files.names(folder))]
        self._unended.update(job_ids)
        for job_id in job_ids if any_member(job_ids) else ():
            family = family_of(job_id)
            if family is not None:
                self._unended_members.setdefault(family, set()).add(job_id)
        self._listed = True

    def _look(self, job_id: str) -> Fate | None:
        """Mostly it has ended in the usual way: then its result names the folder, and nothing is listed."""
        result = self._result(job_id)
        if result is not None and files.exists(self._spool.paths.ended(format_at(result.ended_at)[:10], job_id)):
            return _fate_of(result)
        place = locate(self._spool, job_id)
        match place:
            case None:
                return self._of_members(job_id)
            case Rejected():
                return Fate(False, "was rejected")
            case Ended():
                result = self._result(job_id)
                return Fate(False, "ended, and its result cannot be read") if result is None else _fate_of(result)
            case _:
                return None

    def _of_members(self, family: str) -> Fate | None:
        fates = {job_id: self._look(job_id) for job_id in members(self._spool, family)}
        if not fates:
            return GONE
        self._unended_members[family] = {job_id for job_id, fate in fates.items() if fate is None}
        ended = [fate for fate in fates.values() if fate is not None]
        if len(ended) < len(fates):
            return None
        failed = sum(fate.ok is not True for fate in ended)
        words = f"{failed} of its {len(ended)} members failed" if failed else f"all {len(ended)} members ended well"
        return Fate(not failed, f"ended: {words}")

    def _result(self, job_id: str) -> Result | None:
        path = self._spool.paths.result(job_id, self._spool.attempt(job_id))
        try:
            return Result.from_document(files.read_document(path))
        except (FileNotFoundError, BadDocument, UnreadableFile):
            return None


def _fate_of(result: Result) -> Fate:
    if isinstance(result.outcome, Refused):  # without its reason: along a chain each would hold all those before it
        return Fate(False, "was refused")
    return Fate(result.outcome == Exited(0), f"ended: {describe(result.outcome)}")


def _is_met(wish: After, fate: Fate) -> bool:
    if wish.when == "any":
        return fate is not NOBODY
    return fate.ok is not None and fate.ok == (wish.when == "ok")


_WANTED = {"ok": "it to end well", "notok": "it to fail", "any": "it to end"}
