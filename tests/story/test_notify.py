"""Somebody is told when a job ends, whatever dies meanwhile. Real dispatchers, hooks, a server, a sendmail."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forgather_spool.cli.job.command import job
from forgather_spool.cli.sched.command import sched
from forgather_spool.errors import UsageError
from forgather_spool.host import proc
from forgather_spool.spool import files, notices, settings
from tests.story.world import HOST, World
from tests.waiting import wait_until


class Receiver:
    """A webhook's server: answers with `answers` in turn, then with 200."""

    def __init__(self, *answers: int) -> None:
        self.posts: list[dict[str, Any]] = []
        left = list(answers)
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append({"path": self.path, "type": self.headers["Content-Type"], "job": json.loads(body)})
                code = left.pop(0) if left else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def program(world: World, name: str, script: str) -> None:
    """A program of ours on the PATH of everything in this world."""
    folder = world.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    world.env["PATH"] = f"{folder}:{os.environ['PATH']}"


def told(world: World, entry: tuple[int, str]) -> list[tuple[object, object]]:
    return [(one["target"], one["problem"]) for one in notices.told(world.spool.paths, entry[1])]


def owed(world: World) -> list[str]:
    return [job_id for job_id, _ in notices.pending(world.spool.paths, HOST)]


def teller(world: World) -> list[int]:
    return [pid for pid in world.our_processes() if b"forgather_spool.notify" in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_command_gets_the_jobs_json_in_the_jobs_place(world: World) -> None:
    """On stdin; it runs where the job ran, with what the job had set, and without its cards."""
    line = 'command:cat > got.json; echo "$FORGATHER_OUTCOME $FORGATHER_EXIT_STATUS $COLOUR $HOME" > got.env'
    entry = world.submit("echo bye; exit 3", notify=[line], env={"COLOUR": "red"}, name="eval")

    world.dispatch_all()

    got = json.loads((world.folder / "got.json").read_text())
    assert (got["job_id"], got["state"], got["exit_status"], got["name"]) == (entry[1], "done", 3, "eval")
    assert (world.folder / "got.env").read_text() == f"exited 3 red {world.env['HOME']}\n"
    assert told(world, entry) == [(line, None)]
    assert owed(world) == [] and world.leftovers() == []


def test_a_webhook_gets_the_same_json_and_keeps_its_secret(world: World, receiver: Receiver) -> None:
    entry = world.submit("exit 1", notify=[receiver.url])

    world.dispatch_all()

    assert [(post["path"], post["job"]["job_id"]) for post in receiver.posts] == [("/hook/secret", entry[1])]
    assert told(world, entry) == [(receiver.url.replace("hook/secret", "..."), None)]
    assert "secret" not in Path(world.spool.paths.told(entry[1], 0)).read_text()


def test_a_mail_has_a_subject_and_the_last_lines(world: World) -> None:
    program(world, "sendmail", 'echo "$@" > args; cat > mail')
    world.submit("echo the end is near; exit 1", name="train", notify=["mail:me@example.org"])

    world.dispatch_all()

    mail = (world.folder / "mail").read_text()
    assert (world.folder / "args").read_text() == "-i -- me@example.org\n"
    assert "Subject: train: exited 1 on box" in mail and "the end is near" in mail


def test_a_bubble_is_shown_by_notify_send(world: World) -> None:
    program(world, "notify-send", 'printf "%s\\n" "$2" "$3" > bubble')
    world.submit("true", name="train", notify=["desktop"])

    world.dispatch_all()

    assert (world.folder / "bubble").read_text().splitlines()[1].startswith("train: exited 0")


def test_what_fails_says_why_and_hinders_nobody(world: World, receiver: Receiver) -> None:
    """Each target is on its own; a redirect would become a GET without the job, so it is a failure."""
    program(world, "sendmail", "echo no such user >&2; exit 67")
    moved = Receiver(302)
    entry = world.submit("exit 1", notify=["command:exit 5", "mail:x@y", "desktop", "pigeon", moved.url, receiver.url])

    world.dispatch_all()

    problems = [problem for _, problem in told(world, entry)]
    assert problems[:2] == ["exit code 5", "exit code 67: no such user"]
    assert "libnotify" in str(problems[2]) and "pigeon" in str(problems[3])
    assert problems[4:] == ["the server answered 302", None]
    assert owed(world) == []


def test_a_server_that_is_busy_is_asked_again(world: World) -> None:
    busy = Receiver(503)
    entry = world.submit("true", notify=[busy.url])

    world.dispatch_all()

    assert len(busy.posts) == 2
    assert notices.told(world.spool.paths, entry[1])[0]["tries"] == 2


def test_a_hook_that_hangs_is_ended_with_all_it_started(world: World) -> None:
    entry = world.submit("true", notify=["command:sleep 1000 & echo $! > pid; wait", "command:touch second"])

    world.dispatch_all(FORGATHER_NOTIFY_LIMIT_S="1")

    assert told(world, entry)[0][1] == "no end within 1 s"
    assert (world.folder / "second").exists()
    pid = int((world.folder / "pid").read_text())
    wait_until(lambda: proc.start_ticks(pid) is None, what="the end of what the hook started")


def test_a_hook_that_hangs_holds_up_nobody_else(world: World) -> None:
    """Neither one that ends while it hangs, nor those behind it once it has all the places a target may have."""
    hang = "command:echo hangs >> log; sleep 1000"
    stuck = [world.submit("true", notify=[hang]) for _ in range(12)]
    dispatcher = world.dispatch()
    wait_until(lambda: world.lines("log") == ["hangs"] * 8, what="as many as one target may have")

    late = world.submit("true", notify=["command:touch told"])

    wait_until(lambda: told(world, late), what="the other one")
    assert [entry for entry in stuck if told(world, entry)] == []
    assert dispatcher.poll() is None


def test_one_that_never_started_is_told_of_too(world: World) -> None:
    """Refused, because its folder is not there; and cancelled while it waited, with no dispatcher awake."""
    hook = [f"command:cat >> {world.folder}/told"]
    refused = world.submit("true", cwd="/no/such/folder", notify=hook)
    cancelled = world.submit("true", notify=hook)
    world.spool.cancel_waiting(cancelled, "me")

    world.dispatch_all()

    lines = [json.loads(line) for line in world.lines("told")]
    assert {line["job_id"]: line["outcome"]["kind"] for line in lines} == {
        refused[1]: "refused",
        cancelled[1]: "cancelled",
    }


def test_a_cancel_wakes_somebody_to_tell_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be told with the next submit."""
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    settings.change_dispatch(world.spool.paths, paused=True)
    entry = world.submit("true", notify=[f"command:cat > {world.folder}/told"])

    assert CliRunner().invoke(sched, ["cancel", entry[1]]).exit_code == 0

    wait_until(lambda: told(world, entry), what="the telling")
    assert json.loads((world.folder / "told").read_text())["outcome"]["kind"] == "cancelled"


def test_killed_while_it_tells_the_rest_is_told_once(world: World) -> None:
    """The teller dies with one target told and one under way: that one ends by itself, the others are told next."""
    hold = "command:echo held >> log; while [ ! -e go ]; do sleep 0.05; done"
    notify = ["command:echo first >> log", hold, "command:echo third >> log", *["command:echo more >> log"] * 8]
    entry = world.submit("true", notify=[hold, *notify[:1], *notify[2:]])
    first = world.dispatch()
    wait_until(lambda: "held" in world.lines("log"), what="the hook that waits")

    first.kill()
    for pid in teller(world)[:1]:
        os.kill(pid, signal.SIGKILL)
    first.wait()
    (world.folder / "go").touch()
    wait_until(lambda: not teller(world), what="the end of its children")
    world.dispatch_all()

    assert owed(world) == []
    assert [problem for _, problem in told(world, entry)] == [None] * 11
    assert sorted(world.lines("log")) == sorted(["held", "first", "third", *["more"] * 8])


def test_what_was_told_is_not_told_again_when_only_the_mark_is_left(world: World) -> None:
    """Killed between our note and the removal of the mark."""
    entry = world.submit("true", notify=["command:echo told >> log"])
    world.dispatch_all()
    files.mark(world.spool.paths.notice(entry[1], HOST))

    world.dispatch_all()

    assert world.lines("log") == ["told"] and owed(world) == []


def test_a_mark_of_a_job_that_was_removed_goes(world: World) -> None:
    files.make_directory(world.spool.paths.notices)
    files.mark(world.spool.paths.notice("q_1738012412345_a1b2c3d4", HOST))

    world.dispatch_all()

    assert owed(world) == []


def test_settings_are_set_shown_and_cleared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", world.spool.paths.home)

    def said(*words: str) -> str:
        result = CliRunner().invoke(sched, ["notify", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert said() == "nobody is told, unless a job names somebody\n"
    assert said("mail:me@x.y", "https://h/secret", "--on", "failure") == (
        "told of failures: mail:me@x.y\ntold of failures: https://h/...\n"
    )
    assert json.loads(said("--json"))["notify"] == ["mail:me@x.y", "https://h/secret"]
    for nobody in ("--clear", "none"):
        said("desktop")
        assert said(nobody) == said() == "nobody is told, unless a job names somebody\n"
    for wrong in (["pigeon"], ["desktop", "none"], ["--on", "failure"], ["none", "--on", "failure"]):
        with pytest.raises(UsageError):
            CliRunner().invoke(sched, ["notify", *wrong], catch_exceptions=False)


def test_job_status_says_who_was_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", world.spool.paths.home)
    entry = world.submit("true", notify=["command:true", "command:false"])
    world.dispatch_all()

    text = CliRunner().invoke(job, ["status", entry[1]]).stdout
    document = json.loads(CliRunner().invoke(job, ["status", entry[1], "--json"]).stdout)
    raw = CliRunner().invoke(job, ["show", "--raw", entry[1]]).stdout

    assert "told:        command:true\n" in text and "not told:    command:false: exit code 1\n" in text
    assert [one["problem"] for one in document["notified"]] == [None, "exit code 1"]
    assert "notified-1.json" in raw
