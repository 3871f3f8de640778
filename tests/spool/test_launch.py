"""A launch that goes wrong leaves its job where the next pass finds it, and no child that waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgather_spool.dispatcher.launch import Launched, Launcher, NotLaunched
from forgather_spool.errors import AlreadyClaimed, Missing, StorageFailed
from forgather_spool.host.base import HostEvent, ScopeRefused, ScopeStarted
from forgather_spool.job import State
from forgather_spool.outcome import Cancelled
from forgather_spool.runner.client import Hatched
from forgather_spool.spool.look import look
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from tests import builders


class Manager:
    """A host of scopes that says what it is told to say. `refuses`: it does not even take the request."""

    kind = "systemd"

    def __init__(self) -> None:
        self.scopes: list[str] = []
        self.answers: list[HostEvent] = []
        self.refuses = False

    def begin(self, scope: str, *about: object) -> None:
        if self.refuses:
            raise Missing("no manager answers")
        self.scopes.append(scope)

    def events(self) -> list[HostEvent]:
        answers, self.answers = self.answers, []
        return answers


class Children:
    """A nursery whose children only note what is done with them."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def hatch(self, request: dict[str, Any]) -> Hatched:
        return Hatched(1, 1, -1)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: self.notes.append(name)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(builders.HOST)
    return spool


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
def children() -> Children:
    return Children()


@pytest.fixture
def launcher(spool: Spool, manager: Manager, children: Children) -> Launcher:
    return Launcher(spool, manager, children, builders.HOST, builders.BOOT_ID)  # type: ignore[arg-type]


def state(spool: Spool, entry: Entry) -> State:
    return look(spool, entry[1]).state


def test_a_child_makes_ready_while_its_scope_comes_up_and_goes_when_it_has(
    spool: Spool, manager: Manager, children: Children, launcher: Launcher
) -> None:
    entry = builders.submitted(spool)

    assert launcher.launch(entry, ()) is None
    assert children.notes == ["tell"]
    manager.answers = [ScopeStarted("somebody-elses.scope"), ScopeStarted(manager.scopes[0])]

    [launched] = launcher.events()
    assert isinstance(launched, Launched)
    assert (launched.entry, children.notes[-1], state(spool, entry)) == (entry, "go", State.LAUNCHING)


def test_a_scope_that_is_refused_puts_its_job_back_and_lets_the_child_go(
    spool: Spool, manager: Manager, children: Children, launcher: Launcher
) -> None:
    entry = builders.submitted(spool)
    launcher.launch(entry, ())
    manager.answers = [ScopeRefused(manager.scopes[0], "too many scopes")]

    assert launcher.events() == [NotLaunched(entry, "too many scopes")]

    assert (children.notes[-1], spool.waiting(), len(launcher)) == ("abandon", [entry], 0)


def test_a_manager_that_takes_no_request_puts_the_job_back(
    spool: Spool, manager: Manager, children: Children, launcher: Launcher
) -> None:
    entry = builders.submitted(spool)
    manager.refuses = True

    assert launcher.launch(entry, ()) == NotLaunched(entry, "no manager answers")

    assert (children.notes, spool.waiting(), len(launcher)) == (["abandon"], [entry], 0)


def test_a_job_that_cannot_be_put_back_now_says_both_reasons(
    spool: Spool, manager: Manager, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = builders.submitted(spool)
    manager.refuses = True

    def refuse(*args: object) -> None:
        raise StorageFailed("the disk is full")

    monkeypatch.setattr(Spool, "put_back", refuse)

    assert launcher.launch(entry, ()) == NotLaunched(entry, "no manager answers; the disk is full")

    assert spool.taken(builders.HOST) == [entry]


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_stop_that_was_asked_for_while_it_was_put_back_counts(spool: Spool, launcher: Launcher, attempt: int) -> None:
    """Of the attempt before as well: whoever asked could not know of the next one."""
    entry = builders.waiting_again(spool, retries=1)
    spool.ask_to_stop(entry[1], by="anna", attempt=attempt)

    with pytest.raises(AlreadyClaimed, match="cancelled by anna"):
        launcher.launch(entry, ())

    result = look(spool, entry[1]).result
    assert result is not None
    assert result.outcome == Cancelled("anna")
