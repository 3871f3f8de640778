"""Taking a snapshot at submit. What it stands for is durable before the spec enters.

1. snapshots/<id>.json    says that there is a ref in that repository; a submit killed from here on leaves
2. refs/forgather/<id>    something that the next full sweep finds and removes
3. the spec               names the ref
"""

from __future__ import annotations

import os
import shlex
import shutil

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import UsageError
from forgather_spool.snapshot.git import GitFailed, git
from forgather_spool.spool import files
from forgather_spool.spool.queue import Spool, utc_now

UNTRACKED_LIMIT_BYTES = 100 << 20
SHOWN = 3


def take(spool: Spool, cwd: str, *, keep: bool = False) -> tuple[Document, list[str]]:
    """The spec's `snapshot`, and remarks for the user.

    Raises:
        UsageError: there is nothing to take a snapshot of, or new files are too large to be meant.
        Missing: there is no git.
        StorageFailed: the home takes no more.
    """
    try:
        top = git(["rev-parse", "--show-toplevel"], directory=cwd)
        git_dir = git(["rev-parse", "--path-format=absolute", "--git-common-dir"], directory=cwd)
    except GitFailed as error:
        raise _no_files(cwd, error) from None
    try:
        commit = git(["rev-parse", "--verify", "-q", "HEAD^{commit}"], directory=cwd)
    except GitFailed:
        raise UsageError(f"--snapshot: {top} has no commit yet", hint="git commit") from None
    try:
        return _take(spool, cwd, top, git_dir, commit, keep)
    except GitFailed as error:
        raise UsageError(f"--snapshot: {error}", hint=f"git -C {top} status") from None


def _no_files(cwd: str, error: GitFailed) -> UsageError:
    """Why git names no folder of files around `cwd`: each reason has another remedy."""
    if "not a git repository" in str(error):
        return UsageError(f"--snapshot: {cwd} is in no git repository ({error})", hint="git init")
    if "must be run in a work tree" in str(error):
        what = f"--snapshot: {cwd} has no files: it is a bare repository, or the inside of one"
        return UsageError(what, hint="submit from a clone of it, or: git worktree add DIR")
    return UsageError(f"--snapshot: {error}", hint=f"git -C {shlex.quote(cwd)} status")


def _take(spool: Spool, cwd: str, top: str, git_dir: str, commit: str, keep: bool) -> tuple[Document, list[str]]:
    changed = _names(git(["diff", "--name-only", "-z", "--no-renames", "HEAD"], directory=top))
    others = _names(git(["ls-files", "-z", "--others", "--exclude-standard"], directory=top))
    nested = [name for name in others if name.endswith("/")]  # repositories of their own: not in it
    untracked = [name for name in others if not name.endswith("/")]
    untracked_bytes = _refuse_too_large(top, untracked)
    state = _commit_all(spool, top, commit, nested) if changed or untracked else commit
    snapshot_id = os.urandom(8).hex()
    document: Document = {
        "ref": f"refs/forgather/{snapshot_id}",
        "git_dir": git_dir,
        "top": top,
        "prefix": git(["rev-parse", "--show-prefix"], directory=cwd),
        "commit": commit,
        "state": state,
        "changed": len(changed),
        "untracked": len(untracked),
        "keep": keep,
    }
    schema.check(document, schema.SNAPSHOT, where="$.snapshot")
    files.make_directory(spool.paths.snapshots)
    record: Document = {"version": schema.VERSION, "git_dir": git_dir, "ref": document["ref"], "taken_at": utc_now()}
    files.write_once(spool.paths.snapshot(snapshot_id), record, spool.paths.tmp)
    git(["update-ref", str(document["ref"]), state], directory=top)
    return document, _remarks(top, untracked, untracked_bytes, nested)


def _commit_all(spool: Spool, top: str, commit: str, left_out: list[str]) -> str:
    """A commit of all that lies there and is not ignored. The user's index and branches are not touched."""
    but = [f":(exclude,top,literal){name}" for name in left_out]
    index = f"{spool.paths.tmp}/{files.temporary_name()}"
    theirs = git(["rev-parse", "--path-format=absolute", "--git-path", "index"], directory=top)
    try:
        if os.path.exists(theirs):
            # It knows which files have not changed, and they are not read again; with its time, by which git
            # tells those that changed in the moment it was written (Documentation/technical/racy-git.txt).
            shutil.copy2(theirs, index)
        git(["add", "-A", "--", ":/", *but], directory=top, GIT_INDEX_FILE=index)
        tree = git(["write-tree"], directory=top, GIT_INDEX_FILE=index)
    except OSError as error:
        raise files.failed("write to", spool.paths.tmp, error) from None
    finally:
        files.discard(index)
        files.discard(f"{index}.lock")
    return git(["commit-tree", tree, "-p", commit, "-m", "forgather submit --snapshot"], directory=top)


def _refuse_too_large(top: str, untracked: list[str]) -> int:
    sizes = {name: _size_bytes(f"{top}/{name}") for name in untracked}
    total = sum(sizes.values())
    if total > UNTRACKED_LIMIT_BYTES:
        largest = ", ".join(sorted(sizes, key=lambda name: -sizes[name])[:SHOWN])
        raise UsageError(
            f"--snapshot: files that git does not know take {total >> 20} MiB, more than "
            f"{UNTRACKED_LIMIT_BYTES >> 20} MiB; the largest: {largest}",
            hint="put them into .gitignore, or commit what the job needs",
        )
    return total


def _remarks(top: str, untracked: list[str], untracked_bytes: int, nested: list[str]) -> list[str]:
    found = []
    if untracked:
        more = ", ..." if len(untracked) > SHOWN else ""
        some = ", ".join(untracked[:SHOWN])
        new_files = "1 new file" if len(untracked) == 1 else f"{len(untracked)} new files"
        found.append(f"the snapshot includes {new_files} ({untracked_bytes:,} bytes): {some}{more}")
    if nested:
        found.append(f"the snapshot does not include other repositories within this one: {', '.join(nested[:SHOWN])}")
    if os.path.exists(f"{top}/.gitmodules"):
        found.append("the snapshot does not include submodules: their folders are empty there")
    return found


def _size_bytes(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0  # gone since git listed it


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]
