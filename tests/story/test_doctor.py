"""`forgather doctor`: each thing that can be wrong is found, named, and comes with a way to mend it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forgather_spool import doctor as doctors
from forgather_spool.cli.machine.doctor import doctor
from forgather_spool.doctor import examine, storage, systemd
from forgather_spool.doctor.finding import Finding, Level, Verdict
from forgather_spool.errors import Missing
from forgather_spool.host import proc
from forgather_spool.spool import settings
from forgather_spool.spool.names import entry_name
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool, utc_now
from tests import builders

HERE = proc.host_name()
ENVIRON = {"FORGATHER_HOST_KIND": "process"}
LONG_AGO_UNIX_S = 1_700_000_000


@pytest.fixture(autouse=True)
def journal_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes a line and waits for it: not in every test."""
    monkeypatch.setattr("forgather_spool.host.journal.why_unreadable", lambda: None)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    umask = os.umask(0o077)  # what the tests write themselves is as private as what forgather writes
    yield Spool(str(tmp_path / "home")).create()
    os.umask(umask)


def findings(spool: Spool, **environ: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(spool, ENVIRON | environ)}


def finding(spool: Spool, name: str, **environ: str) -> Finding:
    return findings(spool, **environ)[name]


def assert_finds(spool: Spool, name: str, level: Level, *words: str) -> None:
    """It is found under `name`, says `words`, and has a way to mend it."""
    found = finding(spool, name)
    assert found.level is level, found
    for word in words:
        assert word in found.says
    assert found.mend


def published(spool: Spool, host: str, **facts: Any) -> None:
    """As the host's dispatcher does."""
    document = {"version": 1, "host": host, "kind": "process", "boot_id": "b", "gpus": [], "last_seen_at": utc_now()}
    builders.spool_file(spool.paths.host(host), document | facts)


@contextmanager
def dispatcher_awake(spool: Spool) -> Iterator[int]:
    """Another program holds the host's lock; its pid."""
    program = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, spool.paths.host_lock(HERE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        published(spool, HERE, dispatcher_pid=holder.pid)
        yield holder.pid
        assert holder.stdin
        holder.stdin.close()


def test_a_sound_spool_has_nothing_to_mend(spool: Spool) -> None:
    """Whatever the machine is like, no check of the spool complains."""
    builders.submitted(spool)
    builders.ended(spool)

    with dispatcher_awake(spool):
        found = findings(spool)

    assert [name for name, finding in found.items() if finding.level is Level.FAIL] == []
    about_the_spool = [
        "permissions",
        "settings",
        "dispatcher",
        "running jobs",
        "queue",
        "cancelled jobs",
        "other hosts",
    ]
    assert {name: found[name].level for name in about_the_spool} == dict.fromkeys(about_the_spool, Level.OK)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Not even a folder is made."""
    found = findings(Spool(str(tmp_path / "nowhere" / "home")))

    assert "the first submit makes it" in found["home"].says
    assert os.listdir(tmp_path) == []
    assert not any(finding.level is Level.FAIL for finding in found.values())


def test_a_spool_others_may_write_to_fails(spool: Spool) -> None:
    os.chmod(spool.paths.queue, 0o777)

    assert_finds(spool, "permissions", Level.FAIL, spool.paths.queue, "may be written to by others")


def test_a_job_others_may_write_to_fails(spool: Spool) -> None:
    _, job_id = builders.submitted(spool)
    os.chmod(spool.paths.queued(job_id, 0), 0o666)

    assert_finds(spool, "permissions", Level.FAIL, job_id, "may be written to by others")


def test_what_others_may_read_is_named(spool: Spool) -> None:
    _, job_id = builders.running(spool, output=b"my secret\n")
    os.chmod(spool.paths.output(job_id, 1), 0o644)

    assert_finds(spool, "permissions", Level.WARN, spool.paths.output(job_id, 1), "may be read by others")


def test_a_home_below_an_open_folder_fails(tmp_path: Path) -> None:
    """Whoever may rename the home may put one of their own in its place. A sticky folder, like /tmp, is fine."""
    (tmp_path / "open").mkdir()
    spool = Spool(str(tmp_path / "open" / "home")).create()

    os.chmod(tmp_path / "open", 0o1777)
    assert finding(spool, "home").level is Level.OK

    os.chmod(tmp_path / "open", 0o777)
    assert_finds(spool, "home", Level.FAIL, str(tmp_path / "open"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_owners_file_is_named(spool: Spool) -> None:
    _, job_id = builders.submitted(spool)
    os.chown(spool.paths.queued(job_id, 0), 12345, -1)

    assert_finds(spool, "permissions", Level.WARN, job_id, "another owner")


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("ext4", Level.OK),
        ("nfs4", Level.NOTE),
        ("tmpfs", Level.WARN),
        ("overlay", Level.WARN),
        ("9p", Level.NOTE),
        ("fuse.sshfs", Level.FAIL),
    ],
)
def test_the_file_system_is_judged(spool: Spool, monkeypatch: pytest.MonkeyPatch, kind: str, level: Level) -> None:
    monkeypatch.setattr(proc, "file_system_of", lambda path: kind)

    found = finding(spool, "file system")

    assert (found.level, kind in found.says) == (level, True)


@pytest.mark.parametrize(
    ("fields", "level", "word"),
    [
        ({"f_bavail": 0}, Level.FAIL, "0 MiB free"),
        ({"f_bavail": 100 << 8}, Level.WARN, "100 MiB free"),
        ({"f_favail": 3}, Level.WARN, "inodes"),
        ({"f_flag": os.ST_RDONLY}, Level.FAIL, "read-only"),
    ],
)
def test_a_lack_of_room_is_found(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], level: Level, word: str
) -> None:
    class Full:
        f_frsize, f_bavail, f_files, f_favail, f_flag = 4096, 1 << 30, 1 << 20, 1 << 20, 0

    for name, value in fields.items():
        setattr(Full, name, value)
    monkeypatch.setattr(storage.os, "statvfs", lambda path: Full)

    assert_finds(spool, "space", level, word)


@pytest.mark.parametrize("name", ["dispatch", "gpu_policy"])
def test_damaged_settings_fail(spool: Spool, name: str) -> None:
    """With the file's name: nothing starts until it is mended."""
    builders.damage(f"{spool.paths.server}/{name}.json")

    assert_finds(spool, "settings", Level.FAIL, f"{name}.json: $")


def test_a_pause_is_told(spool: Spool) -> None:
    settings.change_dispatch(spool.paths, paused=True, paused_at="2026-11-21T03:40:12Z")

    assert_finds(spool, "settings", Level.NOTE, "paused since 2026-11-21")


def test_jobs_that_wait_with_nobody_awake_are_found(spool: Spool) -> None:
    builders.submitted(spool)

    assert_finds(spool, "dispatcher", Level.WARN, "1 jobs wait and no dispatcher is awake")
    with dispatcher_awake(spool) as pid:
        assert finding(spool, "dispatcher").says == f"awake, process {pid}"


def test_a_job_whose_runner_is_gone_is_found(spool: Spool) -> None:
    """By its files it runs; nobody has noticed yet."""
    _, job_id = builders.running(spool, host=HERE)

    assert_finds(spool, "running jobs", Level.WARN, job_id)
    with dispatcher_awake(spool):
        assert finding(spool, "running jobs").level is Level.OK


def test_names_that_are_not_ours_are_found(spool: Spool) -> None:
    """They are passed over for ever, so somebody must be told."""
    Path(spool.paths.queue, "my-job.json").write_text("{}")

    assert_finds(spool, "queue", Level.WARN, "queue/my-job.json")


def test_a_job_that_stands_twice_fails(spool: Spool) -> None:
    """Copied by hand, it might start a second time."""
    _, job_id = builders.running(spool)
    Path(spool.paths.queued(job_id, 3)).write_text("{}")

    assert_finds(spool, "queue", Level.FAIL, job_id, "several places")


def test_an_interrupted_cancel_is_found(spool: Spool) -> None:
    entry = builders.submitted(spool)
    os.rename(spool.paths.queued(entry[1], 0), spool.paths.taken(CANCEL, entry[1], 0))

    assert_finds(spool, "cancelled jobs", Level.NOTE, entry[1])


def test_rejected_and_forgotten_files_are_found(spool: Spool) -> None:
    Path(spool.paths.rejected, "bad.json").write_text("{")
    Path(spool.paths.rejected, "bad.json.why").write_text("not JSON\n")
    forgotten = Path(spool.paths.tmp, "box.1.abc")
    forgotten.write_text("half a jo")
    os.utime(forgotten, (LONG_AGO_UNIX_S, LONG_AGO_UNIX_S))

    assert_finds(spool, "rejected files", Level.NOTE, "bad.json")
    assert_finds(spool, "temporary files", Level.NOTE, "1 that nobody writes any more")


def test_a_host_that_fell_silent_with_jobs_is_found(spool: Spool) -> None:
    """Never seen is silent too; one heard of just now is not."""
    builders.running(spool, host="gone")
    builders.running(spool, host="lively")
    published(spool, "lively")

    found = finding(spool, "other hosts")

    assert found.level is Level.WARN
    assert "gone" in found.says and "lively" not in found.says


def test_a_job_from_the_future_is_found(spool: Spool) -> None:
    """A clock was set back: what is submitted now sorts before it."""
    tomorrow_ms = int((time.time() + 86400) * 1000)
    Path(spool.paths.queue, entry_name(f"q_{tomorrow_ms}_00000000", 0)).write_text("{}")

    assert_finds(spool, "clock", Level.NOTE, "in the future")


def test_the_package_that_slows_every_start_is_found(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda package: "13.0")

    assert_finds(spool, "nvidia-ml-py", Level.WARN, "17 ms")


def test_without_systemd_that_is_a_note_and_no_fault(spool: Spool) -> None:
    found = findings(spool)

    assert found["user manager"].level is Level.NOTE
    assert "not enforced" in found["limits"].says
    assert found["lingering"].level is found["systemd version"].level is Level.OK


def test_without_lingering_it_warns(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctors, "why_not_systemd", lambda environ: None)
    monkeypatch.setattr("forgather_spool.host.user_manager.lingers", lambda environ: False)
    monkeypatch.setattr(systemd, "_loginctl_says_so", lambda: False)

    assert_finds(spool, "lingering", Level.WARN, "jobs die 10 s after your last logout")


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("252.38-1~deb12u1", False),
        ("255.4-1ubuntu8.4", True),
        ("256~rc3", True),
        ("256.2", True),
        ("256.3", False),
        ("257", False),
        ("v999", False),
    ],
)
def test_systemd_versions_that_kill_jobs_at_logout_are_named(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, text: str, is_named: bool
) -> None:
    monkeypatch.setattr(doctors, "why_not_systemd", lambda environ: None)
    monkeypatch.setattr(systemd, "_manager_property", lambda subject, name: text)

    assert (finding(spool, "systemd version").level is Level.WARN) == is_named


def test_a_check_that_breaks_is_a_finding_and_the_others_are_made(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(subject: object) -> Verdict:
        raise RuntimeError("boom")

    def refuse(subject: object) -> Verdict:
        raise Missing("no such thing", hint="get one")

    monkeypatch.setitem(doctors.CHECKS, "clock", explode)
    monkeypatch.setitem(doctors.CHECKS, "space", refuse)

    found = findings(spool)

    assert found["clock"] == Finding(
        "clock", Level.FAIL, "could not be checked: RuntimeError: boom", "mend what it names, or report it as a bug"
    )
    assert found["space"] == Finding("space", Level.FAIL, "no such thing", "get one")
    assert found.keys() == doctors.CHECKS.keys()


@pytest.mark.parametrize("folder", ["spool", "spool/queue", "spool/running", "jobs", "server", "hosts"])
@pytest.mark.parametrize("damage", ["file", "gone", "fifo", "dangling"])
def test_a_spool_in_pieces_is_told_without_a_traceback(spool: Spool, folder: str, damage: str) -> None:
    path = Path(spool.paths.home, folder)
    path.rename(spool.paths.home + ".aside")
    if damage == "file":
        path.write_text("in the way")
    elif damage == "fifo":
        os.mkfifo(path)
    elif damage == "dangling":
        path.symlink_to("nowhere")

    found = findings(spool)

    assert found["home"].level is Level.WARN
    assert not any("could not be checked" in finding.says for finding in found.values()), found


def test_the_command_exits_0_when_nothing_fails_and_1_otherwise(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", spool.paths.home)
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")

    sound = CliRunner().invoke(doctor, ["--json"])
    os.chmod(spool.paths.queue, 0o777)
    unsafe = CliRunner().invoke(doctor, [])

    assert (sound.exit_code, unsafe.exit_code) == (0, 1)
    assert {found["name"] for found in json.loads(sound.stdout)["findings"]} == doctors.CHECKS.keys()
    line, mend = next(
        (line, after)
        for line, after in zip(unsafe.stdout.splitlines(), unsafe.stdout.splitlines()[1:], strict=False)
        if line.startswith("fail  permissions")
    )
    assert spool.paths.queue in line and mend.split()[0] == "mend:"
