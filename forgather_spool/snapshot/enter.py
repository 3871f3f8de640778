"""At a job's start: make the worktree of its snapshot, and become the command, there.

This is the job's first process; the runner starts it in place of the command.
A later attempt goes on in the worktree of the first: what it wrote there, its
checkpoints perhaps, is what a job that is run again looks for.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from forgather_spool import schema
from forgather_spool.errors import ForgatherError, JobFailed
from forgather_spool.host.program import find_program, not_started
from forgather_spool.snapshot.git import GitFailed, git
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

FAILED = 125  # as env(1) and docker have it: not the command failed, but what was to start it


def main(home: str, job_id: str, spec_path: str, script: str) -> int:
    """Does not return when all is well. `script` is the job's, empty when argv[0] is a command."""
    try:
        spec: dict[str, Any] = schema.check(files.read_document(spec_path), schema.SPEC)
        tree = make_worktree(Paths(home), job_id, spec["snapshot"])
        _become(spec, f"{tree}/{spec['snapshot']['prefix']}".rstrip("/"), script)
    except (ForgatherError, OSError) as error:
        print(f"forgather: {job_id}, run from its snapshot: {error}", file=sys.stderr, flush=True)
    return FAILED


def make_worktree(paths: Paths, job_id: str, snapshot: dict[str, Any]) -> str:
    """The job's worktree, there and whole.

    A mark beside it says that it is whole; without the mark it is what a start
    that was interrupted has left, and made anew.

    Raises:
        JobFailed: the repository or the snapshot in it is gone.
        GitFailed, StorageFailed: it cannot be made.
    """
    tree, git_dir = paths.worktree(job_id), snapshot["git_dir"]
    if files.exists(paths.worktree_made(job_id)) and os.path.isdir(tree):
        return tree
    if not os.path.isdir(git_dir):
        raise JobFailed(f"its repository is not at {git_dir} any more")
    try:
        git(["cat-file", "-e", f"{snapshot['state']}^{{commit}}"], directory=git_dir)
    except GitFailed:
        raise JobFailed(f"{git_dir} does not hold {snapshot['state']} any more") from None
    files.make_directory(paths.worktrees)
    remove_worktree(tree)
    git(["worktree", "add", "--force", "--no-checkout", "--detach", tree, snapshot["commit"]], directory=git_dir)
    git(["read-tree", "--reset", "-u", snapshot["state"]], directory=tree)
    files.mark(paths.worktree_made(job_id))
    return tree


def remove_worktree(tree: str) -> None:
    """With all it holds; git forgets it. There being none is fine."""
    if not os.path.lexists(tree):
        return
    try:
        git(["worktree", "remove", "--force", "--force", tree], directory=tree)
    except ForgatherError:
        files.remove_tree(tree)  # half made, or its repository is gone


def _become(spec: dict[str, Any], cwd: str, script: str) -> None:
    os.makedirs(cwd, exist_ok=True)  # git keeps no empty directory
    os.chdir(cwd)
    env = {**os.environ, "PWD": cwd, "FORGATHER_SUBMITTED_FROM": spec["cwd"] or ""}
    argv = spec["argv"]
    program = script or find_program(_program(argv[0], spec["cwd"] or "", cwd), cwd, env)
    try:
        os.execve(program, argv, env)
    except OSError as error:
        raise not_started(program, error) from None


def _program(name: str, submitted_from: str, cwd: str) -> str:
    """A relative path means the snapshot's file; where git knows none (.venv/bin/python), the user's own."""
    own = os.path.join(submitted_from, name)
    is_path = "/" in name and not os.path.isabs(name)
    return own if is_path and not os.path.exists(os.path.join(cwd, name)) and os.path.exists(own) else name
