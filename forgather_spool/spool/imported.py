"""Taking ended jobs out of an archive: each whole or not at all, and none that is here already.

    1. its files, and its spec as imported.json, into a folder of tmp/; durable
    2. that folder is renamed to jobs/<job_id>/
    3. jobs/<job_id>/imported.json is renamed to done/<day>/<job_id>.json: now it is listed

Many jobs take each step together, so that one sync serves them all. Killed
after the second step, a job lies whole and unlisted in jobs/; the next import
or cleanup takes the third (`finish_import`).

An archive is somebody else's file: nothing is unpacked by the library. A member
is a regular file with a name that `archive.py` would give it, within the limits
below, or the archive is refused there and then; jobs before that stay.
"""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass, field
from typing import IO, cast

from forgather_spool import schema
from forgather_spool.document import MAX_DOCUMENT_BYTES, Document, parse
from forgather_spool.errors import BadDocument, UnreadableFile
from forgather_spool.job import Result
from forgather_spool.spool import files
from forgather_spool.spool.archive import DONE, END, FORMAT_VERSION, JOBS, MANIFEST, MAX_DEPTH, NOT_EXPORTED
from forgather_spool.spool.files import together
from forgather_spool.spool.names import FIRST_ATTEMPT, is_job_id, parse_attempt
from forgather_spool.spool.place import all_job_ids
from forgather_spool.spool.queue import Spool

MAX_JOB_BYTES = 10 << 30
MAX_JOB_FILES = 100_000
MAX_NAME_BYTES = 200
_NEWER = "import it with the forgather that wrote it, or a newer one"
COPY_BYTES = 1 << 20
TOGETHER = 500  # jobs that take each step at once
TOGETHER_BYTES = 256 << 20


@dataclass(slots=True)
class Imported:
    """What came of an import: ids. `refused` says why for each."""

    jobs: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def read_archive(spool: Spool, source: IO[bytes], *, max_job_bytes: int = MAX_JOB_BYTES) -> Imported:
    """Take in every job of the tar on `source` that is not here; durable on return.

    Raises:
        UnreadableFile: no archive of ours, one of a newer version, or cut off; jobs before that are in.
        StorageFailed: no room; jobs before that are in.
    """
    reader = _Reader(spool, max_job_bytes)
    try:
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", _Ending(source)), mode="r|", tarinfo=_Member) as tar:
                reader.read(tar)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise UnreadableFile(f"the archive cannot be read: {error}") from None
    except UnreadableFile as error:
        reader.commit()
        raise UnreadableFile(str(error), hint=error.hint or reader.how_far()) from None
    finally:
        reader.close()
    return reader.found


def finish_import(spool: Spool, job_id: str) -> bool:
    """The last step of an import that was interrupted. False: there is none, or somebody else took it."""
    path = spool.paths.imported(job_id)
    if not files.exists(path):
        return False
    try:
        day = _day(spool.paths.job(job_id))
        files.make_directory(spool.paths.done_on(day))
        files.move(path, spool.paths.ended(day, job_id))
    except (BadDocument, UnreadableFile, FileNotFoundError):
        return False
    return True


class _Member(tarfile.TarInfo):
    """A member whose own header is of sane length: the library reads that into memory whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) and self.size > MAX_DOCUMENT_BYTES:
            raise tarfile.ReadError("a header that no export writes")
        try:
            member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        except (ValueError, OverflowError, IndexError, RecursionError) as error:
            raise tarfile.ReadError(f"a header nobody can read: {type(error).__name__}") from None
        return member


class _Ending:
    """A source that says when it has ended: the library goes on reading for as long as a header's size says."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._has_ended = False

    def read(self, size: int) -> bytes:
        """Nothing, once, at the end. Raises EOFError after that."""
        data = self._source.read(size)
        if not data and self._has_ended:
            raise EOFError("it ends in the middle of a file")
        self._has_ended = not data
        return data


class _Reader:
    """`found` grows by whole groups: what is in it is durable."""

    def __init__(self, spool: Spool, max_job_bytes: int) -> None:
        self.found = Imported()
        self._spool = spool
        self._max_job_bytes = max_job_bytes
        for job_id in files.names(spool.paths.jobs):
            finish_import(spool, job_id)
        self._known = all_job_ids(spool)
        self._group = f"{spool.paths.tmp}/{files.temporary_name()}"
        self._staged: list[str] = []
        self._staged_bytes = 0
        self._job_id = ""  # the job whose files are coming
        self._job_bytes = self._job_files = 0

    def read(self, tar: tarfile.TarFile) -> None:
        files.make_directory(self._group)
        _check_manifest(tar, tar.next())
        while (member := tar.next()) is not None:
            if member.name == END:
                self._begin("")
                self.commit()
                return
            self._take(tar, member)
            tar.members.clear()  # type: ignore[attr-defined]  # it remembers all it has met
        raise UnreadableFile("the archive ends too early")

    def how_far(self) -> str:
        if not self.found.jobs:
            return "no job was imported; it is to be a file that forgather export wrote"
        return f"{len(self.found.jobs)} jobs were imported before that; importing again goes on from there"

    def close(self) -> None:
        files.remove_tree(self._group)

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        kind, job_id, name = _parts(member)
        if job_id != self._job_id:
            self._begin(job_id)
        if self._is_here(job_id):
            if kind == DONE and job_id not in self.found.refused:
                self.found.kept.append(job_id)
            return
        if job_id in self.found.refused:
            return
        self._job_bytes += member.size
        self._job_files += 1
        if self._job_bytes > self._max_job_bytes or self._job_files > MAX_JOB_FILES:
            self._refuse(job_id, f"larger than {self._max_job_bytes:,} bytes or {MAX_JOB_FILES:,} files")
            return
        self._copy(tar, member, "imported.json" if kind == DONE else name)
        if kind == DONE:
            self._end(job_id)

    def _begin(self, job_id: str) -> None:
        """Another job's files begin. One that has no spec by now was removed while it was exported: no job."""
        if self._job_id and self._job_id not in self._staged:
            files.remove_tree(f"{self._group}/{self._job_id}")
        if len(self._staged) >= TOGETHER or self._staged_bytes > TOGETHER_BYTES:
            self.commit()
        self._job_id, self._job_bytes, self._job_files = job_id, 0, 0

    def _is_here(self, job_id: str) -> bool:
        return job_id in self._known or job_id in self._staged or files.exists(self._spool.paths.job(job_id))

    def _refuse(self, job_id: str, why: str) -> None:
        files.remove_tree(f"{self._group}/{job_id}")
        self.found.refused[job_id] = why

    def _copy(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        folder = f"{self._group}/{self._job_id}"
        for part in ["", *name.split("/")[:-1]]:
            folder = f"{folder}/{part}" if part else folder
            together.make_folder(folder)
            if not files.is_directory(folder):
                self._refuse(self._job_id, f"{part} is there as a file and as a folder")
                return
        source = tar.extractfile(member)
        assert source is not None
        try:
            together.write_new_from(f"{self._group}/{self._job_id}/{name}", iter(lambda: source.read(COPY_BYTES), b""))
        except FileExistsError:
            self._refuse(self._job_id, f"{name} is there twice")

    def _end(self, job_id: str) -> None:
        """All of it is staged: is it a job that has ended?"""
        folder = f"{self._group}/{job_id}"
        try:
            schema.check(files.read_document(f"{folder}/imported.json"), schema.SPEC)
            _day(folder)
        except FileNotFoundError:
            self._refuse(job_id, "it has no result")
        except (BadDocument, UnreadableFile) as error:
            self._refuse(job_id, str(error).replace(f"{folder}/", ""))
        else:
            self._staged.append(job_id)
            self._staged_bytes += self._job_bytes

    def commit(self) -> None:
        """Have all that is staged and whole, durably."""
        if not self._staged:
            return
        paths = self._spool.paths
        together.sync_file_system(self._group)
        here = [job_id for job_id in self._staged if together.rename_new(f"{self._group}/{job_id}", paths.job(job_id))]
        together.sync_file_system(paths.jobs)
        days = {job_id: _day(paths.job(job_id)) for job_id in here}
        for day in set(days.values()):
            files.make_directory(paths.done_on(day))
        for job_id, day in days.items():
            together.rename_new(paths.imported(job_id), paths.ended(day, job_id))
        together.sync_file_system(paths.done)
        self.found.kept += sorted(set(self._staged).difference(here))
        self.found.jobs += here
        self._known.update(here)
        self._staged, self._staged_bytes = [], 0


def _check_manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> None:
    hint = "only what forgather export wrote can be imported"
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MAX_DOCUMENT_BYTES:
        raise UnreadableFile("this is no archive of ours", hint=hint)
    source = tar.extractfile(member)
    assert source is not None
    try:
        version = parse(source.read()).get("version")
    except BadDocument as error:
        raise UnreadableFile(f"{MANIFEST}: {error}", hint=hint) from None
    if version != FORMAT_VERSION:
        raise UnreadableFile(f"the archive's format is version {version}, not {FORMAT_VERSION}", hint=_NEWER)


def _parts(member: tarfile.TarInfo) -> tuple[str, str, str]:
    """``(JOBS or DONE, job id, the file's name below the job's folder)``.

    Raises:
        UnreadableFile: nothing that `archive.py` writes.
    """
    parts = member.name.split("/")
    kind, names = parts[0], parts[2:]
    is_file = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    is_named_so = 1 <= len(names) <= MAX_DEPTH and all(map(_is_plain, names)) and names[0] not in NOT_EXPORTED
    if is_file and kind == JOBS and is_named_so and is_job_id(parts[1]):
        return JOBS, parts[1], "/".join(names)
    if is_file and kind == DONE and len(names) == 1 and member.size <= MAX_DOCUMENT_BYTES:
        job_id = names[0].removesuffix(".json")
        if job_id != names[0] and is_job_id(job_id):
            return DONE, job_id, ""
    raise UnreadableFile(f"the archive holds {member.name[:MAX_NAME_BYTES]!r}, which no export writes")


def _is_plain(name: str) -> bool:
    return bool(name) and name.isascii() and name.isprintable() and name[0] != "." and len(name) <= MAX_NAME_BYTES


def _day(folder: str) -> str:
    """The day the job of this folder ended, from the result of its last attempt.

    Raises:
        FileNotFoundError, BadDocument, UnreadableFile: there is none that says.
    """
    return _result(folder).ended_at.date().isoformat()


def _result(folder: str) -> Result:
    numbers = [number for name in files.names(folder) if (number := parse_attempt(name)) is not None]
    last = max([FIRST_ATTEMPT, *numbers])
    path = f"{folder}/result.json" if last == FIRST_ATTEMPT else f"{folder}/attempt-{last}/result.json"
    document: Document = files.read_document(path)
    return Result.from_document(document)
