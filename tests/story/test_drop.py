"""`forgather-drop`: a submit in plain sh. What is admitted is what was given, and a refusal leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forgather_spool.errors import NoSuchJob
from forgather_spool.spool import admit
from forgather_spool.spool.look import find
from forgather_spool.spool.queue import Spool

DROP = Path(__file__).resolve().parents[2] / "bin" / "forgather-drop"
LOOK = (  # a dispatcher's
    f"{sys.executable} -c 'from forgather_spool.spool import admit, queue; print(admit.move_on(queue.Spool()))'"
)
SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox") if shutil.which(shell)]


class Dropper:
    """Runs the script, by `shell`, and waits for what it leaves in the background as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Spool(str(folder / "home")).create()
        self.script = DROP
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "FORGATHER_HOME": self.spool.paths.home,
            "FORGATHER_NO_WAKE": "1",
        }

    def __call__(self, *words: str | bytes, shell: str = "sh", **options) -> subprocess.CompletedProcess[str]:
        command = [shell, *(["sh"] if shell == "busybox" else []), self.script, *words]
        reader, writer = os.pipe()
        try:
            answer = subprocess.run(
                command,
                **{"env": self.env, "cwd": self.folder, **options},
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                check=False,
                pass_fds=[writer],
            )
        finally:
            os.close(writer)
        assert os.read(reader, 1) == b""  # at the end of the last that has it open
        os.close(reader)
        return answer

    def admitted(self) -> list[dict]:
        """The specs of what lies in incoming/, all of it admitted."""
        rejected = [name for name, job_id in admit.admit(self.spool) if not job_id]
        assert not rejected, [path.read_text() for path in Path(self.spool.paths.rejected).glob("*.why")]
        specs = [self.spool.queued_spec(entry) for entry in self.spool.waiting()]
        for entry in self.spool.waiting():
            os.unlink(self.spool.paths.queued(entry[1], -entry[0]))
        return specs

    def is_untouched(self) -> bool:
        paths = self.spool.paths
        return not any(map(os.listdir, (paths.incoming, paths.tmp, paths.queue)))


@pytest.fixture
def drop(tmp_path: Path) -> Dropper:
    return Dropper(tmp_path)


def test_what_has_no_id_yet_is_said_to_be_there(drop: Dropper) -> None:
    """A script that asks by name at once is not told that there is no such job, and nothing else."""
    drop("--name", "early", "true")

    with pytest.raises(NoSuchJob, match="what was dropped a moment ago has neither yet") as refused:
        find(drop.spool, "early")

    assert refused.value.hint.startswith("the same again in a second")
    list(admit.admit(drop.spool))
    assert find(drop.spool, "early") == drop.spool.waiting()[0][1]
    with pytest.raises(NoSuchJob) as refused:
        find(drop.spool, "another")
    assert "dropped" not in str(refused.value)


def test_a_dropped_command_is_a_job_like_any_other(drop: Dropper, tmp_path: Path):
    answer = drop("--name", "fit it", "--priority=-3", "--gpus", "2", "--", "python", "--lr", "3e-4")

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    [spec] = drop.admitted()
    assert spec["argv"] == ["python", "--lr", "3e-4"]
    assert (spec["name"], spec["priority"], spec["gpus"]) == ("fit it", -3, 2)
    assert (spec["cwd"], spec["env"]) == (str(tmp_path), {"PATH": "/usr/bin:/bin"})
    assert os.listdir(drop.spool.paths.tmp) == []


def test_what_comes_after_the_command_is_no_option(drop: Dropper):
    drop("echo", "--gpus", "2", "--help", "--")

    [spec] = drop.admitted()
    assert (spec["argv"], spec["gpus"]) == (["echo", "--gpus", "2", "--help", "--"], 0)


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
awkward = st.text(st.sampled_from("\"\\'`$\n\t\r\b\f\x01\x1f\x7f *?[]{}~!#%&;|<>()-=é€\U0001f600\x80\u2028"))


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    argv=st.lists(words | awkward, min_size=1, max_size=5), name=words.filter(lambda text: len(text.encode()) <= 200)
)
@example(
    argv=["\ud7ff\ue000\uffff\U00010000\U0010ffff\u07ff\u0800\x80", "$(id)", "`id`", "a\n\nb\n", "-n", ""], name=""
)
def test_whatever_is_given_is_what_is_admitted(drop: Dropper, shell, argv, name):
    answer = drop("--name", name, "--", *argv, shell=shell)

    assert (answer.returncode, answer.stderr) == (0, "")
    [spec] = drop.admitted()
    assert (spec["argv"], spec["name"]) == (argv, name)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


near_utf8 = st.lists(
    st.sampled_from(
        [b"a", b"\x7f", b"\x80", b"\x81", b"\x88", b"\x9f", b"\xa0", b"\xbf", b"\xc0", b"\xc1", b"\xc2", b"\xdf",
         b"\xe0", b"\xe1", b"\xed", b"\xee", b"\xf0", b"\xf1", b"\xf4", b"\xf5", b"\xff", "é€😀".encode(), b"*", b"\\"]
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=near_utf8 | st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"")))
@example(data=b"\xed\xa0\x80")
@example(data=b"\xf4\x90\x80\x80")
@example(data=b"\xe0\x9f\xbf")
@example(data=b"\xf0\x8f\xbf\xbf")
def test_what_is_no_utf8_is_refused_and_all_else_taken(drop: Dropper, shell, data):
    answer = drop("echo", data, shell=shell)

    if is_utf8(data):
        assert drop.admitted()[0]["argv"] == ["echo", data.decode()]
    else:
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: an argument of the command is not UTF-8 text\n  fix: ")
        assert drop.is_untouched()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no command given"),
        (["--"], "no command given"),
        (["--name"], "--name needs a value"),
        (["--nme", "x", "true"], "no such option: --nme"),
        (["--name", "x" * 201, "true"], "--name: longer than 200 bytes"),
        (["--priority", "1000001", "true"], "--priority: 1000001 is not between -1000000 and 1000000"),
        (["--priority", "007", "true"], "--priority: not a whole number: 007"),
        (["--priority", "1.5", "true"], "--priority: not a whole number: 1.5"),
        (["--priority", "", "true"], "--priority: not a whole number: "),
        (["--gpus", "-1", "true"], "--gpus: -1 is not between 0 and 1024"),
        (["--gpus", "9" * 40, "true"], "--gpus: not a whole number"),
        (["--gpus=1;id", "true"], "--gpus: not a whole number: 1;id"),
        (["true", *["x" * 120_000] * 9], "the job is larger than 1 MiB"),
    ],
)
def test_what_cannot_be_meant_is_refused(drop: Dropper, words, says):
    answer = drop(*words)

    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {says}")
    assert "\n  fix: " in answer.stderr
    assert drop.is_untouched()


def test_help_says_what_it_does_not_do(drop: Dropper):
    answer = drop("--help")

    assert answer.returncode == 0
    assert "What it does not do" in answer.stdout


def test_without_a_spool_it_says_who_makes_one(drop: Dropper, tmp_path: Path):
    drop.env["FORGATHER_HOME"] = str(tmp_path / "nowhere")

    answer = drop("true")

    assert (answer.returncode, answer.stdout) == (69, "")
    assert "there is no spool in" in answer.stderr
    assert not (tmp_path / "nowhere").exists()


def stand_in(drop: Dropper, program: str, script: str) -> None:
    """What the script runs in place of `program`."""
    folder = drop.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    drop.env["PATH"] = f"{folder}:/usr/bin:/bin"


def test_where_the_file_system_refuses_nothing_is_left_behind(drop: Dropper):
    stand_in(drop, "sync", "exit 1")

    answer = drop("true")

    assert answer.returncode == 75
    assert answer.stderr.startswith("error: cannot sync in ")
    assert drop.is_untouched()


def test_what_cannot_be_taken_back_is_said_to_stand(drop: Dropper):
    stand_in(drop, "sync", "exit 1")
    stand_in(drop, "rm", "exit 1")

    answer = drop("true")

    assert answer.returncode == 75
    assert "nor take it back" in answer.stderr


def test_a_full_disk_is_one_line_and_a_hint(drop: Dropper):
    answer = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; trap "" XFSZ; exec sh "$0" true', DROP],
        env=drop.env, cwd=drop.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert answer.returncode == 75
    assert re.fullmatch(r"error: cannot write in .*\n  fix: df -h, .*; nothing was queued\n", answer.stderr)
    assert drop.is_untouched()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("folder", ["incoming", "tmp"])
def test_a_folder_one_may_not_write_to_is_one_line_and_a_hint(drop: Dropper, folder: str):
    Path(drop.spool.paths.spool, folder).chmod(0o500)

    answer = drop("true")

    Path(drop.spool.paths.spool, folder).chmod(0o700)
    assert answer.returncode == 75
    assert re.fullmatch(r"error: cannot write .*\n  fix: df -h, .*; nothing was queued\n", answer.stderr)
    assert drop.is_untouched()


# -- when it dies -----------------------------------------------------------------------------------------------------


def test_no_dispatcher_moves_a_job_that_is_not_on_disk(drop: Dropper):
    looked = drop.folder / "looked"
    stand_in(drop, "sync", f'ls {drop.spool.paths.incoming} >{looked}; {LOOK} >>{looked}; exec /bin/sync "$@"')

    drop("true")

    assert looked.read_text() == "0\n"
    assert len(drop.admitted()) == 1


def test_a_job_outlives_its_dropper(drop: Dropper):
    """Killed in the moment it is durable: acknowledged or not, it becomes one job."""
    stand_in(drop, "sync", '/bin/sync "$@" && kill -9 $PPID')

    answer = drop("true")

    assert answer.returncode == -signal.SIGKILL
    assert admit.sweep_tmp(drop.spool) == 0
    assert admit.move_on(drop.spool) == 1
    assert [spec["argv"] for spec in drop.admitted()] == [["true"]]
    assert drop.is_untouched()


def test_a_move_that_fails_is_made_by_a_dispatcher(drop: Dropper):
    stand_in(drop, "mv", "exit 1")

    answer = drop("true")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert admit.move_on(drop.spool) == 1
    assert len(drop.admitted()) == 1


def test_a_dispatcher_that_comes_before_mv_leaves_it_nothing(drop: Dropper):
    """The script has answered and ended; its mv is late."""
    stand_in(drop, "mv", f'while kill -0 $PPID && [ "$({LOOK})" = 0 ]; do :; done; exec /bin/mv "$@"')

    drop("true")

    assert len(drop.admitted()) == 1
    assert drop.is_untouched()


# -- who takes it on --------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(drop: Dropper, tmp_path: Path) -> Path:
    """A copy of the script with a `forgather` beside it that notes how it is called."""
    folder = tmp_path / "installed"
    folder.mkdir()
    drop.script = folder / "forgather-drop"
    shutil.copy(DROP, drop.script)
    (folder / "forgather").write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\n')
    (folder / "forgather").chmod(0o755)
    drop.env |= {"FORGATHER_NO_WAKE": "", "FORGATHER_HOST": "box"}
    return folder / "calls"


def test_where_no_dispatcher_is_awake_one_is_started(drop: Dropper, beside: Path):
    drop("true")
    Path(drop.spool.paths.host_lock("box")).touch()
    drop("true")

    assert beside.read_text() == "dispatch\ndispatch\n"


def test_a_dispatcher_that_is_awake_is_left_to_hear_it(drop: Dropper, beside: Path):
    with open(drop.spool.paths.host_lock("box"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        drop("true")

    assert not beside.exists()


def test_no_wake_means_no_wake(drop: Dropper, beside: Path):
    drop.env["FORGATHER_NO_WAKE"] = "1"

    drop("true")

    assert not beside.exists()
    assert len(drop.admitted()) == 1


def test_an_installed_path_unit_is_left_to_see_it(drop: Dropper, beside: Path, tmp_path: Path):
    home = Path(tmp_path, ".config", "forgather")
    Spool(str(home)).create()
    units = tmp_path / ".config" / "systemd" / "user" / "paths.target.wants"
    units.mkdir(parents=True)
    (units / "forgather-dispatch.path").touch()
    del drop.env["FORGATHER_HOME"]

    answer = drop("true")

    assert answer.returncode == 0
    assert len(list((home / "spool" / "incoming").iterdir())) == 1
    assert not beside.exists()
