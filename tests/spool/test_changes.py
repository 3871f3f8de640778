"""What a list shows wakes whoever watches it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forgather_spool.spool import settings
from forgather_spool.spool.changes import Changes
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from tests import builders

SOON_S = 30.0
NOT_AT_ALL_S = 0.05


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


STEPS: dict[str, Callable[[Spool, Entry], object]] = {
    "another job": lambda spool, _: builders.submitted(spool),
    "a claim, by a host of its own": lambda spool, entry: builders.running(spool, entry, host="attic"),
    "a cancel": lambda spool, entry: spool.cancel_waiting(entry, "me"),
    "a pause": lambda spool, _: settings.change_dispatch(spool.paths, paused=True),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_every_step_a_list_shows_is_heard(spool: Spool, step: Callable[[Spool, Entry], object]) -> None:
    entry = builders.submitted(spool)
    with Changes(spool) as changes:
        assert not changes.wait(NOT_AT_ALL_S)

        step(spool, entry)

        assert changes.wait(SOON_S)


def test_folders_that_were_made_since_are_heard_too(spool: Spool) -> None:
    """The first day's, and that of a host that has never run anything."""
    entry = builders.submitted(spool)
    with Changes(spool) as changes:
        builders.running(spool, entry)
        assert changes.wait(SOON_S)

        builders.end(spool, entry)

        assert changes.wait(SOON_S)
        changes.take()
        builders.ended(spool)
        assert changes.wait(SOON_S)


def test_a_home_of_an_older_version_is_watched_as_far_as_it_goes(spool: Spool) -> None:
    os.rmdir(spool.paths.held)
    with contextlib.closing(Changes(spool)) as changes:
        builders.submitted(spool)

        assert changes.wait(SOON_S)
