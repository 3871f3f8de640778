"""Removing worktrees and refs that nobody needs any more. Any part of it may be cut short: the next finds the rest.

A worktree goes when its job has ended and left nothing in it, or when the job
was removed. One in which the job made files stays, with all of them, until the
job is removed: a checkpoint must not go because somebody forgot to save it elsewhere.
"""

from __future__ import annotations

import os
import time

from forgather_spool.errors import BadDocument, ForgatherError, UnreadableFile
from forgather_spool.snapshot.enter import remove_worktree
from forgather_spool.snapshot.git import GitFailed, git
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.retention import every_spec

YOUNG_S = 3600.0  # a submit that takes a snapshot and has not written its spec is younger
_OF_NO_INTEREST = ("__pycache__/", ".pyc")


def sweep_worktrees(spool: Spool) -> int:
    """How many worktrees of ended jobs went."""
    gone = 0
    for name in files.names(spool.paths.worktrees):
        tree = spool.paths.worktree(name)
        if not files.is_directory(tree):
            continue  # a mark
        place = locate(spool, name)
        if place is None or (isinstance(place, Ended) and not _keeps(spool, place, tree)):
            remove_worktree(tree)
            files.discard(spool.paths.worktree_made(name))
            files.discard(spool.paths.worktree_kept(name))
            gone += 1
    return gone


def sweep_refs(spool: Spool) -> int:
    """How many snapshots that no job names any more went. Reads every spec there is, if there is any snapshot."""
    found = {name.removesuffix(".json") for name in files.names(spool.paths.snapshots) if name.endswith(".json")}
    old = {snapshot_id for snapshot_id in found if _is_old(spool.paths.snapshot(snapshot_id))}
    for data in every_spec(spool) if old else ():
        if b'"snapshot"' in data:
            old = {snapshot_id for snapshot_id in old if snapshot_id.encode() not in data}
    for snapshot_id in old:
        _forget(spool, snapshot_id)
    return len(old)


def has_outlived(spool: Spool) -> bool:
    """Whether there is a worktree that a sweep would look at. Light: names and two looks each."""
    return any(
        spool.has_result(name) and not files.exists(spool.paths.worktree_kept(name))
        for name in files.names(spool.paths.worktrees)
        if not name.startswith(".")
    )


def _keeps(spool: Spool, place: Ended, tree: str) -> bool:
    """Whether it is asked to be kept, or the job made something in it; once found, that is noted beside it."""
    kept = spool.paths.worktree_kept(place.job_id)
    if files.exists(kept):
        return True
    try:
        snapshot = files.read_document(place.path).get("snapshot")
        keep = not isinstance(snapshot, dict) or bool(snapshot.get("keep")) or _holds_more(tree, snapshot)
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return True
    if keep:
        files.mark(kept)
    return keep


def _holds_more(tree: str, snapshot: dict[str, object]) -> bool:
    """Files that are not the snapshot's, or not as they were. What cannot be told is yes."""
    try:
        changed = git(["diff", "--name-only", "-z", str(snapshot["state"])], directory=tree)
        new = git(["ls-files", "-z", "--others"], directory=tree)
    except (ForgatherError, KeyError):
        return True
    names = [name for name in (changed + "\0" + new).split("\0") if name]
    return any(not any(word in name for word in _OF_NO_INTEREST) for name in names)


def _forget(spool: Spool, snapshot_id: str) -> None:
    path = spool.paths.snapshot(snapshot_id)
    try:
        record = files.read_document(path)
        git(["update-ref", "-d", str(record["ref"])], directory=str(record["git_dir"]))
    except (GitFailed, FileNotFoundError, BadDocument, UnreadableFile, KeyError):
        pass  # the repository is gone, and the ref with it
    files.discard(path)


def _is_old(path: str) -> bool:
    try:
        return abs(time.time() - os.lstat(path).st_mtime) > YOUNG_S
    except OSError:
        return False
