"""A dispatcher killed, or refused by the kernel, at each of its system calls in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep import walk

PARTS = 4  # so that several processes share the work


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_it_loses_nothing_and_runs_nothing_twice(part: int, tmp_path: Path) -> None:
    """Whatever was half done: waiting, launching, started, ending, being cancelled, dropped."""
    done = walk.dispatcher_walk(tmp_path, walk.kill, slice(part, None, PARTS))

    assert not done.wrong, done.report
    assert done.hits > 5


@pytest.mark.parametrize("part", range(PARTS))
def test_refused_anything_it_goes_on_or_says_why_in_one_line(part: int, tmp_path: Path) -> None:
    """A full disk, a bad one, no descriptor left: nothing is lost, and no job is taken for another's fault."""
    done = walk.dispatcher_walk(tmp_path, walk.fail, slice(part, None, PARTS))

    assert not done.wrong, done.report
    assert done.hits > 5
