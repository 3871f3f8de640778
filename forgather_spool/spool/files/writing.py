"""Files that appear whole or not at all: staged under a temporary name, synced, then linked or renamed into place."""

from __future__ import annotations

import os

from forgather_spool.document import Document, dump
from forgather_spool.spool.files.reading import failed
from forgather_spool.spool.files.syncing import FILE_MODE, sync_directory


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
        _give_name(staged, path, durable=durable)
    finally:
        unlink_quietly(staged)


def write_once_in_one_commit(path: str, document: Document, tmp: str) -> None:
    """As `write_once`, durable on return, with one commit of the disk and not two: synced once it has its name.

    For whoever may stand it that a power cut before the return leaves a file that cannot be read.

    Raises:
        FileExistsError: somebody was first; theirs stands.
    """
    fd, staged = _open_staged(dump(document), tmp)
    try:
        _give_name(staged, path, sync_first=fd)
    finally:
        close_quietly(fd)
        unlink_quietly(staged)


def _give_name(staged: str, path: str, *, durable: bool = True, sync_first: int | None = None) -> None:
    """Link it; where that cannot be made durable, with the open file `sync_first`, take the name back."""
    try:
        _link(staged, path)
        try:
            if sync_first is not None:
                os.fsync(sync_first)
            if durable:
                sync_directory(os.path.dirname(path))
        except OSError:
            unlink_quietly(path)  # not acknowledged, so better not there
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise failed("create", path, error) from None


def _link(staged: str, path: str) -> None:
    try:
        os.link(staged, path)
    except FileExistsError:
        # NFS may lose the reply to a link that was made: look at who owns the name, not at the errno.
        if not _same_file(staged, path):
            raise


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
        unlink_quietly(staged)
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
        unlink_quietly(staged)
        raise failed("replace", path, error) from None


def note(path: str, document: Document, tmp: str) -> None:
    """As `replace`, whole but not durable: for what is only of interest while the machine is up."""
    staged = _stage(dump(document), tmp, durable=False)
    try:
        os.rename(staged, path)
    except OSError as error:
        unlink_quietly(staged)
        raise failed("replace", path, error) from None


def mark(path: str) -> None:
    """An empty file at `path`, durable on return: its name is all it says. Standing already is fine."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        sync_directory(os.path.dirname(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise failed("create", path, error) from None


def temporary_name() -> str:
    """``<host>.<pid>.<random>``: a sweep on this host can tell whether its writer still lives."""
    return f"{os.uname().nodename.partition('.')[0]}.{os.getpid()}.{os.urandom(6).hex()}"


def is_temporary_name(name: str) -> bool:
    """Whether `temporary_name` may have made it."""
    _, _, rest = name.partition(".")
    pid, _, tail = rest.partition(".")
    return pid.isdigit() and len(tail) == 12 and not tail.strip("0123456789abcdef")


def writer_is_gone(name: str) -> bool:
    """Whether the program of this host that made a temporary name has ended; of another host's it is not known."""
    host, _, rest = name.partition(".")
    pid, _, _ = rest.partition(".")
    return host == os.uname().nodename.partition(".")[0] and pid.isdecimal() and not os.path.exists(f"/proc/{pid}")


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def _stage(data: bytes, tmp: str, *, durable: bool = True) -> str:
    """A whole temporary file."""
    fd, path = _open_staged(data, tmp)
    try:
        if durable:
            os.fsync(fd)
        os.close(fd)
    except OSError as error:
        # After a failed fsync the page may look clean: never try it again on this file.
        close_quietly(fd)
        unlink_quietly(path)
        raise failed("write to", tmp, error) from None  # the folder: the file's own name differs every time
    return path


def _open_staged(data: bytes, tmp: str) -> tuple[int, str]:
    """A whole temporary file, still open; its name says who writes it, so that a sweep knows when nobody does."""
    path = f"{tmp}/{temporary_name()}"
    fd = -1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(fd, FILE_MODE)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        if fd >= 0:
            close_quietly(fd)
            unlink_quietly(path)
        raise failed("write to", tmp, error) from None
    return fd, path


def close_quietly(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


def unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # swept later; the caller is about to report the first failure
