"""What anybody drops into incoming/: it becomes a job, or is set aside with a reason; it never holds up the rest."""

from __future__ import annotations

import json
import os
import stat

import pytest

from forgather_spool.spool import admit
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.reject import reject_strangers

LONG_AGO = (1_000_000_000, 1_000_000_000)

POISON = {
    "deep": b"[" * 100_000,
    "deep-object": b'{"argv": ["x"], "job_params": ' + b'{"a":' * 200 + b"1" + b"}" * 201,
    "nan": b'{"argv": ["x"], "cpus": NaN}',
    "infinity": b'{"argv": ["x"], "cpus": -Infinity}',
    "overflow": b'{"argv": ["x"], "cpus": 1e999}',
    "huge-integer": b'{"argv": ["x"], "gpus": ' + b"9" * 5000 + b"}",
    "twice": b'{"argv": ["x"], "argv": ["y"]}',
    "bom": b'\xef\xbb\xbf{"argv": ["x"]}',
    "utf16": '{"argv": ["x"]}'.encode("utf-16"),
    "latin1": b'{"argv": ["caf\xe9"]}',
    "bool-as-int": b'{"argv": ["x"], "gpus": true}',
    "surrogate": b'{"argv": ["\\ud800"]}',
    "nul": b'{"argv": ["a\\u0000b"]}',
    "nul-in-env": b'{"argv": ["x"], "env": {"A": "\\u0000"}}',
    "no-argv": b'{"name": "x"}',
    "empty-argv": b'{"argv": []}',
    "string-argv": b'{"argv": "rm -rf /"}',
    "unknown-key": b'{"argv": ["x"], "gpu": 1}',
    "newer": b'{"version": 2, "argv": ["x"]}',
    "after-a-name": b'{"argv": ["x"], "after": [{"job": "prepare"}]}',
    "begin-soon": b'{"argv": ["x"], "begin_at": "soon"}',
    "retry-on-what": b'{"argv": ["x"], "retries": 1, "retry_on": ["75", "oom", "bad luck"]}',
    "no-group": b'{"argv": ["x"], "group": ""}',
    "relative-cwd": b'{"argv": ["x"], "cwd": "runs/7"}',
    "negative-gpus": b'{"argv": ["x"], "gpus": -1}',
    "priority-too-high": b'{"argv": ["x"], "priority": 99999999999}',
    "env-name": b'{"argv": ["x"], "env": {"A=B": "c"}}',
    "list": b"[1, 2]",
    "empty": b"",
    "large": b'{"argv": ["' + b"a" * (2 << 20) + b'"]}',
    "torn": b'{"argv": ["tr',
}


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "home")).create()


def drop(spool, name, data, *, settled=True):
    path = os.path.join(spool.paths.incoming, name)
    with open(path, "wb") as file:
        file.write(data)
    if settled:
        os.utime(path, LONG_AGO)
    return path


def rejected(spool):
    return sorted(name for name in os.listdir(spool.paths.rejected) if not name.endswith(".why"))


def why(spool, name):
    with open(os.path.join(spool.paths.rejected, f"{name}.why")) as file:
        return file.read()


def test_a_dropped_file_becomes_a_waiting_job(spool):
    """The file itself is renamed into the queue: its id and priority are its name now."""
    drop(spool, "mine.json", b'{"argv": ["echo", "hi"], "priority": 4}')

    [(name, job_id)] = list(admit.admit(spool))

    assert name == "mine.json"
    assert spool.waiting() == [(-4, job_id)]
    assert spool.queued_spec((-4, job_id))["argv"] == ["echo", "hi"]
    assert stat.S_IMODE(os.stat(spool.paths.queued(job_id, 4)).st_mode) == 0o600
    assert os.listdir(spool.paths.incoming) == []


@pytest.mark.parametrize("name", POISON)
def test_poison_is_set_aside_with_a_reason_and_the_others_are_admitted(spool, name):
    drop(spool, f"{name}.json", POISON[name])
    drop(spool, "zz-good.json", b'{"argv": ["true"]}')

    list(admit.admit(spool))

    assert rejected(spool) == [f"{name}.json"]
    assert len(why(spool, f"{name}.json").splitlines()[0]) > 10
    assert len(spool.waiting()) == 1


def test_a_file_of_a_later_version_is_said_to_be_one(spool):
    drop(spool, "later.json", POISON["newer"])

    list(admit.admit(spool))

    first, fix, _ = why(spool, "later.json").splitlines()
    assert first.endswith("$.version: 2: written by a newer forgather; this one reads up to 1")
    assert "upgrade" in fix


def test_what_is_no_regular_file_is_set_aside(spool):
    """A FIFO would hang the reader, a link would show another file, a directory has no content."""
    os.mkfifo(os.path.join(spool.paths.incoming, "fifo.json"))
    os.symlink("/etc/passwd", os.path.join(spool.paths.incoming, "link.json"))
    os.symlink("/dev/zero", os.path.join(spool.paths.incoming, "zero.json"))
    os.mkdir(os.path.join(spool.paths.incoming, "folder.json"))

    list(admit.admit(spool))

    assert rejected(spool) == ["fifo.json", "folder.json", "link.json", "zero.json"]
    assert "symbolic link" in why(spool, "link.json")
    assert "not a regular file" in why(spool, "fifo.json")


def test_a_file_still_being_copied_is_left_for_a_moment(spool):
    """A copy in place is torn while it is written; it is damaged only when nobody writes any more."""
    path = drop(spool, "slow.json", b'{"argv": ["tr', settled=False)

    assert list(admit.admit(spool)) == []
    with open(path, "ab") as file:
        file.write(b'ue"]}')
    assert [name for name, job_id in admit.admit(spool) if job_id] == ["slow.json"]


def test_temporary_files_of_rsync_are_nobodys_business(spool):
    drop(spool, ".job.json.Xa81bc", b"half")

    assert list(admit.admit(spool)) == []
    assert not admit.pending(spool)


def test_what_is_set_aside_becomes_private(spool):
    path = drop(spool, "bad.json", b"{")
    os.chmod(path, 0o644)

    list(admit.admit(spool))

    assert os.stat(os.path.join(spool.paths.rejected, "bad.json")).st_mode & 0o777 == 0o600


def test_two_bad_files_of_one_name_are_both_kept(spool):
    for content in (b"first", b"second"):
        drop(spool, "bad.json", content)
        list(admit.admit(spool))

    assert rejected(spool) == ["bad.json", "bad.json.2"]


def test_strange_names_in_the_queue_are_set_aside(spool):
    """Names no shell user expects, and bytes that are no text."""
    for name in [b"x.json", b"\xff\xfe.json", b"a\nb.p0.json", b"q_1738012412345_a1b2c3d4.p00.json"]:
        with open(os.path.join(os.fsencode(spool.paths.queue), name), "wb") as file:
            file.write(b"{}")

    reject_strangers(spool, spool.paths.queue)

    assert os.listdir(spool.paths.queue) == []
    assert len(rejected(spool)) == 4


def test_only_temporary_files_nobody_writes_are_swept(spool):
    mine = os.path.join(spool.paths.tmp, f"{os.uname().nodename.partition('.')[0]}.{os.getpid()}.aa")
    dead = os.path.join(spool.paths.tmp, f"{os.uname().nodename.partition('.')[0]}.4194305.bb")
    elsewhere = os.path.join(spool.paths.tmp, "otherhost.1.cc")
    for path in (mine, dead, elsewhere):
        with open(path, "w"):
            pass

    assert admit.sweep_tmp(spool) == 1
    assert not os.path.exists(dead)

    os.utime(elsewhere, LONG_AGO)
    assert admit.sweep_tmp(spool) == 1
    assert os.path.exists(mine)


HOST = os.uname().nodename.partition(".")[0]
DEAD = f"{HOST}.4194305.{'a' * 12}.json"
ALIVE = f"{HOST}.{os.getpid()}.{'b' * 12}.json"
ELSEWHERE = f"otherhost.1.{'c' * 12}.json"


def test_what_may_be_acknowledged_in_tmp_is_moved_on_and_never_swept(spool):
    for name in (DEAD, ALIVE, ELSEWHERE):
        with open(os.path.join(spool.paths.tmp, name), "w") as file:
            file.write('{"argv": ["true"]}')

    assert admit.move_on(spool) == 1
    for name in (ALIVE, ELSEWHERE):
        os.utime(os.path.join(spool.paths.tmp, name), LONG_AGO)
    assert admit.sweep_tmp(spool) == 0
    assert admit.move_on(spool) == 2

    assert [name for name, job_id in admit.admit(spool) if job_id] == sorted([DEAD, ALIVE, ELSEWHERE])


def test_what_a_dead_writer_left_torn_is_set_aside(spool):
    torn = os.path.join(spool.paths.tmp, DEAD)
    with open(torn, "w") as file:
        file.write('{"argv": ["tr')
    os.utime(torn, LONG_AGO)

    admit.move_on(spool)

    assert list(admit.admit(spool)) == [(DEAD, "")]
    assert rejected(spool) == [DEAD]


def test_every_document_we_write_is_one_we_read(spool):
    """What submit writes passes the strict reader, whatever characters it holds."""
    job_id = spool.submit({"argv": ["echo", "é\u2028😀\x1b[31m"], "priority": 0, "name": "ü"})

    assert spool.queued_spec((0, job_id))["name"] == "ü"
    with open(spool.paths.queued(job_id, 0)) as file:
        assert json.load(file)["argv"][1].endswith("[31m")


def test_a_file_that_is_taken_back_while_others_are_admitted_is_no_error(spool):
    for name in ("a.json", "b.json"):
        drop(spool, name, b'{"argv": ["true"]}')
    coming = admit.admit(spool)

    assert next(coming)[0] == "a.json"
    os.remove(f"{spool.paths.incoming}/b.json")

    assert list(coming) == []


def test_what_is_named_like_no_spec_is_set_aside_once_nobody_can_be_copying_it(spool):
    drop(spool, "notes.txt", b'{"argv": ["true"]}')

    assert list(admit.admit(spool)) == [("notes.txt", "")]

    assert "does not end in .json" in why(spool, "notes.txt")


def test_a_dropped_file_may_say_when_and_how_often(spool):
    spec = b'{"argv": ["true"], "begin_at": "2099-01-01T00:00:00Z", "retries": 1, "retry_on": ["75", "oom"], '
    drop(spool, "mine.json", spec + b'"after": [{"job": "q_1738012412345_a1b2c3d4"}]}')

    assert [name for name, job_id in admit.admit(spool) if job_id] == ["mine.json"]
