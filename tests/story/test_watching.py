"""`sched list --watch`: in place on a terminal, one after the other elsewhere."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.cli.watching import fitted
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.waiting import wait_until

FORGATHER = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    monkeypatch.setenv("FORGATHER_NO_WAKE", "1")
    return Spool().create()


@pytest.fixture
def watching(spool: Spool) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*FORGATHER, "sched", "list", "--watch", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def states(line: str) -> list[str]:
    return [job["state"] for job in json.loads(line)["jobs"]]


def test_a_script_reads_a_line_for_each_change(spool: Spool, watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    assert states(watching.stdout.readline()) == []

    entry = builders.submitted(spool)
    assert states(watching.stdout.readline()) == ["waiting"]
    spool.cancel_waiting(entry, "me")

    assert states(watching.stdout.readline())[-1] in ("ending", "done")


def test_it_ends_when_its_reader_goes(spool: Spool, watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None and watching.stderr is not None
    watching.stdout.readline()
    watching.stdout.close()  # and nothing changes, so nothing is written that would tell

    assert watching.wait(timeout=30) == 141
    assert watching.stderr.read() == ""


@pytest.mark.parametrize("words", ["sched list --watch", "job top"])
def test_it_ends_at_once_when_stdout_is_closed(spool: Spool, words: str) -> None:
    """Nobody could ever see it, nor leave; `> /dev/null` is another matter."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(FORGATHER)} {words} >&-"], capture_output=True, text=True, check=False, timeout=30
    )

    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_is_drawn_in_place_and_given_back(spool: Spool) -> None:
    """Ctrl-C ends it; the cursor and the first screen come back."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*FORGATHER, "sched", "list", "--watch"], stdout=terminal, stderr=terminal, stdin=terminal
    )
    os.close(terminal)
    seen = bytearray()

    def shows(text: bytes) -> bool:
        if select.select([screen], [], [], 0)[0]:
            try:
                seen.extend(os.read(screen, 65536))
            except OSError:
                pass
        return text in seen

    try:
        wait_until(lambda: shows(b"no jobs"), what="the empty list")
        entry = builders.submitted(spool, name="fresh")
        wait_until(lambda: shows(b"fresh"), what="the new job")
        process.send_signal(signal.SIGINT)
        wait_until(lambda: shows(b"\x1b[?1049l"), what="the first screen")
        assert process.wait(timeout=30) == 130
        assert entry[1][-8:].encode() in seen and seen.startswith(b"\x1b[?1049h\x1b[?25l")
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def test_what_does_not_fit_is_counted() -> None:
    assert fitted(["one", "two", "three"], 80, 3) == ["one", "two", "three"]
    assert fitted([f"line {n}" for n in range(10)], 80, 3) == [
        "line 0",
        "line 1",
        "… 8 more lines; the terminal is too low",
    ]
    assert fitted(["a long line"], 6, 3) == ["a lon…"]
