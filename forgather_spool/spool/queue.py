"""The queue: how a job enters the spool, is claimed, runs and ends.

A job's state is where its spec lies and which files stand in the folder of its
current attempt (`attempts.py`). Each file is written once, by one writer, and never edited; each step is one rename
or one create-once. So there is nothing to lock and nothing to tear.

    spec in          claim  started  result   state      who takes the next step
    queue/             -       -       -      waiting    a dispatcher (spec to running/)
    held/              -       -       -      held       whoever releases it (spec to queue/)
    running/<host>/    -       -       -      launching  its dispatcher (claim.json), or back to queue/
    running/<host>/    +       -       -      launching  the runner (claim to started), or back to queue/
    running/<host>/    -       +       -      running    the runner (result)
    running/<host>/    ?       ?       +      ending     its dispatcher, if it is run again (next attempt, queue/)
    running/<host>/    ?       ?       +      ending     else whoever sees it (spec to done/)
    running/@cancel/   -       -       ?      ending     whoever sees it (result `cancelled`, spec to done/)
    done/<day>/        ?       ?       +      done       nobody

A claim that cannot be read names no runner: its dispatcher died at it. A result that cannot be read is none: its runner
had the power cut.

Knows nothing of GPUs, systemd or HTTP. Deals in checked documents, not in the
values of `job.py`: submit and the runner must stay light.
"""

from __future__ import annotations

import time

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import AlreadyClaimed, BadDocument, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.sight import Sight


def utc_now() -> str:
    """Now as documents spell it: RFC 3339, UTC, microseconds."""
    now_ns = time.time_ns()
    seconds, ns = divmod(now_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns // 1000:06d}Z"


class Spool(Sight):
    """One spool: jobs are put into it as `Entrance` says, seen as `Sight` says, and go through it."""

    __slots__ = ()

    # -- steps of a dispatcher --------------------------------------------------------------------------------------

    def open_host(self, host: str) -> None:
        """Make running/<host>/, once before the first claim."""
        files.make_directory(self.paths.running_on(host))

    def claim(self, entry: Entry, host: str) -> bool:
        """Take a waiting job for `host`: the rename is the claim. `open_host` came before.

        Whether its folder is new: then nothing was ever written about it, and its attempt is the first.

        Nothing here is durable yet, nor in `write_claim`: a power cut puts the
        job back, and until `start` nothing of it has run.

        Raises:
            AlreadyClaimed: another was first; nothing changed.
        """
        self._take(entry, host, durable=False)
        return files.make_directory(self.paths.job(entry[1]), durable=False)

    def _take(self, entry: Entry, folder: str, *, durable: bool, held: bool = False) -> None:
        job_id, priority = entry[1], -entry[0]
        source = self.paths.waiting_at(job_id, priority, held=held)
        try:
            files.move(source, self.paths.taken(folder, job_id, priority), durable=durable)
        except FileNotFoundError:
            raise AlreadyClaimed(f"job {job_id} is no longer waiting") from None

    def write_claim(self, job_id: str, claim: Document, attempt: int | None = None) -> None:
        """Say who launches this attempt, before launching it. Raises FileExistsError: a claim stands already.

        Written in its place: whoever dies in here leaves a claim that nobody can read, and that names no runner.
        """
        from forgather_spool.document import dump
        from forgather_spool.spool.files.together import write_new

        write_new(self.paths.claim(job_id, attempt or self.attempt(job_id)), dump(claim))

    def withdraw_claim(self, job_id: str, attempt: int | None = None) -> bool:
        """Take claim.json away. False: it is gone, so a runner has renamed it to started.json, or nobody wrote it.

        The same one file is what the runner renames: exactly one of the two wins.
        """
        claim = self.paths.claim(job_id, attempt or self.attempt(job_id))
        aside = f"{self.paths.tmp}/{files.temporary_name()}"
        try:
            files.move(claim, aside)
        except FileNotFoundError:
            return False
        files.discard(aside)
        return True

    def put_back(self, entry: Entry, host: str) -> None:
        """From running/<host>/ to the queue, at the place it had. Only while nothing of it has started."""
        source = self.paths.taken(host, entry[1], -entry[0])
        try:
            files.move(source, self.paths.queued(entry[1], -entry[0]))
        except FileNotFoundError:
            return  # somebody else did it

    # -- steps of a runner ------------------------------------------------------------------------------------------

    def start(self, job_id: str, attempt: int | None = None, *, is_claim_durable: bool = False) -> bool:
        """Take the start of this attempt. False: the claim was withdrawn, and nothing may be run.

        From here on the attempt is on disk for good, with all that must not be
        undone: its folder, and in it the start. One commit of the disk has it
        all, since the rename comes before the syncs. A power cut among these
        may leave a start that cannot be read: the job is lost, and nothing of
        it has run. Where the spec lies is not synced; back in queue/, it has
        started all the same, and is settled instead of launched.

        `is_claim_durable`: `make_claim_durable` came before, and there is less to do.

        Raises:
            StorageFailed: perhaps it is taken, but not for good; nothing may be run.
        """
        attempt = attempt or self.attempt(job_id)
        claim, started = self.paths.claim(job_id, attempt), self.paths.started(job_id, attempt)
        try:
            files.move(claim, started, durable=False)
        except FileNotFoundError:
            return False
        if not is_claim_durable:
            files.make_durable(started)
            files.make_names_durable(self.paths.jobs)
        files.make_names_durable(self.paths.attempt(job_id, attempt))
        return True

    def make_claim_durable(self, job_id: str, attempt: int | None = None) -> None:
        """The claim's text and the job's folder, before its time has come: no harm if no `start` follows.

        Raises:
            FileNotFoundError: the claim was withdrawn.
            StorageFailed: never try it again, for the next sync may say that all is well (`files/syncing.py`).
        """
        files.make_durable(self.paths.claim(job_id, attempt or self.attempt(job_id)))
        files.make_names_durable(self.paths.jobs)

    # -- ending -----------------------------------------------------------------------------------------------------

    def write_result(self, job_id: str, result: Document, attempt: int | None = None) -> bool:
        """Say how this attempt ended; the first to say so is right. False: somebody had.

        One commit of the disk: a power cut before the return may leave one that
        cannot be read. Nobody has relied on that, and it is replaced.
        """
        attempt = attempt or self.attempt(job_id)
        if not self.has_started(job_id, attempt):  # a start stands in a folder that was made durable before it
            files.make_directory(self.paths.job(job_id))
        path = self.paths.result(job_id, attempt)
        try:
            files.write_once_in_one_commit(path, result, self.paths.tmp)
        except FileExistsError:
            if self.has_result(job_id, attempt):
                return False
            files.replace(path, result, self.paths.tmp)
        return True

    def finish(self, entry: Entry, host: str, ended_at: str, spec: Document | None = None) -> None:
        """From running/<host>/ to done/<day>/; result.json stands. Done already is fine.

        `ended_at` is the result's, and its day the folder. Whom the job wants
        told of its end is noted before, so that no crash in between forgets it;
        `spec` says whom, read here if it is not given.

        Not durable: a power cut may leave the spec where it lay, with a result
        beside it, and whoever sees that finishes it. `remove` makes sure first.
        """
        from forgather_spool.spool import notices

        day = ended_at[:10]
        source = self.paths.taken(host, entry[1], -entry[0])
        notices.owe(self.paths, source, entry[1], host, spec)
        target = self.paths.ended(day, entry[1])
        try:
            files.move(source, target, durable=False)
        except FileNotFoundError:
            if not files.exists(source):
                return
            files.make_directory(self.paths.done_on(day))  # the day's first
            try:
                files.move(source, target, durable=False)
            except FileNotFoundError:
                pass  # somebody else has finished it meanwhile

    def cancel_waiting(self, entry: Entry, by: str, *, held: bool = False) -> None:
        """End a job that has not been claimed. Raises AlreadyClaimed: it is running, released, held or gone."""
        self._take(entry, CANCEL, durable=True, held=held)
        self.end_unstarted(entry, CANCEL, by)

    def end_unstarted(self, entry: Entry, folder: str, by: str) -> None:
        """The rest of a cancel, whoever does it: result, then from running/<folder>/ to done/."""
        now, attempt = utc_now(), self.attempt(entry[1])
        self.write_result(entry[1], cancelled_result(by, attempt, now), attempt)
        self.finish(entry, folder, now)

    def ask_to_stop(
        self, job_id: str, *, by: str, force: bool = False, grace_s: float | None = None, attempt: int | None = None
    ) -> bool:
        """Leave word for the runner: TERM, grace, KILL; `force` is KILL at once. False: it was asked already."""
        path = self.paths.stop_request(job_id, attempt or self.attempt(job_id), force=force)
        request: Document = {
            "version": schema.VERSION,
            "force": force,
            "grace_s": grace_s,
            "by": by,
            "requested_at": utc_now(),
        }
        try:
            files.write_once(path, request, self.paths.tmp)
        except FileExistsError:
            return False
        files.make_names_durable(self.paths.jobs)  # before its start, the job's folder may not be
        return True

    def is_asked_to_give_way(self, job_id: str, attempt: int) -> bool:
        """Whether this attempt was asked to leave its cards to a job of higher priority."""
        return files.exists(self.paths.preempt_request(job_id, attempt))

    def asked_to_stop_by(self, job_id: str, attempt: int | None = None) -> str | None:
        """Who asked for it to stop; None: nobody did. A damaged request still counts as one."""
        attempt = attempt or self.attempt(job_id)
        for force in (True, False):
            path = self.paths.stop_request(job_id, attempt, force=force)
            try:
                return str(files.read_document(path).get("by", "somebody"))
            except FileNotFoundError:
                continue
            except (BadDocument, UnreadableFile):
                return "somebody"
        return None


def cancelled_result(by: str, attempt: int, ended_at: str) -> Document:
    """The result of a job that was cancelled before it ran."""
    return {
        "version": schema.VERSION,
        "attempt": attempt,
        "outcome": {"kind": "cancelled", "by": by},
        "started_at": None,
        "ended_at": ended_at,
    }
