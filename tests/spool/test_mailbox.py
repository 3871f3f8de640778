"""The folder of commands: each is answered once, and what cannot be read is no answer that anything worked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.errors import UsageError
from forgather_spool.spool import files, preempt
from forgather_spool.spool.mailbox import ACK, Mailbox, endpoints
from forgather_spool.spool.queue import Spool
from tests import builders, file_system

OTHER = "q_1738012412345_a1b2c3d4"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


@pytest.fixture
def mailbox(spool: Spool) -> Mailbox:
    """Of a running job that may be asked to give way."""
    return Mailbox(spool.paths, builders.running(spool, preemptible=True)[1], 1)


def test_the_first_answer_stands(mailbox: Mailbox) -> None:
    command_id = mailbox.post("status", by="anna")

    assert mailbox.acknowledge(command_id, "done", by="trainer")
    assert not mailbox.acknowledge(command_id, "failed", by="somebody late")

    answer = mailbox.acknowledgement(command_id)
    assert answer is not None
    assert answer["outcome"] == "done"


@pytest.mark.parametrize("name", ["", "save and stop", "s\N{LATIN SMALL LETTER E WITH ACUTE}ve", "x" * 500])
def test_what_can_be_no_file_name_is_no_command(mailbox: Mailbox, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a command"):
        mailbox.post(name, by="anna")


def test_an_answer_that_goes_with_its_job_while_it_is_read_is_none(mailbox: Mailbox, monkeypatch) -> None:
    command_id = mailbox.post("status", by="anna")
    names = files.names
    file_system.patch(monkeypatch, "names", lambda path: [*names(path), f"{command_id}{ACK}"])

    assert mailbox.acknowledgement(command_id) is None


def test_the_endpoint_is_that_of_the_attempt_that_runs(spool: Spool) -> None:
    first, again = builders.running(spool), builders.waiting_again(spool, retries=1)
    for job_id in (first[1], again[1]):
        Path(spool.paths.endpoint(job_id, 1)).touch()

    assert endpoints(spool.paths) == [first[1]]


def gave_way(spool: Spool, mailbox: Mailbox) -> str | None:
    return preempt.gave_way(spool.paths, mailbox.job_id, 1, {"kind": "exited", "exit_code": 0})


def test_a_trainer_that_saved_when_asked_gave_way(spool: Spool, mailbox: Mailbox) -> None:
    preempt.want(spool.paths, mailbox.job_id, 1, OTHER)
    command_id = mailbox.post(preempt.SAVE_AND_STOP, by=f"preemption for {OTHER}")

    assert gave_way(spool, mailbox) is None, "it has not answered yet"
    mailbox.acknowledge(command_id, "done", by="trainer", step=3)
    assert gave_way(spool, mailbox) == OTHER


def test_a_trainer_that_could_not_save_did_not_give_way(spool: Spool, mailbox: Mailbox) -> None:
    preempt.want(spool.paths, mailbox.job_id, 1, OTHER)
    mailbox.acknowledge(mailbox.post(preempt.SAVE_AND_STOP, by=f"preemption for {OTHER}"), "failed", by="trainer")

    assert gave_way(spool, mailbox) is None
    assert preempt.was_declined(mailbox, f"preemption for {OTHER}")


def test_an_answer_that_cannot_be_read_is_no_success(spool: Spool, mailbox: Mailbox) -> None:
    preempt.want(spool.paths, mailbox.job_id, 1, OTHER)
    command_id = mailbox.post(preempt.SAVE_AND_STOP, by=f"preemption for {OTHER}")
    builders.damage(f"{mailbox.folder}/{command_id}{ACK}")

    assert gave_way(spool, mailbox) is None
    assert preempt.was_declined(mailbox, f"preemption for {OTHER}")


def test_a_command_that_cannot_be_read_is_nobodys(mailbox: Mailbox) -> None:
    command_id = mailbox.post(preempt.SAVE_AND_STOP, by="anna")
    builders.damage(f"{mailbox.folder}/{command_id}.json")

    assert preempt.sent(mailbox, "anna") == []


def test_told_twice_to_end_is_told_once(spool: Spool, mailbox: Mailbox) -> None:
    preempt.tell_to_end(spool.paths, mailbox.job_id, 1, by="first")
    preempt.tell_to_end(spool.paths, mailbox.job_id, 1, by="second")

    assert files.read_document(spool.paths.give_way(mailbox.job_id, 1))["by"] == "first"
    assert os.listdir(spool.paths.tmp) == []
