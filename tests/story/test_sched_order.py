"""`forgather sched hold|release`: as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgather_spool.cli.sched import sched
from forgather_spool.errors import NoSuchJob
from forgather_spool.job import State
from forgather_spool.spool.look import look
from forgather_spool.spool.queue import Spool
from tests import builders


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Homes whose dispatcher was woken; none is."""
    homes: list[str] = []
    for module in ("sched", "sched_order"):
        monkeypatch.setattr(f"forgather_spool.cli.{module}.nudge", lambda spool: homes.append(spool.paths.home))
    return homes


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nudged: list[str]) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    return Spool().create()


def run(*words: str) -> Result:
    return CliRunner().invoke(sched, list(words))


def printed(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def told(*words: str) -> Any:
    return json.loads(printed(*words, "--json"))


# -- hold and release -------------------------------------------------------------------------------------------------


def test_a_job_is_held_shown_as_such_and_released_to_its_place(spool: Spool, nudged: list[str]) -> None:
    first = builders.submitted(spool, name="first", priority=1)
    second = builders.submitted(spool, name="second")

    assert printed("hold", "first") == f"{first[1]}: on hold\n"

    assert "held=1" in printed("status")
    assert [job["state"] for job in told("list")["jobs"]] == ["waiting", "held"]
    assert "forgather sched release" in printed("why", first[1])
    assert not nudged
    assert printed("release", first[1]) == f"{first[1]}: released\n"
    assert [job["name"] for job in told("list")["jobs"]] == ["first", "second"]
    assert nudged
    assert spool.waiting() == [first, second]


def test_asking_twice_is_no_error(spool: Spool) -> None:
    entry = builders.held(spool)

    assert printed("hold", entry[1]) == f"{entry[1]}: was on hold already\n"
    assert told("release", entry[1])[0]["changed"] is True
    assert told("release", entry[1]) == [
        {"job_id": entry[1], "as_asked": True, "changed": False, "said": "was not on hold: it waits"}
    ]


def test_a_job_that_started_goes_on_and_the_others_are_held(spool: Spool) -> None:
    runs, over, waits = builders.running(spool), builders.ended(spool), builders.submitted(spool)

    result = run("hold", runs[1], over[1], waits[1])

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{runs[1]}: has started already: running",
        f"{over[1]}: has ended already: exited 0",
        f"{waits[1]}: on hold",
    ]
    assert look(spool, runs[1]).state is State.RUNNING


def test_a_whole_group_or_everything_at_once(spool: Spool) -> None:
    night = [builders.submitted(spool, group="night", priority=n) for n in (1, 0)]
    other = builders.submitted(spool)

    assert [one["job_id"] for one in told("hold", "--group", "night")] == [job_id for _, job_id in night]
    assert (spool.held(), spool.waiting()) == (sorted(night), [other])
    printed("hold", "--all")
    assert spool.waiting() == []
    assert len(told("release", "--group", "night")) == 2
    assert spool.held() == [other]
    assert printed("release", "--group", "nobody") == "no such job waits\n"


@pytest.mark.parametrize("words", [["hold"], ["hold", "--all", "x"], ["release", "--all", "--group", "g"]])
def test_it_must_be_clear_which_jobs_are_meant(spool: Spool, words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_of_an_unknown_job_nothing_is_done(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert isinstance(run("hold", entry[1], "nope").exception, NoSuchJob)
    assert spool.held() == []
