"""`forgather submit` as a user runs it: a process of its own, a real spool, nobody woken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.queue import Spool
from tests import builders

FORGATHER = Path(__file__).resolve().parents[2] / "bin" / "forgather"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def forgather(tmp_path: Path, home: Path) -> Run:
    """Runs the command in an empty folder and with few variables; `env` adds some."""
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)

    def run(*words: str | bytes, stdin: str = "", env: dict[str, str] | None = None, **options: object):
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "FORGATHER_HOME": str(home),
            "FORGATHER_HOST_KIND": "process",
            "FORGATHER_NO_WAKE": "1",
            "LANG": "C.UTF-8",
        }
        return subprocess.run(
            [sys.executable, FORGATHER, *words],
            **{"cwd": folder, "input": stdin, "env": environ | (env or {}), **options},
            capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
        )  # fmt: skip

    return run


def queued(home: Path) -> list[dict]:
    spool = Spool(str(home))
    return [spool.queued_spec(entry) for entry in spool.waiting()]


def test_a_submitted_job_is_in_the_queue_with_all_that_was_asked(forgather, home, tmp_path):
    answer = forgather(
        "submit", "--name", "fit", "--priority=-3", "--gpus", "2", "--gpu-memory", "10G", "--time", "1h30m",
        "--memory", "512M", "--cpus", "1.5", "--grace", "30s", "--tty", "--env", "SEED=1", "--",
        "python3", "train.py", "--lr", "3e-4", "--",
    )  # fmt: skip

    [job] = queued(home)
    [(_, job_id)] = Spool(str(home)).waiting()
    assert (answer.returncode, answer.stdout, answer.stderr) == (
        0,
        f"queued: {job_id} (priority=-3, gpus=2)\n",
        "warning: --memory and --cpus are accepted, and not enforced on this machine; forgather doctor says why\n",
    )
    assert job["argv"] == ["python3", "train.py", "--lr", "3e-4", "--"]
    assert (job["name"], job["priority"], job["gpus"], job["tty"]) == ("fit", -3, 2, True)
    assert (job["gpu_memory_bytes"], job["memory_bytes"]) == (10 << 30, 512 << 20)
    assert (job["time_limit_s"], job["grace_s"], job["cpus"]) == (5400, 30, 1.5)
    assert job["cwd"] == str(tmp_path / "work")
    assert job["env"] == {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SEED": "1"}


def test_when_after_what_how_often_and_who_is_told_stand_in_the_spec(forgather, home):
    first = forgather("submit", "--quiet", "--name", "prepare", "true").stdout.strip()
    second = forgather("submit", "--quiet", "true").stdout.strip()

    answer = forgather(
        "submit", "--group", "night", "--begin", "now+1h", "--after", f"prepare:any,{second[:-1]}",
        "--after-unmet", "run", "--retries", "2", "--retry-on", "oom,3", "--retry-delay", "1m",
        "--requeue", "--notify", "desktop",
        "--notify", "command:tell, me", "--notify-on", "failure", "--output-limit", "1M", "--json", "true",
    )  # fmt: skip

    told = json.loads(answer.stdout)
    assert told["after"] == [{"job": first, "when": "any"}, {"job": second, "when": "ok"}]
    assert (told["group"], told["after_unmet"], told["requeue"]) == ("night", "run", True)
    assert (told["retries"], told["retry_on"], told["retry_delay_s"]) == (2, ["oom", "3"], 60)
    assert (told["notify"], told["notify_on"]) == (["desktop", "command:tell, me"], "failure")
    assert told["output_limit_bytes"] == 1 << 20
    assert told["begin_at"].endswith("Z")


def test_a_twin_is_refused_with_the_code_for_busy_and_the_first_named(forgather, home):
    first = forgather("submit", "--quiet", "--unique", "nightly", "true").stdout.strip()

    answer = forgather("submit", "--unique", "nightly", "false")

    assert (answer.returncode, answer.stdout) == (75, "")
    assert first in answer.stderr.splitlines()[0]
    assert len(queued(home)) == 1
    assert forgather("submit", "--unique", "weekly", "true").returncode == 0


def test_sharing_and_giving_way_need_cards(forgather):
    assert (
        forgather("submit", "--dry-run", "--gpus", "1", "--preemptible", "--jobs-per-gpu", "2", "true").returncode == 0
    )
    words = ["--dry-run", "--gpus", "1", "--shared", "--gpu-memory", "4G", "true"]
    assert json.loads(forgather("submit", *words).stdout)["shared"] is True


@pytest.fixture
def attached(tmp_path: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """A submit that stays with its job."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FORGATHER_HOME": str(home), "FORGATHER_NO_WAKE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-u", FORGATHER, "submit", "--follow", "--", "true"],
        env=environ | {"FORGATHER_HOST_KIND": "process"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_a_submit_that_follows_prints_the_jobs_output_and_has_its_status(attached, home):
    assert attached.stderr is not None
    job_id = attached.stderr.readline().split()[1]
    spool = Spool(str(home))
    [entry] = spool.waiting()

    builders.running(spool, entry, output=b"one\ntwo\n")
    builders.end(spool, entry, {"kind": "exited", "exit_code": 3})
    output, told = attached.communicate(timeout=30)

    assert output == "one\ntwo\n", "stdout is the job's alone"
    assert told.splitlines()[-1].startswith(f"{job_id}: exited 3")
    assert attached.returncode == 3


def test_ctrl_c_leaves_the_job_and_says_how_to_go_on(attached, home):
    assert attached.stderr is not None
    job_id = attached.stderr.readline().split()[1]
    assert attached.stderr.readline().startswith("waiting: ")

    attached.send_signal(signal.SIGINT)
    _, told = attached.communicate(timeout=30)

    assert (attached.returncode, told.strip()) == (130, f"{job_id} goes on; again: forgather job tail {job_id}")
    assert [waiting for _, waiting in Spool(str(home)).waiting()] == [job_id]


def test_options_end_at_the_first_word_that_is_none(forgather, home):
    assert forgather("submit", "--gpus", "1", "echo", "--gpus", "7").returncode == 0

    [job] = queued(home)
    assert (job["argv"], job["gpus"]) == (["echo", "--gpus", "7"], 1)


def test_json_prints_the_job_as_it_was_stored(forgather, home):
    answer = forgather("submit", "--json", "true")

    printed = json.loads(answer.stdout)
    job_id = printed.pop("job_id")
    assert is_job_id(job_id)
    assert json.loads(next((home / "spool/queue").iterdir()).read_text()) == printed


def test_quiet_prints_the_id_and_no_remarks(forgather):
    answer = forgather("submit", "--quiet", "no-such-command", env={"HF_TOKEN": "secret-value"})

    assert is_job_id(answer.stdout.strip())
    assert answer.stderr == ""


def test_a_dry_run_prints_what_incoming_would_take_and_leaves_nothing_behind(forgather, home):
    answer = forgather("submit", "--dry-run", "--gpus", "1", "true")

    assert json.loads(answer.stdout)["gpus"] == 1
    assert not home.exists()


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_nobody_else_can_read_what_was_submitted_whatever_the_umask(forgather, home, umask):
    assert forgather("submit", "true", umask=umask).returncode == 0

    found = [home, *home.rglob("*")]
    modes = {path.relative_to(home.parent).as_posix(): oct(stat.S_IMODE(path.stat().st_mode)) for path in found}
    assert {mode for path, mode in modes.items() if path.endswith(".json")} == {"0o600"}
    assert {mode for path, mode in modes.items() if not path.endswith(".json")} == {"0o700"}


# -- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_is_taken_as_it_is_now(forgather, home, tmp_path):
    script = tmp_path / "prepare.sh"
    script.write_text("#!/bin/sh\necho $1\n")

    assert forgather("submit", "--script", str(script), "--", "word").returncode == 0
    script.write_text("changed later")

    [job] = queued(home)
    assert (job["script"], job["argv"]) == ("#!/bin/sh\necho $1\n", ["prepare.sh", "word"])


def test_a_script_may_come_on_stdin(forgather, home):
    assert forgather("submit", "--script", "-", stdin="#!/bin/sh\ntrue\n").returncode == 0

    [job] = queued(home)
    assert (job["script"], job["argv"]) == ("#!/bin/sh\ntrue\n", ["script"])


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED = [
    (["--gpus", "many", "true"], "--gpus: 'many' is not a whole number"),
    (["--gpus", "-1", "true"], "--gpus: -1 is less than 0"),
    (["--gpus", "5000", "true"], "--gpus: 5000 is more than 1024"),
    (["--priority", "1e3", "true"], "--priority: '1e3' is not a whole number"),
    (["--time", "soon", "true"], "--time: 'soon' is not a duration"),
    (["--memory", "10X", "true"], "--memory: '10X' is not a size"),
    (["--memory", "1K", "true"], "--memory: 1024 is less than 1048576"),
    (["--gpu-memory=", "true"], "--gpu-memory: '' is not a size"),
    (["--cpus", "-2", "true"], "--cpus: '-2' is not a number"),
    (["--name", "x" * 201, "true"], "--name: longer than 200 bytes"),
    (["--cwd", "/nowhere", "true"], "--cwd /nowhere: no such directory"),
    (["--env", "NOT_SET", "true"], "--env NOT_SET: NOT_SET is not set here"),
    (["--env", "CUDA_VISIBLE_DEVICES=0", "true"], "the dispatcher sets CUDA_VISIBLE_DEVICES"),
    (["--env-file", "/nowhere", "true"], "--env-file /nowhere: No such file"),
    (["--script", "/nowhere"], "--script /nowhere: No such file"),
    (["--script", "-"], "--script -: does not begin with #!"),
    (["--begin", "soon", "true"], "--begin: 'soon' is not a time"),
    (["--begin", "2020-01-01", "true"], "--begin: '2020-01-01' is past"),
    (["--after", "nope", "true"], "--after nope: no job"),
    (["--after", "nope:sometimes", "true"], "no job of that name, and 'sometimes' is no condition"),
    (["--time", "0", "true"], "--time: '0' leaves no time to run"),
    (["--time", "0h0m", "true"], "--time: '0h0m' leaves no time to run"),
    (["--after-unmet", "end", "true"], "--after-unmet without --after"),
    (["--unique", "", "true"], "--unique: must not be empty"),
    (["--group", "", "true"], "--group: must not be empty"),
    (["--unique", "k", "--array", "0-3", "true"], "--unique with --array"),
    (["--follow", "--array", "0-3", "true"], "--follow with --array"),
    (["--retries", "-1", "true"], "--retries: -1 is less than 0"),
    (["--retry-on", "oom", "true"], "--retry-on without --retries"),
    (["--retries", "1", "--retry-on", "0", "true"], "--retry-on: '0' is no exit code"),
    (["--shared", "--gpus", "1", "true"], "--shared without --gpu-memory"),
    (["--shared", "--gpu-memory", "1G", "true"], "--shared without --gpus"),
    (["--jobs-per-gpu", "2", "true"], "--jobs-per-gpu without --gpus"),
    (["--preemptible", "--gpus", "0", "true"], "--preemptible without --gpus"),
    (["--notify", "me", "true"], "--notify: 'me' is nobody to tell"),
    (["--notify", "desktop", "--notify", "none", "true"], "--notify none with others"),
    (["--notify-on", "end", "true"], "--notify-on without --notify"),
    (["--notify", "desktop", "--notify-on", "start", "true"], "--notify-on: 'start' is not one of end, failure"),
    (["--output-limit", "1", "true"], "--output-limit: 1 is less than 4096"),
    (["--nam", "x", "true"], "no such option '--nam'"),
    (["--tty=yes", "true"], "option '--tty' does not take a value"),
    (["--gpus"], "option '--gpus' requires an argument"),
    ([], "no command given"),
    (["--"], "no command given"),
    (["--", ""], "the command is the word ''"),
    (["", "x"], "the command is the word ''"),
    (["--", "echo", *["x" * 100_000] * 11], "more than 1048576"),
]


@pytest.mark.parametrize(
    ("words", "problem"), REFUSED, ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else ""
)
def test_what_cannot_be_meant_is_refused_in_one_line_with_a_way_out(forgather, home, words, problem):
    answer = forgather("submit", *words)

    error, fix = answer.stderr.splitlines()
    assert answer.returncode == 2
    assert error.startswith("error: ") and problem in error
    assert fix.startswith("  fix: ")
    assert answer.stdout == ""
    assert not home.exists()


def test_a_directory_that_was_removed_under_us_is_said(forgather, tmp_path, home):
    answer = forgather("-c", "gone", cwd=tmp_path)  # the way in works from a folder that stands
    assert answer.returncode == 2

    line = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} {FORGATHER} submit true"
    answer = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env={"PATH": os.environ["PATH"], "FORGATHER_HOME": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert answer.returncode == 2
    assert "the current directory has been removed" in answer.stderr


def test_more_cards_than_any_host_has_are_refused_with_who_has_how_many(forgather, home):
    Spool(str(home)).create()
    (home / "hosts" / "box.json").write_text('{"version": 1, "gpus": [{"index": 0}, {"index": 1}]}')
    (home / "hosts" / "bare.json").write_text('{"version": 1, "gpus": []}')

    refused = forgather("submit", "--gpus", "3", "true")
    taken = forgather("submit", "--gpus", "2", "true")

    assert refused.returncode == 2
    assert "--gpus 3: no known host has that many (bare has 0, box has 2)" in refused.stderr
    assert taken.returncode == 0


def test_a_limit_that_does_nothing_here_is_remarked_on(forgather):
    both = forgather("submit", "--memory", "1G", "--cpus", "2", "true")
    one = forgather("submit", "--cpus", "2", "true")
    quiet = forgather("submit", "--quiet", "--cpus", "2", "true")

    assert "--memory and --cpus are accepted, and not enforced on this machine" in both.stderr
    assert "--cpus is accepted, and not enforced on this machine" in one.stderr
    assert quiet.stderr == ""


def test_a_rerun_asks_for_no_more_cards_than_there_are_either(forgather, home):
    job_id = forgather("submit", "--quiet", "true").stdout.strip()
    (home / "hosts" / "box.json").write_text('{"version": 1, "gpus": [{"index": 0}, {"index": 1}]}')

    answer = forgather("job", "rerun", "--gpus", "3", job_id)

    assert answer.returncode == 2
    assert "--gpus 3: no known host has that many (box has 2)" in answer.stderr


def test_where_no_card_is_known_the_job_waits_for_one(forgather, home):
    """The dispatcher may have looked before the driver was loaded: its file says no, the machine has cards."""
    Spool(str(home)).create()
    (home / "hosts" / "bare.json").write_text('{"version": 1, "gpus": []}')

    answer = forgather("submit", "--gpus", "1", "true")

    assert answer.returncode == 0
    assert "no card is known of here (bare): the job waits" in answer.stderr


def test_memory_of_no_card_is_remarked_on(forgather):
    answer = forgather("submit", "--gpu-memory", "10G", "true")

    assert answer.returncode == 0
    assert "--gpu-memory asks for no card" in answer.stderr


def test_a_home_that_is_no_text_is_refused(forgather):
    answer = forgather("submit", "true", env={"FORGATHER_HOME": b"/tmp/\xff"})

    assert answer.returncode == 2
    assert "no UTF-8 text" in answer.stderr


def test_a_host_whose_file_is_damaged_might_have_any_number_of_cards(forgather, home):
    Spool(str(home)).create()
    (home / "hosts" / "box.json").write_text("{")

    assert forgather("submit", "--gpus", "3", "true").returncode == 0


def test_a_spool_that_others_may_write_to_is_refused(forgather, home):
    Spool(str(home)).create()
    (home / "spool" / "queue").chmod(0o777)

    answer = forgather("submit", "true")

    assert answer.returncode == 69
    assert "may be written to by others (mode 0777)" in answer.stderr
    assert list((home / "spool" / "queue").iterdir()) == []


def test_a_home_that_is_a_file_is_an_error_and_no_traceback(forgather, home):
    home.write_text("")

    answer = forgather("submit", "true")

    assert answer.returncode in (65, 69, 75)
    assert answer.stderr.startswith("error: ") and "Traceback" not in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount a small tmpfs")
def test_on_a_full_disk_nothing_is_acknowledged_and_nothing_is_left(forgather, home):
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", home], check=True)
    try:
        assert forgather("submit", "true").returncode == 0
        with open(home / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(bytes(4096))

        answer = forgather("submit", "true")

        assert answer.returncode == 75
        assert answer.stdout == ""
        assert "No space left on device" in answer.stderr and "fix: free some space" in answer.stderr
        assert len(queued(home)) == 1
        assert list((home / "spool" / "tmp").iterdir()) == []
    finally:
        subprocess.run(["umount", home], check=True)


# -- hostile and odd ---------------------------------------------------------------------------------------------------


def test_control_characters_in_words_reach_the_job_and_never_the_terminal(forgather, home):
    answer = forgather("submit", "--name", "\x1b[2Jx\n", "--", "no-such\x1b]0;owned\x07", "\u202eevil")

    [job] = queued(home)
    assert job["name"] == "\x1b[2Jx\n"
    assert job["argv"][1] == "\u202eevil"
    assert "\x1b" not in answer.stdout + answer.stderr
    assert "no-such\\x1b]0;owned\\x07: no such command yet" in answer.stderr


def test_a_word_that_is_no_text_is_refused_by_its_place(forgather):
    answer = forgather("submit", "--", "cat", b"caf\xe9.txt")

    assert answer.returncode == 2
    assert "argument 1 of the command: half of a surrogate pair" in answer.stderr


def test_a_name_with_a_slash_is_only_a_name(forgather, home):
    assert forgather("submit", "--name", "../../etc/passwd", "true").returncode == 0

    assert queued(home)[0]["name"] == "../../etc/passwd"


# -- remarks ----------------------------------------------------------------------------------------------------------


def test_secrets_of_the_shell_stay_there_unless_asked_for(forgather, home):
    secret = {"HF_TOKEN": "hf_secret_value_1", "WANDB_API_KEY": "secret-2"}

    answer = forgather("submit", "--env", "WANDB_API_KEY", "true", env=secret)

    [job] = queued(home)
    assert "HF_TOKEN" not in job["env"]
    assert job["env"]["WANDB_API_KEY"] == "secret-2"
    assert answer.stderr == (
        "warning: not recorded: HF_TOKEN (it looks secret); --env HF_TOKEN records it in a file only you can read\n"
    )


def test_a_secret_among_the_arguments_is_warned_of_and_not_repeated(forgather):
    answer = forgather("submit", "--", "true", "--token", "s3cr3t")

    assert answer.returncode == 0
    assert "--token looks like a secret" in answer.stderr
    assert "s3cr3t" not in answer.stdout + answer.stderr


def test_a_command_that_is_not_there_yet_is_queued_with_a_remark(forgather, home):
    answer = forgather("submit", "./built-later.sh")
    folder = forgather("submit", str(home.parent))

    assert answer.returncode == 0
    assert "./built-later.sh: no such command yet" in answer.stderr
    assert f"{home.parent}: no such command yet" in folder.stderr
    assert len(queued(home)) == 2


def test_files_of_variables_give_way_to_single_ones(forgather, home, tmp_path):
    (tmp_path / "job.env").write_text("A=file\nB=file\nPATH=/opt/bin:/bin\n")

    assert forgather("submit", "--env", "A=word", "--env-file", str(tmp_path / "job.env"), "ls").returncode == 0

    assert queued(home)[0]["env"] == {"LANG": "C.UTF-8", "A": "word", "B": "file", "PATH": "/opt/bin:/bin"}


def test_the_commit_of_the_directory_is_recorded(forgather, home, tmp_path):
    git = tmp_path / "work" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text("a" * 40 + "\n")

    assert forgather("submit", "true").returncode == 0

    assert queued(home)[0]["git_commit"] == "a" * 40


# -- light ------------------------------------------------------------------------------------------------------------

HEAVY = {"re", "enum", "typing", "dataclasses", "pathlib", "subprocess", "json", "signal", "socket", "collections",
         "functools", "click", "argparse", "logging", "datetime", "pynvml", "jeepney", "rich"}  # fmt: skip


def test_a_submit_imports_nothing_heavy(forgather, home, tmp_path):
    """Not a timing: what is imported is what it costs. The whole way is walked: cards asked, dispatcher looked for."""
    Spool(str(home)).create()
    (home / "hosts" / "box.json").write_text('{"version": 1, "gpus": [{"index": 0}]}')
    environ = {"PATH": "/bin", "FORGATHER_HOME": str(home), "FORGATHER_HOST_KIND": "process", "FORGATHER_NO_WAKE": "1"}

    command = [sys.executable, "-X", "importtime", FORGATHER, "submit", "--gpus", "1", "--time", "2h", "--", "ls"]
    walked = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    bare = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "pass"], env=environ, capture_output=True, text=True
    )

    imported = {line.rpartition("|")[2].strip() for line in walked.stderr.splitlines()}
    before = {line.rpartition("|")[2].strip() for line in bare.stderr.splitlines()}
    assert walked.stdout.startswith("queued: ")
    assert (imported - before) & HEAVY == set()


def test_what_a_submit_needs_is_loaded_before_it_is_asked_for(home, tmp_path):
    """All of ours by name, each after those it needs: then no import statement has to find one."""
    program = """if True:
        import sys
        from forgather_spool import importing
        from forgather_spool.cli import entry

        class Asked:
            @staticmethod
            def find_spec(name, path, target=None):
                if name.startswith("forgather_spool."):
                    print(name, file=sys.stderr)

        importing.hasten()
        sys.meta_path.insert(0, Asked)
        entry.main(["submit", "--quiet", "--", "true"])
    """
    Spool(str(home)).create()
    environ = {"PATH": "/bin", "FORGATHER_HOME": str(home), "FORGATHER_HOST_KIND": "process", "FORGATHER_NO_WAKE": "1"}
    environ["PYTHONPATH"] = str(FORGATHER.parents[1])

    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)

    files = {f"forgather_spool.spool.files.{part}" for part in ("moving", "reading", "syncing", "writing")}
    assert set(done.stderr.split()) == files  # which their package asks for itself
