"""Names that change, come and go: of files, and of directories with what they hold."""

from __future__ import annotations

import errno
import os

from forgather_spool.document import Document
from forgather_spool.errors import Missing, UnreadableFile
from forgather_spool.spool.files.reading import failed, names
from forgather_spool.spool.files.syncing import DIR_MODE, make_names_durable, sync_directory
from forgather_spool.spool.files.writing import temporary_name, unlink_quietly, write_once


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


def discard(path: str) -> bool:
    """Remove a file; False: it was gone already. Not durable: for what may come back without harm."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False  # nothing is there, or below what is no directory
    except OSError as error:
        raise failed("remove", path, error) from None
    return True


def make_directory(path: str, *, durable: bool = True) -> bool:
    """One directory, 0700 whatever the umask, durable in its parent if so wished. False: it stood already.

    The parent is synced in either case: whoever made it may have died before that.
    """
    try:
        try:
            os.mkdir(path, DIR_MODE)
            os.chmod(path, DIR_MODE)
            is_new = True
        except FileExistsError:
            if not os.path.isdir(path):
                raise UnreadableFile(f"{path}: is in the way: not a directory") from None
            is_new = False
        if durable:
            sync_directory(os.path.dirname(path))
        return is_new
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
        unlink_quietly(f"{path}/{name}")
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
