"""Durable files: the only module that calls fsync, link, rename and mkdir for the spool.

Acknowledged means: written to a temporary file, fsynced, renamed or linked
into place, and the directory fsynced. A file appears whole or not at all, also
after a power cut (measured: without, 42 % to 100 % of acknowledged jobs were
lost). The reverse holds for reading: what is opened is a regular file of our
own, of bounded size, or it is refused: a FIFO would hang `open` for ever.

What the file system refuses (full, read-only, over quota, I/O error) becomes
StorageFailed with the old state intact. FileExistsError and FileNotFoundError
stay what they are: they are answers, not failures. And a failure is no answer:
what cannot be looked at now (EIO, too many open files, a stale handle) is
neither absent nor damaged, or one bad moment would cost a good job.
"""

from __future__ import annotations

import errno
import os
import stat

from forgather_spool.document import MAX_DOCUMENT_BYTES, Document, dump, parse
from forgather_spool.errors import BadDocument, ForgatherError, Missing, SpoolUnsafe, StorageFailed, UnreadableFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FILE_MODE = 0o600
DIR_MODE = 0o700


def read_bytes(path: str, limit_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """What `path` holds. It must be a regular file of ours, not a link, of at most `limit_bytes`.

    Raises:
        FileNotFoundError: nothing is there.
        UnreadableFile: something else is there; the message says what.
        StorageFailed: it cannot be looked at now; that says nothing about the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _cannot_open(path, error) from None
    try:
        _check_regular(path, os.fstat(fd), limit_bytes)
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
            if sum(map(len, chunks)) > limit_bytes:
                raise UnreadableFile(f"{path}: grew past {limit_bytes} bytes while it was read")
        return b"".join(chunks)
    except OSError as error:
        raise failed("read", path, error) from None
    finally:
        os.close(fd)


def _cannot_open(path: str, error: OSError) -> ForgatherError:
    if error.errno == errno.ELOOP and os.path.islink(path):
        return UnreadableFile(f"{path}: is a symbolic link", hint="put the file itself there")
    if error.errno in _OF_THE_FILE:
        return UnreadableFile(f"{path}: {error.strerror}")
    return failed("read", path, error)


# These say what lies there (a socket, somebody else's file); all other refusals are of the moment.
_OF_THE_FILE = {errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}


def _check_regular(path: str, found: os.stat_result, limit_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFile(f"{path}: is not a regular file")
    if found.st_uid != os.geteuid():
        raise UnreadableFile(f"{path}: belongs to user id {found.st_uid}, not to you")
    if found.st_size > limit_bytes:
        raise UnreadableFile(f"{path}: is larger than {limit_bytes} bytes")


def read_document(path: str) -> Document:
    """The JSON object in `path`. Raises as `read_bytes`, and BadDocument (naming the file)."""
    try:
        return parse(read_bytes(path))
    except BadDocument as error:
        raise BadDocument(f"{path}: {error.where}", error.problem, hint=error.hint) from None


def write_once(path: str, document: Document, tmp: str, *, durable: bool = True) -> None:
    """Create `path`, whole, and durable on return if so wished. `tmp` is a directory of the same file system.

    Raises:
        FileExistsError: somebody was first; theirs stands.
    """
    write_bytes_once(path, dump(document), tmp, durable=durable)


def write_bytes_once(path: str, data: bytes, tmp: str, *, durable: bool = True) -> None:
    """As `write_once`, for bytes that are no JSON."""
    staged = _stage(data, tmp, durable=durable)
    try:
        _link(staged, path)
        try:
            if durable:
                sync_directory(os.path.dirname(path))
        except OSError:
            _unlink_quietly(path)  # not acknowledged, so better not there
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("create", path, error) from None
    finally:
        _unlink_quietly(staged)


def _link(staged: str, path: str) -> None:
    try:
        os.link(staged, path)
    except FileExistsError:
        # NFS may lose the reply to a link that was made: look at who owns the name, not at the errno.
        if not _same_file(staged, path):
            raise


def write_new(path: str, data: bytes) -> None:
    """Create `path`, not durable: for one of many, which `sync_file_system` makes durable together.

    Raises:
        FileExistsError: something lies there.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(fd, FILE_MODE)
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, data[written:])
        finally:
            os.close(fd)
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("write", path, error) from None


def write_new_from(path: str, chunks: Iterable[bytes]) -> None:
    """As `write_new`, for what is too large to hold."""
    fd = -1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(fd, rest) :]
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("write", path, error) from None
    finally:
        if fd >= 0:
            _close_quietly(fd)


def make_folder(path: str) -> None:
    """One directory, 0700 whatever the umask, not durable: for one of many. Standing already is fine."""
    try:
        os.mkdir(path, DIR_MODE)
        os.chmod(path, DIR_MODE)
    except FileExistsError:
        return
    except OSError as error:
        raise failed("make", path, error) from None


def link_new(source: str, path: str) -> bool:
    """One more name for `source`, not durable. False: this file cannot have more names, or no file here can.

    Raises:
        FileExistsError: something lies at `path`.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in _NO_MORE_NAMES:
            return False
        raise failed("create", path, error) from None
    return True


_NO_MORE_NAMES = {errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # a full inode; a file system without links


def sync_file_system(path: str) -> None:
    """Make all that was written to the file system of the directory `path` durable: group commit.

    One call for ten thousand files, and for whatever else is being written
    there. A libc without syncfs(2) syncs every file system. Before Linux 5.8
    neither tells of a write that failed.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise failed("sync", path, error) from None
    try:
        if not hasattr(libc, "syncfs"):
            os.sync()
        elif libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise failed("sync", path, OSError(number, os.strerror(number)))
    finally:
        os.close(fd)


def replace(path: str, document: Document, tmp: str) -> None:
    """Put `document` at `path`, whatever stood there; readers see the old one or the new one."""
    replace_bytes(path, dump(document), tmp)


def replace_bytes(path: str, data: bytes, tmp: str) -> None:
    """As `replace`, for bytes that are no JSON."""
    staged = _stage(data, tmp)
    try:
        os.rename(staged, path)
        sync_directory(os.path.dirname(path))
    except OSError as error:
        _unlink_quietly(staged)
        raise failed("replace", path, error) from None


def publish(path: str, data: bytes) -> None:
    """Put `data` at `path` for others to read (0644), whole and not durable. The one writer that leaves the spool.

    Raises:
        StorageFailed: it cannot be written there.
    """
    staged = _stage(data, os.path.dirname(path), durable=False)
    try:
        os.chmod(staged, 0o644)
        os.rename(staged, path)
    except OSError as error:
        _unlink_quietly(staged)
        raise failed("replace", path, error) from None


def note(path: str, document: Document, tmp: str) -> None:
    """As `replace`, whole but not durable: for what is only of interest while the machine is up."""
    staged = _stage(dump(document), tmp, durable=False)
    try:
        os.rename(staged, path)
    except OSError as error:
        _unlink_quietly(staged)
        raise failed("replace", path, error) from None


def move(source: str, target: str, *, durable: bool = True) -> None:
    """Rename, on return durable in its directories if so wished. `target` must be a name nobody else makes.

    Raises:
        FileNotFoundError: somebody else moved it first (or, on NFS, the reply
            was lost; whoever looks next finds it under `target`).
    """
    try:
        os.rename(source, target)
        for directory in dict.fromkeys((os.path.dirname(target), os.path.dirname(source))) if durable else ():
            sync_directory(directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise failed("move", source, error) from None


def exchange(one: str, other: str) -> bool:
    """Exchange two files, durable on return. False: one of them is gone, and nothing changed.

    Raises:
        Missing: this file system cannot.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) != 0:  # AT_FDCWD, RENAME_EXCHANGE
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if error.errno == errno.ENOENT:
            return False
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            message = f"{other}: this file system cannot exchange two files"
            raise Missing(message, hint="cancel the job and submit another")
        raise failed("replace", other, error)
    make_names_durable(os.path.dirname(other), os.path.dirname(one))
    return True


def rename_new(source: str, target: str) -> bool:
    """Rename, not durable: for one of many. False: `source` is gone, or `target` is a folder that holds something."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise failed("move", source, error) from None
    return True


def take_name(source: str, target: str) -> bool:
    """Give the directory `source` the name `target`, durable on return. False: a directory that holds something has it.

    An empty one is replaced.

    Raises:
        FileNotFoundError: somebody else moved `source`.
    """
    try:
        os.rename(source, target)
        for directory in dict.fromkeys((os.path.dirname(target), os.path.dirname(source))):
            sync_directory(directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise failed("move", source, error) from None
    return True


def move_all(source: str, target: str, found: Iterable[str], renamed: Callable[[str], str] = str) -> list[str]:
    """Rename each of these names from one directory to another; those that were still there. Durable on return.

    `renamed` is the name each gets.

    Raises:
        StorageFailed: one could not be moved now; those before it were.
    """
    moved: list[str] = []
    try:
        for name in found:
            try:
                os.rename(f"{source}/{name}", f"{target}/{renamed(name)}")
                moved.append(name)
            except FileNotFoundError:
                continue  # somebody else moved it; a missing target is found out below
        sync_directory(target)
    except OSError as error:
        raise failed("move files to", target, error) from None
    try:
        sync_directory(source)
    except FileNotFoundError:
        pass  # somebody else has moved the last of them, and removed the directory
    except OSError as error:
        raise failed("move files from", source, error) from None
    return moved


def mark(path: str) -> None:
    """An empty file at `path`, durable on return: its name is all it says. Standing already is fine."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        sync_directory(os.path.dirname(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise failed("create", path, error) from None


def discard(path: str) -> None:
    """Remove a file that may be gone already. Not durable: for what may come back without harm."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing is there, or below what is no directory
    except OSError as error:
        raise failed("remove", path, error) from None


def make_directory(path: str, *, durable: bool = True) -> None:
    """One directory, 0700 whatever the umask, durable in its parent if so wished. Standing already is fine.

    The parent is synced in either case: whoever made it may have died before that.
    """
    try:
        try:
            os.mkdir(path, DIR_MODE)
            os.chmod(path, DIR_MODE)
        except FileExistsError:
            if not os.path.isdir(path):
                raise UnreadableFile(f"{path}: is in the way: not a directory") from None
        if durable:
            sync_directory(os.path.dirname(path))
    except OSError as error:
        raise failed("make", path, error) from None


def make_folder_once(path: str, name: str, document: Document, tmp: str) -> None:
    """Create the directory `path` with one document in it, both at once and durable on return.

    Raises:
        FileExistsError: somebody was first; theirs stands.
    """
    staged = f"{tmp}/{temporary_name()}"
    try:
        os.mkdir(staged, DIR_MODE)
        os.chmod(staged, DIR_MODE)
        write_once(f"{staged}/{name}", document, tmp)
        try:
            os.rename(staged, path)  # onto a directory that is not empty it fails (rename(2))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(error.errno, os.strerror(error.errno), path) from None
        sync_directory(os.path.dirname(path))
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("make", path, error) from None
    finally:
        discard_folder(staged)


def discard_folder(path: str) -> None:
    """Remove a directory of `tmp/` and the files in it, as far as that goes; it may be gone already."""
    for name in names(path):
        _unlink_quietly(f"{path}/{name}")
    try:
        os.rmdir(path)
    except OSError:
        pass  # swept later


def remove_tree(path: str) -> None:
    """Remove a directory with all it holds; it may be gone already, or be removed by another at the same time."""
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise failed("remove", path, error) from None


def remove_directory(path: str) -> bool:
    """Remove an empty directory. False: it holds something, or is gone."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            return False
        raise failed("remove", path, error) from None
    return True


def make_private(path: str) -> None:
    """0600 and durable: for a file that another program wrote and that becomes ours by a rename."""
    make_durable(path, mode=FILE_MODE)


def make_durable(path: str, *, mode: int | None = None) -> None:
    """What the file holds, that is; its name is `make_names_durable`'s. With `mode` set, its mode too.

    Raises:
        FileNotFoundError: nothing is there.
        UnreadableFile, StorageFailed: as `read_bytes`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _cannot_open(path, error) from None
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        os.fsync(fd)
    except OSError as error:
        raise failed("sync", path, error) from None
    finally:
        os.close(fd)


def make_names_durable(*directories: str) -> None:
    """Every name that stands in them now. Raises StorageFailed."""
    for directory in directories:
        try:
            sync_directory(directory)
        except OSError as error:
            raise failed("sync", directory, error) from None


def sync_directory(path: str) -> None:
    """Make the names in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_names(path: str) -> None:
    """As `sync_directory`, in our words: raises StorageFailed."""
    try:
        sync_directory(path)
    except OSError as error:
        raise failed("sync", path, error) from None


def sync(fd: int) -> None:
    """Make the content of an open file durable. Raises OSError."""
    os.fsync(fd)


def names(path: str) -> list[str]:
    """The names in a directory, in no order; none where there is no directory. Raises UnreadableFile, StorageFailed."""
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _cannot_open(path, error) from None


def exists(path: str) -> bool:
    """Whether anything has this name. `os.path.exists` calls absent what it cannot look at.

    Raises:
        StorageFailed: nobody can say now.
    """
    return _look_at(path) is not None


def is_directory(path: str) -> bool:
    """Whether a directory has this name; a link to one is none. Raises StorageFailed: nobody can say now."""
    found = _look_at(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _look_at(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise failed("look at", path, error) from None


def check_private(path: str) -> None:
    """Refuse a directory that somebody else may write to: whoever can, runs commands as us.

    Raises:
        SpoolUnsafe: another owner, or write permission for group or others.
        FileNotFoundError: it does not stand yet.
    """
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        owner = found.st_uid
        raise SpoolUnsafe(f"{path} belongs to user id {owner}, not to you", hint="chown it, or set FORGATHER_HOME")
    if found.st_mode & 0o022:
        raise SpoolUnsafe(
            f"{path} may be written to by others (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"look through it, then: chmod -R go-rwx {path}",
        )


def failed(verb: str, path: str, error: OSError) -> StorageFailed:
    """The one line for a refusal by the file system."""
    hint = _HINTS.get(error.errno or 0, "forgather doctor")
    return StorageFailed(f"cannot {verb} {path}: {error.strerror}", hint=hint)


_HINTS = {
    28: "free some space (df -h), then try again; nothing was changed",  # ENOSPC
    122: "you are over your disk quota; nothing was changed",  # EDQUOT
    30: "the file system is read-only; nothing was changed",  # EROFS
    13: "check its permissions; nothing was changed",  # EACCES
    5: "the disk reports errors (dmesg); nothing was acknowledged",  # EIO
}


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def temporary_name() -> str:
    """``<host>.<pid>.<random>``: a sweep on this host can tell whether its writer still lives."""
    return f"{os.uname().nodename.partition('.')[0]}.{os.getpid()}.{os.urandom(6).hex()}"


def is_temporary_name(name: str) -> bool:
    """Whether `temporary_name` may have made it."""
    _, _, rest = name.partition(".")
    pid, _, tail = rest.partition(".")
    return pid.isdigit() and len(tail) == 12 and not tail.strip("0123456789abcdef")


def _stage(data: bytes, tmp: str, *, durable: bool = True) -> str:
    """A whole temporary file; its name says who writes it, so that a sweep knows when nobody does."""
    path = f"{tmp}/{temporary_name()}"
    fd = -1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(fd, FILE_MODE)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if durable:
            os.fsync(fd)
        os.close(fd)
    except OSError as error:
        # After a failed fsync the page may look clean: never try it again on this file.
        if fd >= 0:
            _close_quietly(fd)
            _unlink_quietly(path)
        raise failed("write to", tmp, error) from None  # the folder: the file's own name differs every time
    return path


def _close_quietly(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def _unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # swept later; the caller is about to report the first failure
