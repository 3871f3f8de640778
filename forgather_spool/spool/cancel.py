"""Cancelling many waiting jobs at once: one at a time each costs half a dozen fsyncs.

    1  specs renamed to running/@cancel/, synced once     none of them will start; a dispatcher would do the rest
    2  jobs/<job_id>/result.json, names of one file that is durable already
    3  one syncfs
    4  specs renamed to done/<day>/, synced once

Whoever dies, or is refused, after the first step leaves jobs in
running/@cancel/, which any dispatcher ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from forgather_spool.document import Document, dump
from forgather_spool.errors import AlreadyClaimed
from forgather_spool.spool import files, notices
from forgather_spool.spool.files import together
from forgather_spool.spool.names import FIRST_ATTEMPT, Entry, entry_name
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool, cancelled_result, utc_now

FEW = 8  # so many are cancelled one by one: a sync of the whole file system waits for everybody's data


def cancel_many(spool: Spool, entries: Sequence[Entry], by: str, *, held: bool = False) -> list[str]:
    """End jobs that wait, or with `held` are on hold; the ids of those that were still there, in that order.

    The others have been claimed, released or cancelled by somebody else.

    Raises:
        StorageFailed: what was taken out of the queue by then never starts.
    """
    if len(entries) <= FEW:
        return [entry[1] for entry in entries if _cancelled(spool, entry, by, held=held)]
    by_name = {entry_name(job_id, -minus): (minus, job_id) for minus, job_id in entries}
    source = spool.paths.held if held else spool.paths.queue
    taken = [by_name[name] for name in together.move_all(source, spool.paths.running_on(CANCEL), by_name)]
    fresh = [entry for entry in taken if not files.exists(spool.paths.job(entry[1]))]
    if fresh:
        _end_together(spool, fresh, by)
    for entry in set(taken) - set(fresh):  # it ran before, and was to run again
        spool.end_unstarted(entry, CANCEL, by)
    return [job_id for _, job_id in taken]


def _cancelled(spool: Spool, entry: Entry, by: str, *, held: bool) -> bool:
    try:
        spool.cancel_waiting(entry, by, held=held)
    except AlreadyClaimed:
        return False
    return True


def _end_together(spool: Spool, entries: Sequence[Entry], by: str) -> None:
    ended_at = utc_now()
    _leave_results(spool, entries, cancelled_result(by, FIRST_ATTEMPT, ended_at))
    for entry in entries:
        notices.owe(spool.paths, spool.paths.taken(CANCEL, entry[1], -entry[0]), entry[1], CANCEL)
    together.sync_file_system(spool.paths.jobs)
    day = ended_at[:10]
    files.make_directory(spool.paths.done_on(day))
    renamed = {entry_name(job_id, -minus): f"{job_id}.json" for minus, job_id in entries}
    together.move_all(spool.paths.running_on(CANCEL), spool.paths.done_on(day), renamed, renamed.__getitem__)


def _leave_results(spool: Spool, entries: Iterable[Entry], result: Document) -> None:
    """Whose result stands already, by a dispatcher that was at it too, keeps that."""
    source = ""
    try:
        for _, job_id in entries:
            together.make_folder(spool.paths.job(job_id))
            path = spool.paths.result(job_id, FIRST_ATTEMPT)
            try:
                if not source or not together.link_new(source, path):
                    full, source = source, _stage(spool, result)
                    _discard(full)
                    _link_or_write(source, path, result)
            except FileExistsError:
                continue
    finally:
        _discard(source)


def _link_or_write(source: str, path: str, result: Document) -> None:
    if not together.link_new(source, path):  # no file here can have two names
        files.write_once(path, result, os.path.dirname(source))


def _discard(path: str) -> None:
    if path:
        files.discard(path)


def _stage(spool: Spool, result: Document) -> str:
    path = f"{spool.paths.tmp}/{files.temporary_name()}"
    together.write_new(path, dump(result))
    files.make_private(path)
    return path
