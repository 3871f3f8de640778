"""A copy of a job's output for `journalctl`, as best effort. The truth is `output.log`.

journald counts every line of a user's jobs against one limit, that of the user
manager's own unit, and drops the rest in silence: one noisy job would cost its
neighbours and the dispatcher their lines. So each job keeps to a budget, what is
left out is counted, and the journal itself says how many lines are missing.

Nothing here raises, or waits longer than `PATIENCE_S` for a datagram: journald may
be full, restarting or absent. The runner imports this module: few imports.
"""

from __future__ import annotations

import _socket
import os
import time

SOCKET = "/run/systemd/journal/socket"

# journald.conf(5): RateLimitBurst=10000 per RateLimitIntervalSec=30s, times 1 to 6 by
# free disk (journal_ratelimit_test in systemd), for all jobs of a user together.
# Three noisy jobs and their dispatcher fit into the smallest.
BUDGET_LINES = 3000
BUDGET_WINDOW_S = 30.0
MAX_LINE_BYTES = 48 * 1024  # LineMax= in journald.conf(5)
MAX_DATAGRAM_BYTES = 64 * 1024  # well below the default net.core.wmem_default of 208 KiB
PATIENCE_S = 0.02  # journald empties a queue of ten in a few milliseconds

WARNING, INFO = 4, 6  # syslog(3)


class JournalSender:
    """The lines of one job, under ``SYSLOG_IDENTIFIER=<job_id>``.

    Counts what journald's socket took and what it did not get: over budget, full,
    absent. It may still drop what it took; that, nobody tells us.
    """

    def __init__(self, job_id: str, *, socket_path: str = SOCKET) -> None:
        self.sent_lines = 0
        self.dropped_lines = 0
        self._untold = 0  # dropped since the last line that said so
        self._job_id = job_id
        self._socket_path = socket_path
        self._fields = f"SYSLOG_IDENTIFIER={job_id}\nFORGATHER_JOB_ID={job_id}\n".encode()
        self._window_ends = 0.0
        self._budget = 0
        self._takes_more = True
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)

    def send_lines(self, lines: list[bytes], priority: int = INFO) -> int:
        """How many of `lines`, in order and without their newlines, journald took."""
        allowed = min(len(lines), self.allowance())
        self._budget -= allowed
        if allowed and self._untold:
            self._tell_dropped()
        sent = self._send(lines[:allowed], priority) if allowed else 0
        self.sent_lines += sent
        self.skip(len(lines) - sent)
        return sent

    def allowance(self) -> int:
        """How many lines it would take now. With 0 there is no use in making lines: count them and `skip`."""
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + BUDGET_WINDOW_S
            self._budget = BUDGET_LINES
        return self._budget

    def skip(self, lines: int) -> None:
        """Count as dropped what was not even offered."""
        self.dropped_lines += lines
        self._untold += lines

    def say(self, text: str, priority: int = INFO) -> bool:
        """A line of our own, whatever the budget; whether journald took it."""
        return self._send([text.encode()], priority) == 1

    def close(self) -> None:
        """Say what is missing, and let go of the socket."""
        if self._untold:
            self._tell_dropped()
        self._sock.close()

    def _tell_dropped(self) -> None:
        if self.say(f"{self._untold} lines are only in `forgather job dump {self._job_id}`", WARNING):
            self._untold = 0

    def _send(self, lines: list[bytes], priority: int) -> int:
        """How many of `lines` journald took, in as few datagrams as they fit: its queue may hold ten."""
        head = self._fields + f"PRIORITY={priority}\n".encode()
        sent = size = 0
        datagram: list[bytes] = []
        for line in lines:
            entry = head + _message(line)
            if datagram and size + len(entry) > MAX_DATAGRAM_BYTES:
                sent += self._send_datagram(datagram)
                datagram, size = [], 0
            datagram.append(entry)
            size += len(entry)
        return sent + self._send_datagram(datagram)

    def _send_datagram(self, entries: list[bytes]) -> int:
        deadline = time.monotonic() + PATIENCE_S if self._takes_more else 0.0
        while True:
            try:
                self._sock.sendto(b"\n".join(entries), self._socket_path)
            except BlockingIOError:  # its queue is full; a stuck journald is waited for only once
                self._takes_more = time.monotonic() < deadline
                if not self._takes_more:
                    return 0
                time.sleep(0.001)
            except OSError:  # ENOENT or ECONNREFUSED absent, EPIPE restarting
                return 0
            else:
                self._takes_more = True
                return len(entries)


def why_unreadable() -> str | None:
    """Why `journalctl --user` would not show a job's lines, in a sentence; None: it does.

    Writes one line and looks for it: settings do not tell (a group, a volatile
    journal and a system user each hide it). Takes up to two seconds.
    """
    import shutil

    if shutil.which("journalctl") is None:
        return "journalctl is not installed"
    sender = JournalSender(f"forgather-probe-{os.getpid()}-{time.monotonic_ns()}")
    try:
        if not sender.send_lines([b"can this line be read back?"]):
            return f"nothing listens at {SOCKET}: systemd-journald does not run here"
        if _reads_back(sender):
            return None
    finally:
        sender.close()
    if not os.path.isdir("/var/log/journal"):
        return "the journal is kept in memory only, where users cannot read it: mkdir /var/log/journal as root"
    return "the journal hides this user's own lines: they are not in groups systemd-journal or adm"


def _reads_back(sender: JournalSender) -> bool:
    import subprocess

    match = sender._fields.decode().partition("\n")[0]
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        command = ["journalctl", "--user", "--quiet", "-n", "1", "-o", "cat", match]
        if subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stdout.strip():
            return True
        time.sleep(0.05)
    return False


def _message(line: bytes) -> bytes:
    """The MESSAGE field in journald's native protocol; binary where a newline is inside."""
    if len(line) > MAX_LINE_BYTES:
        cut = len(line) - MAX_LINE_BYTES
        line = line[:MAX_LINE_BYTES] + f" ... and {cut} bytes more, in output.log".encode()
    if b"\n" in line:
        return b"MESSAGE\n" + len(line).to_bytes(8, "little") + line + b"\n"
    return b"MESSAGE=" + line + b"\n"
