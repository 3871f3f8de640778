"""`forgather sched edit`: whatever is typed and whoever is killed, the job is the old one or the new one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgather_spool.cli.sched import editing
from forgather_spool.cli.sched.command import sched
from forgather_spool.errors import BadDocument, Missing, UsageError
from forgather_spool.job import State
from forgather_spool.spool import files, order
from forgather_spool.spool.batch import submit_one
from forgather_spool.spool.look import look
from forgather_spool.spool.names import Entry
from forgather_spool.spool.place import held_places
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.spool.crashing import dies_after

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setattr("forgather_spool.cli.sched.order_command.nudge", lambda spool: None)
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "true")
    return Spool().create()


def typing(*changes: Change) -> Callable[[str], None]:
    """An editor in which each opening makes the next of these changes."""
    left = list(changes)

    def editor(path: str) -> None:
        document = json.loads(Path(path).read_text())
        left.pop(0)(document)
        Path(path).write_text(json.dumps(document))

    return editor


def edit(spool: Spool, entry: Entry, *changes: Change, again: bool = False) -> editing.Came:
    return editing.edit(spool, entry[1], typing(*changes), lambda question: again)


def run(*words: str) -> Result:
    return CliRunner().invoke(sched, list(words))


def test_what_was_saved_replaces_the_spec_and_the_job_waits_again(spool: Spool) -> None:
    entry = builders.submitted(spool, name="old", env={"SECRET": "x"})

    came = edit(spool, entry, lambda spec: spec.update(name="new", gpus=2, priority=4))

    job = look(spool, entry[1])
    assert (came.said, came.changed) == ("changed: gpus, name, priority", True)
    assert (job.state, job.priority, job.spec.name, job.spec.gpus) == (State.WAITING, 4, "new", 2)
    assert job.spec.env == {"SECRET": "x"}
    assert files.names(spool.paths.tmp) == []


def test_a_job_on_hold_stays_on_hold(spool: Spool) -> None:
    entry = builders.held(spool)

    edit(spool, entry, lambda spec: spec.update(name="new"))

    assert look(spool, entry[1]).state is State.HELD


def test_hold_is_shown_as_it_is_and_may_be_changed(spool: Spool) -> None:
    """It said `changed: hold` and let the job start."""
    entry, other = builders.submitted(spool), builders.held(spool)

    assert edit(spool, entry, lambda spec: spec.update(hold=True)).said == "changed: hold"
    assert look(spool, entry[1]).state is State.HELD

    assert edit(spool, other, lambda spec: spec.pop("hold") or pytest.fail("it is on hold")).changed
    assert look(spool, other[1]).state is State.WAITING


def test_a_job_cannot_be_made_to_come_after_itself(spool: Spool) -> None:
    """They would wait for each other for ever; also by way of another, on hold or of an array."""
    first = builders.submitted(spool)
    array = submit_one(spool, {"argv": ["true"], "array": {"indexes": "0-1"}, "after": wishes(first[1])})
    last = builders.held(spool, after=wishes(array))

    for job_id in (first[1], array, f"{array}[1]", last[1]):
        with pytest.raises(BadDocument, match=f"it would come after itself: {first[1]} after "):
            edit(spool, first, lambda spec, job_id=job_id: spec.update(after=wishes(job_id)))

    assert edit(spool, last, lambda spec: spec.update(after=wishes(first[1]))).changed


def wishes(job_id: str) -> list[dict[str, str]]:
    return [{"job": job_id, "when": "any"}]


def test_it_is_on_hold_while_the_editor_is_open(spool: Spool) -> None:
    entry = builders.submitted(spool)
    seen = []

    edit(spool, entry, lambda spec: seen.append(look(spool, entry[1]).state))

    assert seen == [State.HELD]
    assert look(spool, entry[1]).state is State.WAITING


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda spec: spec.update(gpu=1), "no such field"),
        (lambda spec: spec.pop("argv"), "is required"),
        (lambda spec: spec.update(gpus="two"), "expected integer"),
        (lambda spec: spec.update(preemptible=True), "without --gpus"),
        (lambda spec: spec.update(after=[{"job": "nope", "when": "ok"}]), "no job"),
        (lambda spec: spec.update(unique="k"), "cannot be changed"),
    ],
)
def test_what_is_no_good_leaves_the_good_one(spool: Spool, change: Change, problem: str) -> None:
    entry = builders.submitted(spool, name="good")
    before = spool.queued_spec(entry)

    with pytest.raises((BadDocument, UsageError), match=problem) as refused:
        edit(spool, entry, change)

    assert refused.value.hint is not None
    assert spool.queued_spec(entry) == before


def test_a_slip_can_be_mended_in_the_editor(spool: Spool) -> None:
    entry = builders.submitted(spool)

    edit(spool, entry, lambda spec: spec.update(gpu=2), lambda spec: spec.update(gpus=spec.pop("gpu")), again=True)

    assert look(spool, entry[1]).spec.gpus == 2


def test_a_job_that_started_is_left_alone(spool: Spool) -> None:
    entry = builders.running(spool)

    result = run("edit", entry[1])

    assert (result.exit_code, result.stdout) == (1, f"{entry[1]}: has started already: running\n")


def test_somebody_elses_release_meanwhile_wins_and_there_is_one_job(spool: Spool) -> None:
    entry = builders.submitted(spool, name="old")

    def released_meanwhile(spec: dict[str, Any]) -> None:
        order.release(spool, [entry])
        spec["name"] = "new"

    came = edit(spool, entry, released_meanwhile)

    assert not came.as_asked
    assert (spool.held(), spool.waiting()) == ([], [entry])
    assert look(spool, entry[1]).spec.name == "old"


def test_somebody_elses_edit_meanwhile_is_not_overwritten(spool: Spool) -> None:
    entry = builders.submitted(spool, name="old")

    def edited_meanwhile(spec: dict[str, Any]) -> None:
        [place] = held_places(spool)
        assert order.replace_spec(spool, place, files.read_bytes(place.path), {**spec, "name": "theirs"})
        spec["name"] = "ours"

    came = edit(spool, entry, edited_meanwhile)

    assert not came.as_asked
    assert look(spool, entry[1]).spec.name == "theirs"


def test_wherever_an_edit_dies_the_job_is_whole_and_old_or_new(spool: Spool) -> None:
    for calls in range(25):
        entry = builders.submitted(spool, name="old")
        with dies_after(calls):
            edit(spool, entry, lambda spec: spec.update(name="new"))

        job = look(spool, entry[1])
        assert job.spec.name in ("old", "new"), calls
        assert job.state in (State.HELD, State.WAITING)
        assert len([found for found in (*spool.held(), *spool.waiting()) if found[1] == entry[1]]) == 1


def test_an_editor_that_fails_changes_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = builders.submitted(spool)

    for editor, error in (
        ("false", UsageError), ("/no/such/editor", Missing), ("rm", UsageError), ("vi '", UsageError)
    ):  # fmt: skip
        monkeypatch.setenv("EDITOR", editor)
        assert isinstance(run("edit", entry[1]).exception, error)

    assert spool.waiting() == [entry]


def test_without_a_terminal_or_an_editor_it_is_refused_before_the_job_is_touched(spool: Spool, monkeypatch) -> None:
    entry = builders.submitted(spool)
    monkeypatch.setenv("EDITOR", " ")

    result = run("edit", entry[1])

    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == "there is no terminal to edit on, and no EDITOR"
    assert held_places(spool) == []
    assert spool.waiting() == [entry]


def test_the_editor_of_the_environment_is_run_with_its_arguments(spool: Spool, monkeypatch, tmp_path: Path) -> None:
    entry = builders.submitted(spool, name="old")
    script = tmp_path / "my editor"
    script.write_text('#!/bin/sh\ntest "$1" = --wait && sed -i s/old/new/ "$2"\n')
    script.chmod(0o700)
    monkeypatch.setenv("EDITOR", f"'{script}' --wait")

    result = run("edit", "--json", "old")

    assert json.loads(result.stdout)[0]["changed"] is True
    assert look(spool, entry[1]).spec.name == "new"
    assert not [name for name in os.listdir("/tmp") if entry[1] in name]
