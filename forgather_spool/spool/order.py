"""What waiting jobs' owner does to them before they start: held aside, released, given another priority.

    hold          queue/<job>.p<N>.json   ->  held/<job>.p<N>.json
    release       held/<job>.p<N>.json    ->  queue/<job>.p<N>.json
    reprioritize  <folder>/<job>.p<N>     ->  <folder>/<job>.p<M>, in queue/ or held/
    replace_spec  tmp/<x>                <->  held/<job>.p<N>.json

Each is one rename of the name a claim would take: of the two exactly one wins,
and the other finds nothing. A program that dies leaves the job in one of the
two places, never in both and never in none. No dispatcher reads held/.
"""

from __future__ import annotations

from collections.abc import Iterable

from forgather_spool.document import Document
from forgather_spool.spool import files
from forgather_spool.spool.files import together
from forgather_spool.spool.names import Entry, entry_name
from forgather_spool.spool.place import Held, Queued
from forgather_spool.spool.queue import Spool


def hold(spool: Spool, entries: Iterable[Entry]) -> list[Entry]:
    """Keep waiting jobs from starting; durable on return. Those that were waiting still: the others were claimed."""
    return _moved(spool.paths.queue, spool.paths.held, entries)


def release(spool: Spool, entries: Iterable[Entry]) -> list[Entry]:
    """Let jobs on hold start again, at the place they had; durable on return. Those that were on hold still."""
    return _moved(spool.paths.held, spool.paths.queue, entries)


def reprioritize(spool: Spool, place: Queued | Held, priority: int) -> bool:
    """Give a waiting job another priority; durable on return. False: it is no longer at `place`."""
    target = spool.paths.waiting_at(place.job_id, priority, held=isinstance(place, Held))
    try:
        files.move(place.path, target)
    except FileNotFoundError:
        # NFS may lose the reply to a rename that was made: look at who owns the name, not at the errno.
        return files.exists(target)
    return True


def replace_spec(spool: Spool, place: Held, old: bytes, document: Document) -> bool:
    """Put `document` in the place of a job on hold, durable on return. False: it is gone, or no longer `old`.

    One exchange of two files. A rename onto it would make a second job of one
    that was released in this moment.

    Raises:
        Missing: this file system cannot (NFS); nothing changed.
    """
    staged = f"{spool.paths.tmp}/{files.temporary_name()}"
    try:
        files.write_once(staged, document, spool.paths.tmp)
        if not files.exchange(staged, place.path):
            return False
        if files.read_bytes(staged) == old:
            return True
        files.exchange(staged, place.path)
        return False
    finally:
        files.discard(staged)


def _moved(source: str, target: str, entries: Iterable[Entry]) -> list[Entry]:
    by_name = {entry_name(job_id, -minus): (minus, job_id) for minus, job_id in entries}
    return [by_name[name] for name in together.move_all(source, target, by_name)]
