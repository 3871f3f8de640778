"""How a dropped file becomes a job, and where one goes that cannot.

Anybody puts ``*.json`` into incoming/ with mv or rsync. Admission is one
rename of that very file into the queue, so a crash can neither lose it nor
run it twice; what it says was checked before. What cannot be a job is set
aside in rejected/ with a ``.why`` beside it: never dropped, and never allowed
to hold up the others.

A program that cannot rename and sync cheaply (plain sh) acknowledges earlier:
a file in tmp/ called ``<host>.<pid>.<12 hex digits>.json`` is a job once it is
synced, and its writer moves it to incoming/ after it has answered. What a dead
writer left there is moved on by any dispatcher.

Also sweeps tmp/, where only files nobody writes any more are removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from forgather_spool import schema
from forgather_spool.document import Document, parse
from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.spool import batch, files, unique
from forgather_spool.spool.entering import check_words
from forgather_spool.spool.names import new_job_id
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject

STILL_WRITING_S = 1.0  # a copy in place is torn for a moment; patience before it is called damaged
NOT_JSON_PATIENCE_S = 60.0  # foo.json.part becomes foo.json, or it was a mistake
TMP_MAX_AGE_S = 3600.0  # of another host's temporary files; must outlast every live writer


def admit(spool: Spool) -> Iterator[tuple[str, str]]:
    """Take in what lies in incoming/. Yields ``(name, job_id)`` for each admitted file, ``(name, "")`` if rejected.

    Files still being copied stay for the next look. Names beginning with a
    dot are somebody's temporary files (rsync's) and are left alone.

    Raises:
        StorageFailed: once all were tried; one could not be read or moved now.
    """
    failed = None
    found = sorted(files.names(spool.paths.incoming))
    if any(map(_came_by_tmp, found)):
        for folder in (spool.paths.tmp, spool.paths.incoming):
            files.sync_names(folder)  # or a power cut brings it back to tmp/ once it is a job, and it becomes another
    for name in found:
        if name.startswith("."):
            continue
        path = f"{spool.paths.incoming}/{name}"
        age_s = _distance_s(path)
        if age_s is None or (not name.endswith(".json") and age_s < NOT_JSON_PATIENCE_S):
            continue
        try:
            job_id = _admit_or_reject(spool, path, age_s)
        except FileNotFoundError:
            continue  # taken back, or admitted by another host's dispatcher
        except StorageFailed as error:
            failed = error
            continue
        if job_id is not None:
            yield name, job_id
    if failed is not None:
        raise failed


def pending(spool: Spool) -> bool:
    """Whether incoming/ holds a file that is, or will be, decided on, or batches/ a job on its way."""
    return any(not name.startswith(".") for name in files.names(spool.paths.incoming)) or batch.pending(spool)


def acknowledged(spool: Spool) -> bool:
    """Whether tmp/ or incoming/ may hold a job that was acknowledged and has no id yet."""
    return any(map(_came_by_tmp, files.names(spool.paths.tmp))) or pending(spool)


def _admit_or_reject(spool: Spool, path: str, age_s: float) -> str | None:
    """Its new id; empty: it was rejected; None: it is left for the next look, since it may still be being written."""
    try:
        return _admit_one(spool, path)
    except (BadDocument, UnreadableFile) as error:
        if age_s < STILL_WRITING_S and os.path.isfile(path) and not os.path.islink(path):
            return None
        reject(spool, path, str(error), error.hint)
        return ""


def _admit_one(spool: Spool, path: str) -> str:
    if not path.endswith(".json"):
        raise BadDocument("$", "the file's name does not end in .json")
    data = files.read_bytes(path)
    spec = schema.check(parse(data), schema.SPEC, unknown="refuse")
    check_words(spec)
    if spec["array"] is not None:
        return _admit_array(spool, path, spec, data)
    files.make_private(path)
    if spec["unique"]:
        return unique.admit(spool, path, spec)
    priority = spec["priority"]
    assert isinstance(priority, int)
    job_id = new_job_id()
    files.move(path, spool.paths.waiting_at(job_id, priority, held=bool(spec["hold"])))
    return job_id


def _admit_array(spool: Spool, path: str, spec: Document, data: bytes) -> str:
    members = batch.Batch(spool)
    try:
        family = members.add(spec, data)
        members.commit_dropped(path)
    except (BadDocument, FileNotFoundError, StorageFailed):
        members.abandon()
        raise
    return family


def move_on(spool: Spool) -> int:
    """Move files of tmp/ that may be acknowledged to incoming/, where their writer did not live to do it; how many.

    Raises StorageFailed.
    """
    moved = 0
    for name in filter(_came_by_tmp, files.names(spool.paths.tmp)):
        if _is_left(f"{spool.paths.tmp}/{name}"):
            try:
                files.move(f"{spool.paths.tmp}/{name}", f"{spool.paths.incoming}/{name}")
            except FileNotFoundError:
                continue  # its writer, dead by now, had begun to
            moved += 1
    return moved


def _came_by_tmp(name: str) -> bool:
    return name.endswith(".json") and files.is_temporary_name(name.removesuffix(".json"))


def sweep_tmp(spool: Spool) -> int:
    """Remove temporary files whose writer is gone; how many. Names are ``<host>.<pid>.<random>``, see `files`."""
    swept = 0
    for name in files.names(spool.paths.tmp):
        path = f"{spool.paths.tmp}/{name}"
        if not _came_by_tmp(name) and _is_left(path):
            if os.path.isdir(path) and not os.path.islink(path):
                batch.remove_folder(path)
            else:
                files.discard(path)
            swept += 1
    return swept


def _is_left(path: str) -> bool:
    """Whether nobody writes this file of tmp/ any more."""
    return files.writer_is_gone(os.path.basename(path)) or (_age_s(path) or 0.0) > TMP_MAX_AGE_S


def _distance_s(path: str) -> float | None:
    """Seconds between its last write and now; None: it is gone.

    A time to come is as far away as one long past: a clock that was set back
    must not keep a bad file in everybody's way for an hour.
    """
    age_s = _age_s(path)
    return None if age_s is None else abs(age_s)


def _age_s(path: str) -> float | None:
    """Seconds since it was last written, by this machine's clock, below 0 for a time to come; None: it is gone."""
    try:
        return time.time() - os.lstat(path).st_mtime
    except OSError:
        return None
