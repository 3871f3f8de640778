"""The folder in which the processes of one server tell each other of their handles. It ends with the server.

    <temporary folder>/forgather-dataset-<random>/
        <handle>     a note (see handles.py)
        server       locked as long as a process of the server lives, killed or not

A killed server leaves its folder, and the next one to start removes it: its
lock is free. `server` appears locked, so a folder just made is not taken for one that was left.
The folder is locked too: notes are old after ten days, and what cleans the temporary folder would
take them, but leaves alone what is below a locked one (tmpfiles.d(5)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

PREFIX = "forgather-dataset-"
LOCK = "server"


@contextmanager
def folder_of_notes() -> Iterator[str]:
    """A new folder, gone afterwards; processes forked within hold it too."""
    remove_left()
    folder = tempfile.mkdtemp(prefix=PREFIX)
    try:
        staged = os.path.join(folder, f"{LOCK}.new")
        with _locked_folder(folder), open(staged, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(staged, os.path.join(folder, LOCK))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked_folder(folder: str) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def remove_left() -> None:
    """Remove what killed servers of this user left."""
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [entry for entry in entries if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)]
    for entry in found:
        with contextlib.suppress(OSError):  # no lock yet, locked, another user's, or gone
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _remove_if_free(entry.path)


def _remove_if_free(folder: str) -> None:
    lock = os.open(os.path.join(folder, LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
