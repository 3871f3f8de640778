"""An idle dispatcher removes what its owner said shall not be kept, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forgather_spool.dispatcher import retention
from forgather_spool.dispatcher.retention import remove_outdated
from forgather_spool.spool import settings
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.story.world import World

ALL = {"older_than_s": 0}


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path)
    yield made
    made.end()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


def test_jobs_go_by_themselves_once_that_is_set(world: World) -> None:
    first = world.submit("true")
    world.dispatch_all()
    assert world.is_done(first)

    settings.change_dispatch(world.spool.paths, retention={"keep": 1})
    second = world.submit("true")
    world.dispatch_all()

    assert locate(world.spool, first[1]) is None and not Path(world.spool.paths.job(first[1])).exists()
    assert world.is_done(second)
    assert "removed 1 ended jobs" in world.said()


def test_nothing_goes_unless_it_is_set(spool: Spool) -> None:
    entry = builders.ended(spool)

    assert remove_outdated(spool, lambda: True, print) == 0

    assert locate(spool, entry[1])


def test_it_gives_way_to_work_and_goes_on_later(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job that went is gone whole; the others are left for the next time."""
    monkeypatch.setattr("forgather_spool.dispatcher.retention.AT_ONCE", 1)
    for _ in range(3):
        builders.ended(spool)
    settings.change_dispatch(spool.paths, retention=ALL)
    answers = iter([True] * 4)

    assert remove_outdated(spool, lambda: next(answers, False), print) == 1
    assert remove_outdated(spool, lambda: False, print) == 0
    assert remove_outdated(spool, lambda: True, print) == 2


NEWS_JUST_THEN = """
import os
from forgather_spool.dispatcher import entry, loop
folder, has_news, asked = os.environ["FORGATHER_HOME"] + "/server", loop.Dispatcher.has_news, []
def after_a_change(dispatcher):
    if not asked:
        open(f"{folder}/.echo", "w").close()
    asked.append(True)
    return has_news(dispatcher)
loop.Dispatcher.has_news = after_a_change
entry.live()
"""


def test_a_dispatcher_that_gave_way_does_not_leave_before_it_has_gone_on(world: World) -> None:
    """News may be an echo of its own steps, after which nothing comes that would wake it again."""
    old = builders.ended(world.spool)
    settings.change_dispatch(world.spool.paths, retention=ALL)

    subprocess.run([sys.executable, "-c", NEWS_JUST_THEN], env=world.env, check=True, timeout=60)

    assert locate(world.spool, old[1]) is None


def test_it_takes_no_longer_than_it_may(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.ended(spool)
    settings.change_dispatch(spool.paths, retention=ALL)
    monkeypatch.setattr(retention, "AT_MOST_S", -1.0)

    assert remove_outdated(spool, lambda: True, print) == 0


def test_settings_that_cannot_be_read_remove_nothing(spool: Spool) -> None:
    entry = builders.ended(spool)
    said: list[str] = []
    builders.damage(spool.paths.dispatch)

    assert remove_outdated(spool, lambda: True, said.append) == 0

    assert locate(spool, entry[1]) and "are not removed" in said[0]
