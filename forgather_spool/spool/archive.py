"""The history as one tar: what `forgather export` writes and `forgather import` reads.

    forgather-export.json          first: the format's version, when, where from
    jobs/<job_id>/...              the files of a job's folder, as they lie in the home
    done/<day>/<job_id>.json       its spec, after all its files: from here on the job is whole
    forgather-export-end.json      last: how many jobs; an archive without it was cut off

Unpacked by hand it shows the files where the spool has them. Left out: what
only mattered while a trainer ran (its endpoint and its token), and with
``logs=False`` the output. Knows nothing of compression or of a file's name.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from forgather_spool import __version__
from forgather_spool.document import Document, dump
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.output import output_names
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool, utc_now

FORMAT_VERSION = 1
MANIFEST = "forgather-export.json"
END = "forgather-export-end.json"
JOBS, DONE = "jobs", "done"
MAX_DEPTH = 4  # attempt-2/control/<command>.json is 3
NOT_EXPORTED = ("auth_token", "endpoint.json", "removed.json", "imported.json")


@dataclass(slots=True)
class Written:
    """What went into the archive. `vanished`: jobs somebody removed meanwhile."""

    jobs: int = 0
    vanished: int = 0


def write_archive(spool: Spool, places: Iterable[Ended], out: IO[bytes], *, logs: bool) -> Written:
    """The archive of these jobs, in this order, onto `out`.

    Raises:
        StorageFailed: a file cannot be read now, or `out` takes no more.
    """
    written = Written()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        host = os.uname().nodename
        about: Document = {"version": FORMAT_VERSION, "exported_at": utc_now(), "host": host, "by": __version__}
        _add(tar, MANIFEST, dump({**about, "logs": logs}))
        for place in places:
            if _add_job(tar, spool.paths, place, logs):
                written.jobs += 1
            else:
                written.vanished += 1
        _add(tar, END, dump({"jobs": written.jobs}))
    return written


def _add_job(tar: tarfile.TarFile, paths: Paths, place: Ended, logs: bool) -> bool:
    """False: it was removed meanwhile; what stands in the archive of it has no spec, and is no job to a reader."""
    folder = paths.job(place.job_id)
    try:
        spec = files.read_bytes(place.path)
        for name in _files_below(folder, "", logs):
            _add_file(tar, f"{folder}/{name}", f"{JOBS}/{place.job_id}/{name}")
        files.read_bytes(place.path)
    except FileNotFoundError:
        return False
    _add(tar, f"{DONE}/{place.day}/{place.job_id}.json", spec)
    return True


def _files_below(folder: str, prefix: str, logs: bool) -> list[str]:
    """Regular files, in order; links and whatever else somebody left there are not ours."""
    found: list[str] = []
    names = sorted(files.names(f"{folder}/{prefix}"))
    left_out = {*NOT_EXPORTED, *([] if logs else output_names(names))}
    for name in names:
        path = f"{folder}/{prefix}{name}"
        if name in left_out or name.startswith("."):
            continue
        if files.is_directory(path) and prefix.count("/") < MAX_DEPTH - 1:
            found += _files_below(folder, f"{prefix}{name}/", logs)
        elif os.path.isfile(path) and not os.path.islink(path):
            found.append(prefix + name)
    return found


def _add_file(tar: tarfile.TarFile, path: str, name: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise files.failed("read", path, error) from None
    with open(fd, "rb") as file:
        stat = os.fstat(fd)
        tar.addfile(_header(name, stat.st_size, stat.st_mtime), file)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_header(name, len(data), 0), io.BytesIO(data))


def _header(name: str, size_bytes: int, written_at: float) -> tarfile.TarInfo:
    """Nothing of this machine's users: only a name, a size and a time."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime, header.mode = size_bytes, int(written_at), files.FILE_MODE
    return header
