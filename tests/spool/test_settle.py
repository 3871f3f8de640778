"""Settling by what the files and the machine say, without a dispatcher around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.dispatcher.settle import Settler
from forgather_spool.host import proc
from forgather_spool.job import Lost, Result
from forgather_spool.spool import files
from forgather_spool.spool.queue import Entry, Spool, utc_now

HOST = "box"


class EmptyMachine:
    """A host whose scopes are all empty."""

    def members(self, scope):
        return []


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(HOST)
    return spool


@pytest.fixture
def settler(spool: Spool) -> Settler:
    return Settler(spool, EmptyMachine(), HOST, "this-boot", lambda line: None)


def started_by_us(spool: Spool, boot_id: str) -> Entry:
    """A running job whose runner, by its pid, is this very process."""
    entry = (0, spool.submit({"argv": ["true"]}))
    spool.claim(entry, HOST)
    me = {"pid": os.getpid(), "start_ticks": proc.start_ticks(os.getpid())}
    claim = {
        "version": 1, "attempt": 1, "host": HOST, "host_kind": "process", "boot_id": boot_id, "priority": 0, "gpus": [],
        "scope": f"forgather-job-{entry[1]}-1.scope", "runner": me, "claimed_at": utc_now(),
    }  # fmt: skip
    spool.write_claim(entry[1], claim)
    spool.start(entry[1], HOST)
    return entry


def test_a_runner_of_another_boot_is_gone_whoever_has_its_pid_now(spool: Spool, settler: Settler) -> None:
    entry = started_by_us(spool, boot_id="an-earlier-boot")

    assert settler.settle(entry) is None

    result = Result.from_document(files.read_document(spool.paths.result(entry[1], 1)))
    assert result.outcome == Lost("the machine was restarted while it ran")


def test_a_runner_of_this_boot_is_left_alone(spool: Spool, settler: Settler) -> None:
    entry = started_by_us(spool, boot_id="this-boot")

    claim = settler.settle(entry)

    assert claim is not None and claim.runner_pid == os.getpid()
    assert not spool.has_result(entry[1])


def test_what_has_left_this_host_is_nobodys_to_settle(spool: Spool, settler: Settler) -> None:
    """Put back and claimed by another host, whose boot is another: its claim and its job are not ours to end."""
    entry = started_by_us(spool, boot_id="the-other-hosts-boot")
    spool.open_host("other")
    os.rename(spool.paths.taken(HOST, entry[1], 0), spool.paths.taken("other", entry[1], 0))

    assert settler.settle(entry) is None

    assert not spool.has_result(entry[1])
    assert spool.taken("other") == [entry]
