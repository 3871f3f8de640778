"""Jobs after one that can never end as they want: the whole chain in one pass, each as its spec says."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from forgather_spool.dispatcher import unmet
from forgather_spool.dispatcher.deciding import Deciding
from forgather_spool.errors import StorageFailed
from forgather_spool.job import Result
from forgather_spool.outcome import Refused
from forgather_spool.spool import files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from tests import builders


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(builders.HOST)
    return spool


def after(entry: Entry, when: str = "ok", **more: object) -> dict[str, object]:
    return {"after": [{"job": entry[1], "when": when}], **more}


def one_pass(spool: Spool) -> list[str]:
    """What it says."""
    said: list[str] = []
    deciding = Deciding(spool, said.append, unexpected)
    deciding.look()
    deciding.decide({}, {})
    unmet.Unmet(spool, builders.HOST, said.append, lambda step: step()).end(deciding)
    return said


def failed_job(spool: Spool) -> Entry:
    return builders.ended(spool, outcome={"kind": "exited", "exit_code": 3})


def unexpected(error: StorageFailed) -> None:
    raise error


def outcome(spool: Spool, entry: Entry) -> object:
    return Result.from_document(files.read_document(spool.paths.result(entry[1], 1))).outcome


def test_a_chain_ends_in_one_pass(spool: Spool):
    """Each job is after the one before, so each is known to be hopeless only when that has been refused."""
    failed = failed_job(spool)
    chain = [builders.submitted(spool, **after(failed))]
    for _ in range(20):
        chain.append(builders.submitted(spool, **after(chain[-1])))

    one_pass(spool)

    assert spool.waiting() == []
    assert outcome(spool, chain[0]) == Refused(
        f"can never start: {failed[1]} ended: exited 3, and this job wanted it to end well"
    )
    assert outcome(spool, chain[-1]) == Refused(
        f"can never start: {chain[-2][1]} was refused, and this job wanted it to end well"
    )


def test_it_goes_on_past_one_that_is_held_no_further(spool: Spool):
    """A job on hold may yet be released, changed and run; so may those after it."""
    failed = failed_job(spool)
    held = builders.submitted(spool, **after(failed, after_unmet="hold"))
    waits = builders.submitted(spool, **after(held))

    one_pass(spool)

    assert (spool.held(), spool.waiting()) == ([held], [waits])


def test_who_wanted_a_failure_or_any_end_is_left_to_start(spool: Spool):
    failed = failed_job(spool)
    never = builders.submitted(spool, **after(failed))
    wants_this = [builders.submitted(spool, **after(never, when)) for when in ("notok", "any")]
    runs_anyway = builders.submitted(spool, **after(never, after_unmet="run"))

    one_pass(spool)

    assert spool.waiting() == [*wants_this, runs_anyway]


def test_a_pass_ends_only_so_many_and_the_next_the_rest(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unmet, "MOST_PER_PASS", 3)
    failed = failed_job(spool)
    chain = [builders.submitted(spool, **after(failed))]
    for _ in range(4):
        chain.append(builders.submitted(spool, **after(chain[-1])))

    one_pass(spool)
    assert spool.waiting() == chain[3:]

    one_pass(spool)
    assert spool.waiting() == []


def test_one_that_the_disk_refuses_does_not_keep_the_others(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    failed = failed_job(spool)
    unlucky, lucky = builders.submitted(spool, **after(failed)), builders.submitted(spool, **after(failed))
    finish = Spool.finish

    def full(spool: Spool, entry: Entry, *more: str) -> None:
        if entry == unlucky:
            raise StorageFailed("no room")
        finish(spool, entry, *more)

    monkeypatch.setattr(Spool, "finish", full)
    deciding = Deciding(spool, lambda _: None, unexpected)
    deciding.look()
    deciding.decide({}, {})
    unmet.Unmet(spool, builders.HOST, lambda _: None, despite_full_disk).end(deciding)

    assert isinstance(outcome(spool, lucky), Refused)
    assert spool.taken(builders.HOST) == [unlucky]


def despite_full_disk(step) -> None:
    with contextlib.suppress(StorageFailed):
        step()


@pytest.mark.parametrize("when", ["ok", "any", "notok"])
@pytest.mark.parametrize("job", ["", "prepare", "../../../etc", "q_", "q_1738012412345_a1b2c3d4[x]"])
def test_what_comes_after_something_that_is_no_job_is_refused_and_holds_nobody_up(
    spool: Spool, job: str, when: str
) -> None:
    """A file that somebody dropped names what it likes; a dispatcher that dies of it would die again and again."""
    entry = builders.submitted(spool, after=[{"job": job, "when": when}])

    one_pass(spool)

    refused = outcome(spool, entry)
    assert isinstance(refused, Refused)
    assert f"{job} is no id of a job" in refused.reason
