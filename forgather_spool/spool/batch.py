"""Many jobs at once: they enter the spool together, or none of them does.

    tmp/<host>.<pid>.<random>/     being written; nobody else looks at it, a sweep removes it once its writer is gone
    tmp/.../  with spec.json       an array out of incoming/ whose members stand: as good as the next line
    batches/<id>/                  acknowledged: each file is on its way into queue/, out of its folder held/ into held/

Files are written without any fsync, from line 1,001 on by a second process
while this one checks the next, made durable by one `syncfs`, and the folder's
rename into batches/ is the acknowledgement. Then each file is renamed to where
it belongs, by the submitter, or by a dispatcher when that one died; both at
once is fine, since each rename has one winner. An empty folder goes.

The members of an array are names of one file. An array dropped into incoming/
is written out in tmp/ first, and the rename of the dropped file into that
folder, as spec.json, is what makes it one: of two dispatchers one wins, and
one that dies has done nothing or all of it.

    died                                   what is there                what finishes it
    while writing                          a folder in tmp/             the sweep removes it
    the second process, while writing      the same                     the first, which submits nothing
    after syncfs                           the same                     the same: nothing was acknowledged
    after a dropped array became spec.json tmp/.../spec.json, members   the sweep moves it to batches/
    after the rename into batches/         batches/<id>/                any dispatcher, or the next cancel
    while moving the files                 the rest of them             the same
"""

from __future__ import annotations

from forgather_spool import array
from forgather_spool.document import Document, dump
from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.files import together, writer
from forgather_spool.spool.names import entry_name, in_start_order, member_id, new_job_id, parse_entries
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Watched = Callable[[Iterable[str]], Iterator[str]]  # gives what it gets, and may tell somebody how far one is

LINKS_PER_FILE = 50_000  # ext4 allows a file 65,000 names
FEW = 16  # so many files are synced one by one: a sync of the whole file system waits for everybody's data
ALONE = 1_000  # so many a process writes by itself: a second one costs what it saves with the next thousand
MARK = "spec.json"  # what becomes of a dropped array: in a folder of tmp/ it says that the members stand


class Batch:
    """Jobs being gathered; on disk, but none of them exists until `commit`. A block that fails abandons them.

    `job_ids` are in the order of `add`, and start in that order where the
    priority is the same; an array is there with its family's id.
    """

    def __init__(self, spool: Spool) -> None:
        """Raises StorageFailed."""
        self.batch_id = new_job_id()
        self.job_ids: list[str] = []
        self.job_count = 0
        self._spool = spool
        self._folder = f"{spool.paths.tmp}/{files.temporary_name()}"
        self._held_folder = f"{self._folder}/held"
        self._has_held = False
        self._last_id = self.batch_id
        self._written: list[str] = []
        self._writer: writer.Writer | None = None
        files.make_directory(self._folder)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self.abandon()

    def add(self, spec: Document, data: bytes | None = None, watched: Watched = iter) -> str:
        """One job more, or one array; its id. `spec` is checked, `data` what is written of it.

        The names of an array's members go through `watched` as they are written.

        Raises:
            BadDocument: its array has no members, or too many; or it has a key.
            StorageFailed: abandon the batch.
        """
        refuse_key(spec)
        priority = spec.get("priority", 0)
        assert isinstance(priority, int)
        job_id = self._next_id()
        folder = self._folder_of(spec)
        text = dump(spec) if data is None else data
        members = members_of(spec)
        if len(self.job_ids) == ALONE:
            self._writer = writer.start(self._folder)
        if members is None:
            write = self._write if self._writer is None else self._writer.write
            write(f"{folder}/{entry_name(job_id, priority)}", text)
            self.job_count += 1
        else:
            names = (f"{folder}/{entry_name(member_id(job_id, i), priority)}" for i in members)
            self._write_members(watched(names), text)
            self.job_count += len(members)
        self.job_ids.append(job_id)
        return job_id

    def commit(self) -> None:
        """All of them are jobs, durable on return: this is the acknowledgement. `spread` comes next.

        Raises:
            StorageFailed: none of them is.
        """
        target = self._spool.paths.batch(self.batch_id)
        try:
            self._make_durable()
            files.move(self._folder, target)
        except StorageFailed:
            _take_back(target, self._folder)  # not acknowledged, so better not there
            raise
        except FileNotFoundError:
            raise StorageFailed(f"{self._folder} was removed while it was written", hint="try again") from None

    def commit_dropped(self, path: str) -> None:
        """The same for the one array that lies in incoming/ at `path`: its file comes along, and decides who was first.

        Raises:
            FileNotFoundError: another dispatcher was; this one is to be abandoned.
        """
        self._make_durable()
        files.move(path, f"{self._folder}/{MARK}")
        promote(self._spool, self._folder)

    def abandon(self) -> None:
        """None of them ever was. Cannot fail: what is left is swept."""
        if self._writer is not None:
            self._writer.stop()
        try:
            remove_folder(self._folder)
        except StorageFailed:
            pass

    def _write(self, path: str, text: bytes) -> None:
        together.write_new(path, text)
        if len(self._written) <= FEW:
            self._written.append(path)

    def _write_members(self, paths: Iterable[str], text: bytes) -> None:
        """One file with many names: a new one where it cannot have more."""
        source = ""
        for i, path in enumerate(paths):
            if i % LINKS_PER_FILE == 0 or not together.link_new(source, path):
                self._write(path, text)
                source = path

    def _make_durable(self) -> None:
        if self._writer is not None:
            self._writer.finish()
        if self._writer is not None or len(self._written) > FEW:
            together.sync_file_system(self._folder)
            return
        for path in self._written:
            files.make_private(path)
        if self._has_held:
            files.sync_names(self._held_folder)
        files.sync_names(self._folder)

    def _next_id(self) -> str:
        """Later than the last, whatever the clock does meanwhile."""
        job_id = new_job_id()
        while job_id <= self._last_id:
            job_id = new_job_id()
        self._last_id = job_id
        return job_id

    def _folder_of(self, spec: Document) -> str:
        if not spec.get("hold"):
            return self._folder
        if not self._has_held:
            files.make_directory(self._held_folder)
            self._has_held = True
        return self._held_folder


def submit_one(spool: Spool, spec: Document) -> str:
    """Submit one array, and move its members on; its id. `spec` is checked. Raises BadDocument, StorageFailed."""
    with Batch(spool) as gathered:
        job_id = gathered.add(spec)
        gathered.commit()
    spread(spool)
    return job_id


def refuse_key(spec: Document) -> None:
    """Raises BadDocument: what is submitted among many cannot have a `unique` key."""
    if spec.get("unique"):
        raise BadDocument("$.unique", "a key is of one job, not of one among many", hint="submit it by itself")


def members_of(spec: Document) -> list[int] | None:
    """The indexes of the array a spec asks for; None: it asks for none. Raises BadDocument."""
    wanted = spec.get("array")
    if not isinstance(wanted, dict):
        return None
    return array.indexes(str(wanted["indexes"]))


def _take_back(target: str, folder: str) -> None:
    try:
        files.move(target, folder)
    except (FileNotFoundError, StorageFailed):
        pass  # the move had not been made, or a dispatcher has it already


# -- from batches/ into the queue -------------------------------------------------------------------------------------


def spread(spool: Spool, most: int | None = None, watched: Watched = iter) -> int:
    """Move acknowledged jobs to where they wait, at most `most` of them; how many this call moved.

    Their names go through `watched` as they are moved.

    Every file is either moved, or found moved by somebody else. Names of no
    job are left, with their folder.

    Raises:
        StorageFailed: some could not be moved now.
    """
    moved = 0
    for batch_id in sorted(files.names(spool.paths.batches)):
        moved += _spread_one(spool, spool.paths.batch(batch_id), None if most is None else most - moved, watched)
        if most is not None and moved >= most:
            break
    return moved


def _spread_one(spool: Spool, folder: str, most: int | None, watched: Watched) -> int:
    moved = 0
    for source, target in ((f"{folder}/held", spool.paths.held), (folder, spool.paths.queue)):
        found = _job_names(source)[: None if most is None else most - moved]
        if found:
            moved += len(together.move_all(source, target, watched(found)))
        if source != folder:
            files.remove_directory(source)
    if not _job_names(folder):
        files.discard(f"{folder}/{MARK}")
        files.remove_directory(folder)
    return moved


def help_along(spool: Spool) -> bool:
    """Finish what a dead submitter left, before somebody looks for its jobs. True: something was moved.

    Cannot fail: where nothing can be written, what lies in queue/ can still be read.
    """
    try:
        return bool(files.names(spool.paths.batches)) and spread(spool) > 0
    except (StorageFailed, UnreadableFile):
        return False


def pending(spool: Spool) -> bool:
    """Whether some acknowledged job is on its way still."""
    return any(batch_entries(spool))


def batch_entries(spool: Spool) -> list[str]:
    """Paths of acknowledged jobs that are on their way, in no order."""
    found = []
    for batch_id in files.names(spool.paths.batches):
        for folder in (spool.paths.batch(batch_id), f"{spool.paths.batch(batch_id)}/held"):
            found += [f"{folder}/{name}" for name in _job_names(folder)]
    return found


def _job_names(folder: str) -> list[str]:
    entries = in_start_order(parse_entries(files.names(folder)))
    return [entry_name(job_id, -minus) for minus, job_id in entries]


# -- what a dead writer left ------------------------------------------------------------------------------------------


def promote(spool: Spool, folder: str) -> bool:
    """Move a folder of tmp/ with `MARK` in it to batches/, whoever wrote it. False: somebody else did.

    Raises StorageFailed.
    """
    try:
        files.move(folder, spool.paths.batch(new_job_id()))
    except FileNotFoundError:
        return False
    return True


def promote_decided(spool: Spool) -> int:
    """Take care of arrays whose dispatcher died, or was refused, right after it decided them; how many."""
    folders = [f"{spool.paths.tmp}/{name}" for name in files.names(spool.paths.tmp)]
    return sum(promote(spool, folder) for folder in folders if files.exists(f"{folder}/{MARK}"))


def remove_folder(folder: str) -> None:
    """Remove a folder of tmp/ whose writer is gone, unless it is decided. Raises StorageFailed."""
    if not files.exists(f"{folder}/{MARK}"):
        files.remove_tree(folder)
