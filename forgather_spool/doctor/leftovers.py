"""Checks of what stands in the spool: damaged settings, names that are not ours, steps not taken to the end.

Most of it the next dispatcher settles by itself; what nobody would ever look
at again is what a person must hear of.
"""

from __future__ import annotations

import os
from collections import Counter

from forgather_spool.dispatcher.published import awake_pid, host_document
from forgather_spool.dispatcher.view import claim_of
from forgather_spool.dispatcher.wake import is_awake
from forgather_spool.doctor.finding import Subject, Verdict, fail, note, ok, some, warn
from forgather_spool.errors import BadDocument
from forgather_spool.host import proc
from forgather_spool.job import parse_at
from forgather_spool.spool import admit, files, settings
from forgather_spool.spool.names import Entry, parse_entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import Place, active_places, held_places, rejected_places, waiting_places

WAKE = "forgather sched list wakes a dispatcher, which settles it"
SILENT_S = 86_400.0


def check_settings(subject: Subject) -> Verdict:
    """Raises what reading them raises: a damaged file is never taken for the defaults."""
    dispatch = settings.dispatch(subject.spool.paths)
    policy = settings.gpu_policy(subject.spool.paths)
    if dispatch["paused"]:
        since = f" since {dispatch['paused_at']}" if dispatch["paused_at"] else ""
        return note(f"the queue is paused{since}: nothing starts", "forgather sched resume")
    disabled = sorted(key for key, card in policy.cards.items() if card.disabled)
    if disabled:
        return note(f"cards taken out of rotation: {some(disabled)}", "forgather gpu enable CARD")
    return ok("can be read; the queue is not paused")


def check_dispatcher(subject: Subject) -> Verdict:
    if is_awake(subject.spool.paths):
        pid = awake_pid(subject.spool, subject.host_name)
        return ok("awake" + (f", process {pid}" if pid else ""))
    waiting = len(subject.spool.waiting())
    incoming = admit.pending(subject.spool)
    if waiting or incoming:
        what = f"{waiting} jobs wait" if waiting else "files wait in incoming/"
        return warn(
            f"{what} and no dispatcher is awake on {subject.host_name}", "forgather dispatch --foreground says why"
        )
    return ok("asleep, as it should be with nothing to do")


def check_running(subject: Subject) -> Verdict:
    """Jobs that run by their files while their runner is gone. A dispatcher that is awake is settling them."""
    taken = subject.spool.taken(subject.host_name)
    gone = [entry[1] for entry in taken if not _has_runner(subject, entry)]
    if not gone:
        return ok(f"{len(taken)} on this host, each with its runner")
    if is_awake(subject.spool.paths):
        return ok(f"{len(taken)} on this host, {len(gone)} of them beginning or ending")
    return warn(f"their runner is gone: {some(gone)}", WAKE)


def _has_runner(subject: Subject, entry: Entry) -> bool:
    claim = claim_of(subject.spool, entry)
    if claim is None or claim.boot_id != proc.boot_id():
        return False
    return proc.is_alive(claim.runner_pid, claim.runner_start_ticks)


def check_names(subject: Subject) -> Verdict:
    """A name that is not ours is passed over for ever; a job in two places might start twice."""
    paths = subject.spool.paths
    folders = [
        paths.queue,
        paths.held,
        *(paths.running_on(host) for host in (*subject.spool.hosts_with_jobs(), CANCEL)),
    ]
    strange = [
        f"{os.path.basename(folder)}/{name}"
        for folder in folders
        for name in files.names(folder)
        if not parse_entry(name)
    ]
    twice = _in_two_places(subject)
    if twice:
        return fail(
            f"stands in several places: {some(twice)}", "pause, look at both files, and move one out of the spool"
        )
    if strange:
        return warn(
            f"not named as jobs are, and never started: {some(strange)}",
            f"move a job's file to {paths.incoming}/, anything else out of the spool",
        )
    return ok(f"{len(subject.spool.waiting())} jobs wait")


def _in_two_places(subject: Subject) -> list[str]:
    places: list[Place] = [*held_places(subject.spool), *waiting_places(subject.spool), *active_places(subject.spool)]
    counts = Counter(place.job_id for place in places)
    doubtful = [place for place in places if counts[place.job_id] > 1]
    # One that moved while we read the folders was seen in both: it stands in one of them now.
    standing = Counter(place.job_id for place in doubtful if os.path.lexists(place.path))
    return [job_id for job_id, count in standing.items() if count > 1]


def check_cancels(subject: Subject) -> Verdict:
    left = [job_id for _, job_id in subject.spool.taken(CANCEL)]
    if left:
        return note(f"cancelled and not put away yet: {some(left)}", WAKE)
    return ok("all put away")


def check_rejected(subject: Subject) -> Verdict:
    places = rejected_places(subject.spool)
    if places:
        names = [os.path.basename(place.path) for place in places]
        return note(f"set aside: {some(names)}", "forgather sched list --state rejected says why")
    return ok("none")


def check_temporary(subject: Subject) -> Verdict:
    tmp = subject.spool.paths.tmp
    old = [name for name in files.names(tmp) if _age_s(subject, f"{tmp}/{name}") > admit.TMP_MAX_AGE_S]
    if old:
        return note(f"{len(old)} that nobody writes any more", "the next dispatcher sweeps them")
    return ok("none is old")


def _age_s(subject: Subject, path: str) -> float:
    try:
        return subject.now_unix_s - os.lstat(path).st_mtime
    except OSError:
        return 0.0


def check_other_hosts(subject: Subject) -> Verdict:
    """Silence is not death: whose jobs these are is never decided from here."""
    others = [host for host in subject.spool.hosts_with_jobs() if host != subject.host_name]
    silent = [host for host in others if subject.spool.taken(host) and _silence_s(subject, host) > SILENT_S]
    if silent:
        return warn(
            f"have jobs and have said nothing for a day: {some(silent)}",
            "log in there and run forgather sched list; if it is gone for good, forgather sched cancel JOB",
        )
    return ok(f"{len(others)} with jobs")


def _silence_s(subject: Subject, host: str) -> float:
    published = host_document(subject.spool, host)
    try:
        return (
            float("inf") if published is None else subject.now_unix_s - parse_at(published["last_seen_at"]).timestamp()
        )
    except BadDocument:
        return float("inf")
