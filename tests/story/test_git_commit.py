"""The commit of a directory, read without git, is what git says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forgather_spool.cli.submit.git_commit import git_commit

ENVIRON = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.example",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.example",
}  # fmt: skip


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=ENVIRON, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if not shutil.which("git"):
        pytest.skip("needs git to make a repository")
    folder = tmp_path / "repository"
    (folder / "deep" / "er").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=first")
    return folder


def test_it_is_found_from_any_folder_inside(repository):
    head = git(repository, "rev-parse", "HEAD")

    assert git_commit(str(repository)) == head
    assert git_commit(str(repository / "deep" / "er")) == head


def test_packed_references_and_a_detached_head_are_read(repository):
    head = git(repository, "rev-parse", "HEAD")

    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert git_commit(str(repository)) == head

    git(repository, "checkout", "--quiet", "--detach")
    assert git_commit(str(repository)) == head


def test_a_worktree_has_a_commit_of_its_own(repository, tmp_path):
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "--quiet", "--allow-empty", "--message=second")

    assert git_commit(str(tmp_path / "tree")) == git(tmp_path / "tree", "rev-parse", "HEAD")
    assert git_commit(str(tmp_path / "tree")) != git_commit(str(repository))


def test_where_there_is_none_nothing_is_said(repository, tmp_path):
    git(repository, "checkout", "--quiet", "--orphan", "unborn")

    assert git_commit(str(repository)) is None
    assert git_commit(str(tmp_path)) is None


@pytest.mark.parametrize("head", ["", "ref: ", "ref: ../../../secret", "zzz", "ref: refs/heads/\0x", "a" * 39])
def test_a_broken_repository_is_none(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)

    assert git_commit(str(tmp_path)) is None


def test_a_fifo_in_its_place_does_not_hang(tmp_path):
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")

    assert git_commit(str(tmp_path)) is None
