"""The program: `forgather dataset-server` as a user starts, asks and stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click.testing
import pytest

from forgather_spool.cli.dataset import server as command
from forgather_spool.cli.dataset import server_queue as dataset_server_queue
from forgather_spool.dataset.frames import MEDIA_TYPE, FrameReader
from forgather_spool.errors import UsageError
from tests.dataset_server.conftest import ROWS
from tests.waiting import wait_until

PROGRAM = [sys.executable, "-P", "-m", "forgather_spool.dataset_server"]
FORGATHER = [sys.executable, "-P", "-c", "import sys; from forgather_spool.cli.entry import main; sys.exit(main())"]
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "FORGATHER_HOME": str(tmp_path / "home"), "PYTHONPATH": root}


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str], stories: Path) -> Iterator[Start]:
    """``start(*words)``: a server process of `stories`, and its URL, once it answers."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str, before: Sequence[str] = ()) -> tuple[subprocess.Popen[str], str]:
        log = tmp_path / f"log-{len(running)}"
        with open(log, "w") as sink:
            process = subprocess.Popen(
                [*before, *PROGRAM, "--port", "0", "--local", f"stories={stories}", *words],
                env=environ,
                stderr=sink,
                text=True,
            )
        running.append(process)
        found = wait_until(lambda: re.search(r"dataset server on (\S+),", log.read_text()), 60, "the server's address")
        return process, found[1]

    yield begin
    for process in running:
        process.terminate()
        process.wait(timeout=30)


def ask(environ: dict[str, str], url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*FORGATHER, "dataset-server", *words, "--server", url]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def whole(environ: dict[str, str], url: str) -> list[int]:
    """All rows of stories in a shuffled order, by load and stream on connections of their own."""
    from forgather_spool.dataset.address import parse_address

    token = Path(environ["FORGATHER_HOME"], "dataset_server", f"{url.rpartition(':')[2]}.token").read_text().strip()
    address = parse_address(url, token)
    connection = address.connect(30)
    connection.request("POST", "/v1/load", b'{"path": "local/stories"}', address.headers())
    handle = json.loads(connection.getresponse().read())["handle"]
    connection.close()
    connection = address.connect(30)
    headers = {**address.headers(), "Accept": MEDIA_TYPE}
    connection.request("GET", f"/v1/datasets/{handle}/iter?seed=5", headers=headers)
    rows = [row for _, batch in FrameReader(connection.getresponse()) for row in batch["number"].to_pylist()]
    connection.close()
    return rows


def test_a_server_is_started_asked_and_stopped(environ: dict[str, str], start: Start) -> None:
    """Its token is found by who asks on this host; SIGTERM ends it at once."""
    process, url = start()

    status = ask(environ, url, "status")
    local = json.loads(ask(environ, url, "local", "--json").stdout)
    process.terminate()

    assert "status: ok" in status.stdout and "clients: 1 connected" in status.stdout, status
    assert [one["name"] for one in local["local"]] == ["stories"]
    assert process.wait(timeout=30) == 0
    gone = ask(environ, url, "status")
    assert (gone.returncode, "no dataset server answers" in gone.stderr) == (69, True)


def test_after_a_kill_the_same_handles_and_rows_are_there(environ: dict[str, str], start: Start) -> None:
    first, url = start()
    before = whole(environ, url)
    first.send_signal(signal.SIGKILL)
    first.wait()

    _, again = start("--port", url.rpartition(":")[2])

    assert whole(environ, again) == before
    assert sorted(before) == list(range(ROWS))


def test_several_processes_share_handles_and_one_that_dies_comes_back(environ: dict[str, str], start: Start) -> None:
    """Whatever process a connection lands in knows what another was asked to load."""
    process, url = start("--workers", "3")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 3)

    assert all(whole(environ, url) == whole(environ, url) for _ in range(5))
    victim = int(children.read_text().split()[0])
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids := children.read_text().split()) == 3 and str(victim) not in pids)

    assert sorted(whole(environ, url)) == list(range(ROWS))
    stats = json.loads(ask(environ, url, "status", "--json").stdout)["stats"]
    assert stats["processes"] == 3


def test_the_folder_of_a_killed_server_goes_with_the_next_start(
    environ: dict[str, str], start: Start, tmp_path: Path
) -> None:
    """And that of one that lives stays, its processes killed or not."""
    environ["TMPDIR"] = str(tmp_path)

    def folders() -> set[Path]:
        return set(tmp_path.glob("forgather-dataset-*"))

    def begins(*words: str) -> tuple[subprocess.Popen[str], str, Path]:
        """Its folder comes after its first line."""
        before = folders()
        process, url = start(*words)
        return process, url, wait_until(lambda: folders() - before).pop()

    living, url, lived_in = begins("--workers", "2")
    killed, _, left = begins()
    killed.kill()
    killed.wait()
    third, _, new = begins()

    wait_until(lambda: left not in folders(), what="the folder to go")
    assert folders() == {lived_in, new}
    assert sorted(whole(environ, url)) == list(range(ROWS))
    for process in (living, third):
        process.terminate()
        process.wait(timeout=30)
    assert not folders()


def test_processes_end_with_a_server_that_is_killed(environ: dict[str, str], start: Start) -> None:
    """None of them goes on holding the port."""
    process, _ = start("--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = wait_until(lambda: found if len(found := children.read_text().split()) == 2 else None)

    process.kill()
    process.wait()

    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def test_no_token_stands_in_a_log_or_among_a_processs_words(
    environ: dict[str, str], start: Start, tmp_path: Path
) -> None:
    """Off a terminal it is not printed: what a job or a unit prints is kept."""
    process, url = start()
    whole(environ, url)
    token = Path(environ["FORGATHER_HOME"], "dataset_server", f"{url.rpartition(':')[2]}.token").read_text().strip()

    assert token not in (tmp_path / "log-0").read_text()
    assert token not in Path(f"/proc/{process.pid}/cmdline").read_text()
    assert token not in Path(f"/proc/{process.pid}/environ").read_text()


def test_a_wrong_token_is_told_apart_from_none(environ: dict[str, str], start: Start) -> None:
    _, url = start()

    wrong = ask(environ, url, "list", "--token", "wrong-one")
    none = ask({**environ, "FORGATHER_HOME": environ["FORGATHER_HOME"] + "-other"}, url, "list")

    assert (wrong.returncode, "does not take this token" in wrong.stderr, "wrong-one" in wrong.stderr) == (
        2,
        True,
        False,
    )
    assert (none.returncode, "asks for a token" in none.stderr) == (2, True)


def test_a_server_as_a_job_is_queued_with_words_that_start_it(
    tmp_path: Path, stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is woken here: the job is looked at where it waits."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(dataset_server_queue, "nudge", lambda spool: None)
    words = ["start", "--enqueue", "--priority", "3", "--no-hf", "--local", f"stories={stories}"]

    result = click.testing.CliRunner().invoke(command.dataset_server, words)

    (entry,) = Path(tmp_path, "home/spool/queue").iterdir()
    spec: dict[str, Any] = json.loads(entry.read_text())
    assert result.output.startswith("queued: q_") and entry.name.endswith(".p3.json")
    assert spec["argv"][3:] == ["forgather_spool.dataset_server", "--no-hf", "--local", f"stories={stories}"]
    assert spec["type"] == "dataset-server"


def test_a_server_that_would_go_in_the_clear_is_not_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was, to fail once its turn had come."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))

    result = click.testing.CliRunner().invoke(command.dataset_server, ["start", "--enqueue", "--host", "0.0.0.0"])

    assert isinstance(result.exception, UsageError) and "there is no TLS" in str(result.exception)
    assert not Path(tmp_path, "home/spool").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--host", "0.0.0.0"], 2), (["--local", "x=/does/not/exist"], 2), (["--tls"], 69), (["--config", "/none"], 2)],
)
def test_what_cannot_start_says_why_on_one_line(environ: dict[str, str], words: list[str], code: int) -> None:
    done = subprocess.run(
        [*PROGRAM, "--port", "0", *words], env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "error: " in done.stderr


def test_where_few_files_may_be_open_a_flood_of_connections_is_no_flood_of_log_lines(
    tmp_path: Path, environ: dict[str, str], start: Start
) -> None:
    """Without a file for the next connection asyncio tries a thousand times and logs each: 700,000 lines in 15 s."""
    process, url = start(before=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    port = int(url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(150)]

    assert len(whole(environ, url)) == ROWS

    process.terminate()
    assert process.wait(timeout=30) == 0
    said = (tmp_path / "log-0").read_text().splitlines()
    assert any("at most 16 connections" in line for line in said) and len(said) < 20
    for connection in silent:
        connection.close()
