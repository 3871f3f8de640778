"""Looking at files: what is opened is a regular file of our own, of bounded size, or it is refused.

A FIFO would hang `open` for ever. And a failure is no answer: what cannot be
looked at now (EIO, too many open files, a stale handle) is neither absent nor
damaged, or one bad moment would cost a good job.
"""

from __future__ import annotations

import errno
import os
import stat

from forgather_spool.document import MAX_DOCUMENT_BYTES, Document, parse
from forgather_spool.errors import BadDocument, ForgatherError, SpoolUnsafe, StorageFailed, UnreadableFile


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
        raise cannot_open(path, error) from None
    try:
        found = os.fstat(fd)
        _check_regular(path, found, limit_bytes)
        chunks = []
        while chunk := os.read(fd, found.st_size + 1):
            chunks.append(chunk)
            if sum(map(len, chunks)) > limit_bytes:
                raise UnreadableFile(f"{path}: grew past {limit_bytes} bytes while it was read")
        return b"".join(chunks)
    except OSError as error:
        raise failed("read", path, error) from None
    finally:
        os.close(fd)


def cannot_open(path: str, error: OSError) -> ForgatherError:
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


def names(path: str) -> list[str]:
    """The names in a directory, in no order; none where there is no directory. Raises UnreadableFile, StorageFailed."""
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot_open(path, error) from None


def some_names(path: str, at_most: int) -> list[str]:
    """As `names`, but no more than so many, whichever come first: a million take half a second."""
    from itertools import islice

    try:
        with os.scandir(path) as found:
            return [item.name for item in islice(found, at_most)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot_open(path, error) from None


def exists(path: str) -> bool:
    """Whether anything has this name. `os.path.exists` calls absent what it cannot look at.

    Raises:
        StorageFailed: nobody can say now.
    """
    return _look_at(path) is not None


def identity(path: str) -> object:
    """What differs for another file at `path`, and for this one once it was written to; None: there is none.

    Raises:
        StorageFailed: nobody can say now.
    """
    found = _look_at(path)
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def content_identity(path: str) -> object:
    """As `identity`, and the same after a rename."""
    found = _look_at(path)
    return None if found is None else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


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
