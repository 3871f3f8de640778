"""The frame of the command line: one form of error, exit codes, help and completion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forgather_spool.cli import reported
from forgather_spool.cli.app import COMMANDS, app
from forgather_spool.errors import Busy, Missing, StorageFailed
from forgather_spool.spool.queue import Spool

FORGATHER = Path(__file__).resolve().parents[2] / "bin" / "forgather"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def forgather(tmp_path: Path) -> Run:
    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FORGATHER_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [sys.executable, FORGATHER, *words], env=environ | env, capture_output=True, text=True, check=False
        )  # fmt: skip

    return run


def raising(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_an_error_is_one_line_and_a_way_out(capsys):
    code = reported(raising(Missing("no \x1b[2J library", hint="install\nit")))

    assert code == 69
    assert capsys.readouterr() == ("", "error: no \\x1b[2J library\n  fix: install\\nit\n")


def test_each_error_has_its_own_exit_code(capsys):
    assert reported(raising(Busy("later"))) == 75
    assert capsys.readouterr().err == "error: later\n"


def test_ctrl_c_is_130_and_silent(capsys):
    assert reported(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_of_ours_leaves_its_traceback_in_a_private_file(monkeypatch, tmp_path, capsys):
    (tmp_path / "server").mkdir()
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))

    def broken() -> int:
        raise ZeroDivisionError("by \x1b nothing")

    reported(broken)  # a dispatcher restarted again and again meets the same bug: one file
    capsys.readouterr()
    code = reported(broken)

    [report] = (tmp_path / "server").glob("crash-*.txt")
    error, fix = capsys.readouterr().err.splitlines()
    assert code == 70
    assert "ZeroDivisionError: by \\x1b nothing" in error and str(report) in error
    assert "FORGATHER_DEBUG=1" in fix
    assert "in broken" in report.read_text()
    assert report.stat().st_mode & 0o777 == 0o600


def test_a_bug_is_told_also_where_there_is_no_home_and_shown_on_demand(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FORGATHER_HOME", "not/absolute")
    monkeypatch.setenv("FORGATHER_DEBUG", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert reported(raising(ZeroDivisionError())) == 70

    assert len(list(tmp_path.glob("forgather-crash-*.txt"))) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_pipe_that_broke_elsewhere_is_a_bug_and_not_silence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert reported(raising(BrokenPipeError())) == 70


def test_when_the_reader_leaves_nothing_is_said(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, FORGATHER, "--help"], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["sched list", "submit --dry-run true"])
def test_a_closed_stdout_or_stderr_is_no_bug(tmp_path, words, closed):
    environ = {"PATH": "/usr/bin:/bin", "FORGATHER_HOME": str(tmp_path / "home")}
    line = f"{sys.executable} {FORGATHER} {words} {closed}"

    done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("sched cleanup", 0),
        ("import -", 65),
        ("sched edit x", 2),
        ("job abort x", 2),
        ("top", 2),
        ("submit --batch -", 2),
    ],
)
def test_a_closed_stdin_is_one_from_which_nothing_comes(tmp_path, words, code):
    """As some cron jobs and services start us; it was called a bug of ours."""
    environ = {"PATH": "/usr/bin:/bin", "FORGATHER_HOME": str(tmp_path / "home"), "EDITOR": "true"}
    line = f"{sys.executable} {FORGATHER} {words} <&-"

    done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert code == 0 or done.stderr.startswith("error: ")


@pytest.mark.parametrize("words", ["sched status", "submit --quiet true", "submit --dry-run true"])
def test_an_answer_that_finds_no_room_is_an_error_and_not_silence(tmp_path, words):
    environ = {"PATH": "/usr/bin:/bin", "FORGATHER_HOME": str(tmp_path / "home"), "FORGATHER_NO_WAKE": "1"}
    with open("/dev/full", "w") as full:
        command = [sys.executable, str(FORGATHER), *words.split()]
        done = subprocess.run(command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == StorageFailed.exit_code
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 2


def test_what_was_said_before_an_error_comes_out(tmp_path):
    """The light commands leave without the interpreter's last rites, which would have written it."""
    program = "import sys; from forgather_spool.cli import entry; sys.stdout.write('said'); entry.program()"
    environ = {"PATH": "/usr/bin:/bin", "FORGATHER_HOME": str(tmp_path / "home")}

    command = [sys.executable, "-c", program, "submit", "--gpus", "many", "true"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "said")


def test_a_terminal_that_cannot_say_a_name_shows_it_escaped(forgather, tmp_path):
    (tmp_path / "試").mkdir()

    done = forgather("submit", "--dry-run", "--cwd", str(tmp_path / "試"), "ls", PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert "\\u8a66" in done.stdout


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["submt"], ["error: no such command: submt", "  fix: did you mean forgather submit?"]),
        (["xyzzy\x1b"], ["error: no such command: xyzzy\\x1b", "  fix: forgather --help lists them"]),
        (["--nope"], ["error: no such option '--nope'", "  fix: forgather --help"]),
        (["completion", "tcsh"], None),
        (["submit", "--nam", "x"], ["error: no such option '--nam'", "  fix: did you mean --env or --name?"]),
    ],
)
def test_words_that_are_not_ours_are_refused_with_a_suggestion(forgather, words, lines):
    done = forgather(*words)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2 and done.stderr.startswith("error: ")
    assert lines is None or done.stderr.splitlines() == lines


def test_without_words_there_is_help_and_the_code_of_a_usage_error(forgather):
    done = forgather()

    assert done.returncode == 2
    assert "Usage: forgather" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_in_the_table_is_there_and_explains_itself(forgather, name):
    done = forgather(name, "--help")

    assert done.returncode == 0, done.stderr
    assert f"Usage: forgather {name}" in done.stdout


def test_the_help_names_every_command_and_loads_none(forgather):
    done = forgather("-h")

    assert [name for name in COMMANDS if f"\n  {name} " not in done.stdout] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(forgather, shell):
    assert f"_FORGATHER_COMPLETE={shell}_complete" in forgather("completion", shell).stdout


def test_words_and_options_are_completed(forgather):
    def complete(words: str, index: int) -> list[str]:
        done = forgather(COMP_WORDS=words, COMP_CWORD=str(index), _FORGATHER_COMPLETE="bash_complete")
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("forgather subm", 1) == ["submit"]
    assert complete("forgather submit --gp", 2) == ["--gpus", "--gpu-memory"]


def test_a_job_is_completed_by_name_and_by_id(forgather, tmp_path):
    """What comes back lands unquoted on a command line: a name that a shell would act on is left out."""
    spool = Spool(str(tmp_path / "home")).create()
    job_id = spool.submit({"argv": ["true"], "name": "llama"})
    spool.submit({"argv": ["true"], "name": "$(halt)"})

    def complete(begun: str) -> list[str]:
        words = f"forgather job tail {begun}"
        done = forgather(COMP_WORDS=words, COMP_CWORD="3", _FORGATHER_COMPLETE="bash_complete")
        return [line.partition(",")[2] for line in done.stdout.split()]

    assert complete("ll") == ["llama"]
    assert complete(job_id[:-1]) == [job_id]
    assert complete("$") == []


def test_loading_the_frame_loads_no_heavy_library():
    script = "import sys, forgather_spool.cli.app; print(*sorted({'pynvml', 'jeepney', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=FORGATHER.parents[1], capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert app.name == "app"
