"""`forgather sched hold|release|reprioritize|move|group`: as a user types them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import assume, given
from hypothesis import strategies as st

from forgather_spool.cli.sched.command import sched
from forgather_spool.cli.sched.moving import After, Before, priority_for
from forgather_spool.errors import JobFailed, NoSuchJob, UsageError
from forgather_spool.job import State
from forgather_spool.schema import PRIORITY_LIMIT
from forgather_spool.spool import settings
from forgather_spool.spool.look import look
from forgather_spool.spool.names import start_order
from forgather_spool.spool.queue import Spool
from tests import builders


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Homes whose dispatcher was woken; none is."""
    homes: list[str] = []
    for module in ("sched.command", "sched.order_command", "sched.group_command"):
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
    assert printed("release", "--group", "nobody") == "no such job is on hold\n"


@pytest.mark.parametrize("words", [["hold"], ["hold", "--all", "x"], ["release", "--all", "--group", "g"]])
def test_it_must_be_clear_which_jobs_are_meant(spool: Spool, words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_of_an_unknown_job_nothing_is_done(spool: Spool) -> None:
    entry = builders.submitted(spool)

    assert isinstance(run("hold", entry[1], "nope").exception, NoSuchJob)
    assert spool.held() == []


# -- reprioritize and move --------------------------------------------------------------------------------------------


def names(spool: Spool) -> list[str | None]:
    return [job["name"] for job in told("list")["jobs"]]


def test_another_priority_is_another_place(spool: Spool, nudged: list[str]) -> None:
    for name in ("a", "b", "c"):
        builders.submitted(spool, name=name)

    line = printed("reprioritize", "c", "--priority", "2")

    assert line.rstrip().endswith("priority 0 -> 2; number 1 of 3 that wait")
    assert names(spool) == ["c", "a", "b"]
    assert nudged
    assert told("reprioritize", "c", "--priority", "2")[0]["changed"] is False
    assert run("reprioritize", "c").exit_code == 2


def test_a_group_gets_another_priority_also_where_it_is_on_hold(spool: Spool) -> None:
    builders.submitted(spool, name="a")
    builders.submitted(spool, name="b", group="g")
    builders.held(spool, name="c", group="g")

    printed("reprioritize", "--group", "g", "--priority", "1")

    assert names(spool) == ["b", "a", "c"]
    assert [minus for minus, _ in spool.held()] == [-1]


def test_who_started_already_is_told_so(spool: Spool) -> None:
    entry = builders.running(spool)

    result = run("reprioritize", entry[1], "--priority", "9")

    assert (result.exit_code, result.stdout) == (1, f"{entry[1]}: has started already: running\n")


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["c", "--first"], ["c", "high", "a", "b", "low"]),
        (["a", "--last"], ["high", "b", "c", "low", "a"]),
        (["low", "--before", "a"], ["high", "low", "a", "b", "c"]),
        (["high", "--after", "c"], ["a", "b", "c", "high", "low"]),
        (["high", "--after", "a"], ["a", "b", "c", "high", "low"]),
        (["a", "--before", "b"], ["high", "a", "b", "c", "low"]),
    ],
    ids=" ".join,
)
def test_a_job_moves_and_the_others_stay_in_their_order(spool: Spool, words: list[str], then: list[str]) -> None:
    for name, priority in (("high", 10), ("a", 0), ("b", 0), ("c", 0), ("low", -5)):
        builders.submitted(spool, name=name, priority=priority)

    printed("move", *words)

    assert names(spool) == then


def test_a_move_says_where_the_job_is_now(spool: Spool) -> None:
    for name in ("a", "b", "c"):
        builders.submitted(spool, name=name)

    assert printed("move", "c", "--before", "b").rstrip().endswith("priority 0 -> 1; number 1 of 3 that wait")
    assert printed("move", "c", "--before", "b").rstrip().endswith("is there already; number 1 of 3 that wait")


def test_a_move_that_cannot_be_is_refused(spool: Spool) -> None:
    top = builders.submitted(spool, priority=PRIORITY_LIMIT)
    waits, runs = builders.submitted(spool), builders.running(spool)

    assert isinstance(run("move", waits[1], "--before", top[1]).exception, UsageError)
    assert isinstance(run("move", waits[1], "--before", runs[1]).exception, JobFailed)
    assert isinstance(run("move", waits[1], "--after", waits[1]).exception, UsageError)
    assert run("move", waits[1]).exit_code == 2
    assert run("move", waits[1], "--first", "--last").exit_code == 2
    assert run("move", runs[1], "--first").exit_code == 1


entries = st.tuples(st.integers(-3, 3), st.integers(0, 20).map(lambda n: f"q_1738012412345_a1b2c3d4[{n}]"))


@given(entry=entries, other=entries, wish=st.sampled_from([Before("x"), After("x")]))
def test_the_priority_is_the_nearest_that_does_it(entry, other, wish) -> None:
    def fulfilled(priority: int) -> bool:
        mine = start_order((-priority, entry[1]))
        return mine < start_order(other) if isinstance(wish, Before) else mine > start_order(other)

    assume(entry[1] != other[1])

    priority = priority_for(entry, other, wish)

    assert fulfilled(priority)
    step = 1 if priority < -entry[0] else -1
    assert priority == -entry[0] or not fulfilled(priority + step)


# -- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_is_there_when_a_job_names_it(spool: Spool) -> None:
    builders.submitted(spool, group="night"), builders.held(spool, group="night"), builders.running(spool, group="day")
    builders.submitted(spool), builders.ended(spool, group="old")

    assert told("group", "list") == [
        {"group": "day", "limit": None, "paused": False, "waiting": 0, "held": 0, "running": 1},
        {"group": "night", "limit": None, "paused": False, "waiting": 1, "held": 1, "running": 0},
    ]


def test_a_group_has_a_limit_and_can_be_paused_by_itself(spool: Spool, nudged: list[str]) -> None:
    builders.submitted(spool, group="night")

    assert printed("group", "set", "night", "--limit", "2") == "group night: at most 2 at once; not paused\n"
    assert printed("pause", "--group", "night") == ("group night: at most 2 at once; paused: none of its jobs starts\n")

    assert settings.dispatch(spool.paths)["groups"] == {"night": {"limit": 2, "paused": True}}
    assert settings.dispatch(spool.paths)["paused"] is False
    assert nudged
    assert "group night is paused" in printed("list")
    printed("resume", "--group", "night")
    assert told("group", "set", "night", "--limit", "none") == {"limit": None, "paused": False}
    printed("group", "remove", "night")
    assert settings.dispatch(spool.paths)["groups"] == {}
    assert isinstance(run("group", "remove", "night").exception, UsageError)


def test_what_another_set_at_the_same_time_stays(spool: Spool) -> None:
    settings.change_dispatch(spool.paths, paused=True, no_gpu_limit=3)

    printed("group", "set", "a", "--limit", "1")
    printed("group", "set", "b", "--pause")

    now = settings.dispatch(spool.paths)
    assert (now["paused"], now["no_gpu_limit"]) == (True, 3)
    assert now["groups"] == {"a": {"limit": 1, "paused": False}, "b": {"limit": None, "paused": True}}


@pytest.mark.parametrize("words", [["x"], ["x", "--pause", "--resume"], ["x", "--limit", "0"], ["x", "--limit", "few"]])
def test_a_group_setting_must_be_one(spool: Spool, words: list[str]) -> None:
    assert run("group", "set", *words).exit_code == 2
    assert not os.path.exists(spool.paths.dispatch)


def test_the_list_shows_groups_where_there_are_some(spool: Spool) -> None:
    builders.submitted(spool, name="a")
    assert "Group" not in printed("list")

    builders.submitted(spool, name="b", group="night\x1b")

    lines = printed("list").splitlines()
    assert lines[0].split()[5] == "Group"
    assert lines[2].split()[5] == "night\\x1b"
    assert [job["name"] for job in told("list", "--group", "night\x1b")["jobs"]] == ["b"]
