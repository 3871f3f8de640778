"""The copy of a job's output to the journal, against a journald of our own: one datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.host import journal
from forgather_spool.host.journal import JournalSender

JOB = "q_1738012412345_a1b2c3d4"


class FakeJournald:
    """Reads the native protocol; https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(self.path)

    def entries(self) -> list[dict[str, bytes]]:
        """What has come since the last call, one dict of fields an entry."""
        found: list[dict[str, bytes]] = []
        while True:
            try:
                data = self._sock.recv(1 << 20)
            except BlockingIOError:
                return found
            found += self._parse(data)

    def messages(self) -> list[bytes]:
        return [entry["MESSAGE"] for entry in self.entries()]

    def close(self) -> None:
        self._sock.close()

    @staticmethod
    def _parse(data: bytes) -> list[dict[str, bytes]]:
        entries: list[dict[str, bytes]] = [{}]
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not line:
                entries.append({})
            elif equals:
                entries[-1][name.decode()] = value
            else:
                size = int.from_bytes(data[:8], "little")
                entries[-1][name.decode()], data = data[8 : 8 + size], data[8 + size + 1 :]
        return entries


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[FakeJournald]:
    fake = FakeJournald(tmp_path / "socket")
    yield fake
    fake.close()


@pytest.fixture
def sender(journald: FakeJournald) -> Iterator[JournalSender]:
    sender = JournalSender(JOB, socket_path=journald.path)
    yield sender
    sender.close()


def test_each_line_is_an_entry_of_its_job(journald: FakeJournald, sender: JournalSender) -> None:
    assert sender.send_lines([b"first", b"second"]) == 2

    assert journald.entries() == [
        {
            "SYSLOG_IDENTIFIER": JOB.encode(),
            "FORGATHER_JOB_ID": JOB.encode(),
            "PRIORITY": b"6",
            "MESSAGE": line,
        }
        for line in (b"first", b"second")
    ]
    assert (sender.sent_lines, sender.dropped_lines) == (2, 0)


def test_any_bytes_arrive_as_they_are(journald: FakeJournald, sender: JournalSender) -> None:
    """A newline inside cannot forge a field, and nothing is taken for text."""
    lines = [b"two\nPRIORITY=0", b"", b"\xff\x00\x1b[1m", b"50%\r100%", b"A=B"]

    sender.send_lines(lines)

    assert journald.messages() == lines


def test_a_line_too_long_for_the_journal_says_where_the_rest_is(journald: FakeJournald, sender: JournalSender) -> None:
    sender.send_lines([b"x" * (journal.MAX_LINE_BYTES + 5)])

    (message,) = journald.messages()
    assert message == b"x" * journal.MAX_LINE_BYTES + b" ... and 5 bytes more, in output.log"


def test_a_noisy_job_keeps_to_its_budget_and_says_what_is_missing(
    journald: FakeJournald, sender: JournalSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines over budget are counted, and the next window begins with their number."""
    now = [1000.0]
    monkeypatch.setattr("forgather_spool.host.journal.time.monotonic", lambda: now[0])
    taken = 0
    for _ in range(40):
        taken += sender.send_lines([b"noise"] * 100)
        journald.entries()
    assert taken == sender.sent_lines == journal.BUDGET_LINES
    assert sender.dropped_lines == 4000 - journal.BUDGET_LINES

    now[0] += journal.BUDGET_WINDOW_S
    assert sender.send_lines([b"later"]) == 1

    notice, line = journald.entries()
    assert notice["MESSAGE"] == f"1000 lines are only in `forgather job dump {JOB}`".encode()
    assert notice["PRIORITY"] == b"4"
    assert line["MESSAGE"] == b"later"


def test_a_stuck_journald_costs_lines_and_no_error(journald: FakeJournald, sender: JournalSender) -> None:
    """Its queue fills, the rest is counted; once it reads again, so do new lines."""
    for _ in range(5):
        sender.send_lines([b"x" * 40_000] * 100)
    assert sender.sent_lines + sender.dropped_lines == 500
    assert sender.dropped_lines > 0
    assert len(journald.entries()) == sender.sent_lines

    assert sender.send_lines([b"again"]) == 1

    assert journald.messages()[-1] == b"again"


def test_an_absent_journald_costs_lines_and_no_error(tmp_path: Path) -> None:
    sender = JournalSender(JOB, socket_path=str(tmp_path / "nobody"))

    assert sender.send_lines([b"a", b"b"]) == 0
    sender.close()

    assert (sender.sent_lines, sender.dropped_lines) == (0, 2)


def test_a_journald_that_restarts_gets_the_lines_after_it(journald: FakeJournald, sender: JournalSender) -> None:
    """A new socket at the same path is found by itself."""
    sender.send_lines([b"before"])
    journald.close()
    Path(journald.path).unlink()
    assert sender.send_lines([b"meanwhile"]) == 0

    restarted = FakeJournald(Path(journald.path))
    assert sender.send_lines([b"after"]) == 1

    assert restarted.messages() == [f"1 lines are only in `forgather job dump {JOB}`".encode(), b"after"]
    restarted.close()
