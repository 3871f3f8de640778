"""Keys: of the jobs with one `unique` key at most one waits or runs.

    unique/<SHA-256 of the key>/<job_id>            an empty file: this job has the key
    unique/<SHA-256 of the key>/<job_id>.p<N>.json  its spec, on its way to queue/ or held/
    unique/@<host>.<pid>.<random>/                  the same two of a file out of incoming/, not given the key yet

The two files are made in a folder of tmp/, and the folder gets the key's name.
rename(2) replaces an empty folder and refuses one that holds something: so one
rename asks for the key and takes it, and of two at once one wins. The key of a
job that has ended is taken away by unlinking the file called after that job:
whoever comes late with that finds nothing, and can harm no other's key.

    died                                    what is there             what becomes of it
    while writing                           a folder in tmp/          swept
    after the rename                        key and spec              moved on by a dispatcher, or the key's next
    after the spec moved on                 the key of a job          taken away once the job has ended
    after an ended job's key was unlinked   an empty folder           the next rename replaces it
    with a dropped file, before the rename  unique/@.../ with a spec  a dispatcher asks for the key again

The spec of a dropped file is that very file, renamed: it is in one place only.
"""

from __future__ import annotations

import time

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, Busy, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.names import entry_name, is_job_id, new_job_id, parse_entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import Held, Queued, Taken, locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject

TRIES = 20  # each time another took the key and gave it back
STAGED = "@"
FORGETTING_S = 0.2  # for looking after keys of ended jobs when a dispatcher begins


def submit(spool: Spool, spec: Document) -> str:
    """As `Spool.submit`, unless another job with this key waits or runs.

    Raises:
        Busy: it does; the message names it.
        StorageFailed: nothing was submitted.
    """
    key, priority = str(spec["unique"]), spec.get("priority", 0)
    assert isinstance(priority, int)
    job_id, folder = new_job_id(), f"{spool.paths.tmp}/{files.temporary_name()}"
    name, target = entry_name(job_id, priority), _folder_of(spool, key)
    files.make_directory(folder, durable=False)
    try:
        files.write_once(f"{folder}/{name}", spec, spool.paths.tmp)
        files.mark(f"{folder}/{job_id}")
        _take(spool, folder, target, key)
        _move_on(spool, target, name, held=bool(spec.get("hold")))
    except FileNotFoundError:
        raise StorageFailed(f"{folder} was removed while it was written", hint="try again") from None
    except ForgatherError:
        files.discard_folder(folder)
        _take_back(spool, target, job_id, name)
        raise
    return job_id


def admit(spool: Spool, path: str, spec: Document) -> str:
    """Make the dropped file at `path` a job, whose checked `spec` has a key. Its id.

    Raises:
        BadDocument: another job has the key; the file lies where it lay.
        FileNotFoundError: another dispatcher was first.
    """
    key, priority = str(spec["unique"]), spec["priority"]
    assert isinstance(priority, int)
    try:
        _refuse_twin(spool, _folder_of(spool, key), key)
    except Busy as twin:
        raise BadDocument("$.unique", str(twin), hint=twin.hint) from None
    job_id = new_job_id()
    folder = f"{spool.paths.unique}/{STAGED}{files.temporary_name()}"
    files.make_directory(folder)
    files.mark(f"{folder}/{job_id}")
    try:
        files.move(path, f"{folder}/{entry_name(job_id, priority)}")
    except FileNotFoundError:
        files.discard_folder(folder)
        raise
    go_on_with(spool, folder)
    return job_id


def go_on(spool: Spool) -> list[str]:
    """Take on what others began and left; the ids of those that were rejected, since another has their key."""
    return [
        job_id
        for name in files.names(spool.paths.unique)
        if (job_id := go_on_with(spool, f"{spool.paths.unique}/{name}")) is not None
    ]


def go_on_with(spool: Spool, folder: str) -> str | None:
    """Take the next steps for one folder of unique/. The id of its job, if that was rejected."""
    name = next((name for name in files.names(folder) if parse_entry(name)), None)
    if name is None:
        return None
    try:
        spec = spool.spec_at(f"{folder}/{name}")
    except FileNotFoundError:
        return None  # somebody else took it on
    except (BadDocument, UnreadableFile) as error:
        return _set_aside(spool, folder, name, str(error))
    if folder.rpartition("/")[2].startswith(STAGED):
        key = str(spec["unique"])
        target = _folder_of(spool, key)
        try:
            _take(spool, folder, target, key)
        except FileNotFoundError:
            return None  # somebody else took it on
        except Busy as twin:
            return _set_aside(spool, folder, name, str(twin))
        folder = target
    _move_on(spool, folder, name, held=bool(spec["hold"]))
    return None


def forget_ended(spool: Spool, limit_s: float = FORGETTING_S) -> int:
    """Remove keys of jobs that have ended, for `limit_s` at most: it only saves space. How many."""
    forgotten, deadline = 0, time.monotonic() + limit_s
    for key in files.names(spool.paths.unique):
        if time.monotonic() > deadline:
            break
        folder = f"{spool.paths.unique}/{key}"
        names = files.names(folder)
        being_made = key.startswith(STAGED) and not files.writer_is_gone(key.removeprefix(STAGED))
        if being_made or any(parse_entry(name) for name in names):
            continue
        for name in names:
            if is_job_id(name) and not _is_going_on(spool, name):
                files.discard(f"{folder}/{name}")
        forgotten += files.remove_directory(folder)
    return forgotten


# -- steps ------------------------------------------------------------------------------------------------------------


def _folder_of(spool: Spool, key: str) -> str:
    """Whatever a key holds, its name is one that every file system takes."""
    import hashlib  # 3 ms to load, and most jobs have no key

    return f"{spool.paths.unique}/{hashlib.sha256(key.encode()).hexdigest()}"


def _take(spool: Spool, folder: str, target: str, key: str) -> None:
    """Give `folder` the key's name. Raises Busy: another job has the key."""
    for _ in range(TRIES):
        if files.take_name(folder, target):
            return
        _refuse_twin(spool, target, key)
    raise Busy(f"others take and give back the key {key!r} all the time", hint="try again in a moment")


def _refuse_twin(spool: Spool, target: str, key: str) -> None:
    """Raise Busy when a job has the key; the key of one that has ended is taken from it."""
    names = files.names(target)
    on_their_way = [entry[1] for name in names if (entry := parse_entry(name)) is not None]
    if on_their_way:
        go_on_with(spool, target)  # whoever put it there may have died
    for job_id in (*on_their_way, *(name for name in names if is_job_id(name))):
        if job_id in on_their_way or _is_going_on(spool, job_id):
            message = f"a job with the key {key!r} waits or runs already: {job_id}"
            raise Busy(message, hint=f"forgather job status {job_id}")
        files.discard(f"{target}/{job_id}")


def _is_going_on(spool: Spool, job_id: str) -> bool:
    """Whether it waits, is on hold or runs. One being cancelled will never start."""
    place = locate(spool, job_id)
    return isinstance(place, (Queued, Held)) or (isinstance(place, Taken) and place.host != CANCEL)


def _move_on(spool: Spool, folder: str, name: str, *, held: bool) -> None:
    entry = parse_entry(name)
    assert entry is not None
    try:
        files.move(f"{folder}/{name}", spool.paths.waiting_at(entry[1], -entry[0], held=held))
    except FileNotFoundError:
        pass  # somebody else did


def _take_back(spool: Spool, target: str, job_id: str, name: str) -> None:
    """It was not acknowledged, so better not there. Cannot fail: what is left is a job that runs."""
    for path in (f"{target}/{name}", f"{spool.paths.queue}/{name}", f"{spool.paths.held}/{name}", f"{target}/{job_id}"):
        try:
            files.discard(path)
        except StorageFailed:
            return


def _set_aside(spool: Spool, folder: str, name: str, why: str) -> str:
    entry = parse_entry(name)
    assert entry is not None
    reject(spool, f"{folder}/{name}", why)
    files.discard(f"{folder}/{entry[1]}")
    files.remove_directory(folder)
    return entry[1]
