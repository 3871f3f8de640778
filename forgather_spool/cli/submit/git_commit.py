"""Which commit lies in a directory, read from git's own files: running git would cost more than the whole submit."""

from __future__ import annotations

import os

_MAX_REF_BYTES = 4096
_MAX_PACKED_BYTES = 16 << 20
_HASH_LENGTHS = (40, 64)  # SHA-1, SHA-256


def git_commit(directory: str) -> str | None:
    """The hash HEAD stands for in the repository around `directory`.

    None: there is no repository, no commit yet, or it is kept in a way that is
    not read here (reftable). Says nothing about changes that are not committed.
    """
    git_dir = _git_dir(os.path.abspath(directory))
    if git_dir is None:
        return None
    head = _read(f"{git_dir}/HEAD").strip()
    if not head.startswith("ref: "):
        return _hash(head)
    name = head[len("ref: ") :]
    common = _read(f"{git_dir}/commondir").strip()  # a worktree shares the refs of the first
    shared = os.path.join(git_dir, common) if common else git_dir
    if ".." in name.split("/"):
        return None
    return _hash(_read(f"{git_dir}/{name}")) or _hash(_read(f"{shared}/{name}")) or _packed(shared, name)


def _git_dir(directory: str) -> str | None:
    """``.git`` of the nearest directory upwards; in a worktree or submodule it is a file that names the place."""
    while True:
        path = f"{directory.rstrip('/')}/.git"
        if os.path.isdir(path):
            return path
        content = _read(path)
        if content.startswith("gitdir: "):
            return os.path.join(directory, content[len("gitdir: ") :].strip())
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent


def _packed(git_dir: str, name: str) -> str | None:
    for line in _read(f"{git_dir}/packed-refs", _MAX_PACKED_BYTES).splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return _hash(commit)
    return None


def _hash(text: str) -> str | None:
    text = text.strip()
    return text if len(text) in _HASH_LENGTHS and not text.strip("0123456789abcdef") else None


def _read(path: str, limit_bytes: int = _MAX_REF_BYTES) -> str:
    """Empty where nothing readable is; O_NONBLOCK, since a FIFO would hang us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        return os.read(fd, limit_bytes).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
