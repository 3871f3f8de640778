"""The history goes out and comes in whole; somebody else's archive can do nothing but be refused."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.document import dump
from forgather_spool.errors import StorageFailed, UnreadableFile
from forgather_spool.job import State
from forgather_spool.spool import archive, imported
from forgather_spool.spool.archive import write_archive
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.files import together
from forgather_spool.spool.imported import read_archive
from forgather_spool.spool.look import look
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove, sweep_removed
from tests import builders

ID = "q_1738012412345_a1b2c3d4"


@pytest.fixture
def here(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "here")).create()


@pytest.fixture
def there(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "there")).create()


def exported(spool: Spool, *, logs: bool = True) -> bytes:
    out = io.BytesIO()
    write_archive(spool, ended_places(spool), out, logs=logs)
    return out.getvalue()


def take_in(spool: Spool, data: bytes, **how: Any) -> imported.Imported:
    return read_archive(spool, io.BytesIO(data), **how)


def everything(spool: Spool) -> dict[str, bytes]:
    """Every file of every ended job."""
    roots = (Path(spool.paths.done), Path(spool.paths.jobs))
    found = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(spool.paths.home)): path.read_bytes() for path in found}


def a_tar(*members: tuple[str, bytes], end: bool = True) -> bytes:
    """An archive with any names at all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        last = [(archive.END, b"{}")] if end else []
        for name, data in [(archive.MANIFEST, dump({"version": 1})), *members, *last]:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return out.getvalue()


def a_job(job_id: str = ID, **result: Any) -> list[tuple[str, bytes]]:
    spec, how = dump({"version": 1, "argv": ["true"]}), dump(builders.a_result() | result)
    return [(f"jobs/{job_id}/result.json", how), (f"done/2026-11-21/{job_id}.json", spec)]


def leftovers(spool: Spool) -> list[str]:
    return [*os.listdir(spool.paths.tmp), *os.listdir(spool.paths.jobs)]


def test_what_goes_out_comes_in_byte_for_byte(here: Spool, there: Spool) -> None:
    """Attempts, control commands and parts of an output as well."""
    entry = builders.ended(here, output=os.urandom(100_000))
    again = builders.waiting_again(here)
    builders.ended(here, again)
    folder = here.paths.job(entry[1])
    os.mkdir(f"{folder}/control")
    Path(folder, "control", "1-save.json").write_text("{}")
    Path(folder, "output.log.from-000000000100000").write_bytes(b"tail")

    found = take_in(there, exported(here))

    assert sorted(found.jobs) == sorted([entry[1], again[1]])
    assert everything(there) == everything(here)
    assert look(there, entry[1]).state is State.DONE and look(there, again[1]).attempt == 2


def test_importing_again_keeps_what_is_here(here: Spool, there: Spool) -> None:
    entry = builders.ended(here, output=b"theirs")
    data = exported(here)
    take_in(there, data)
    Path(there.paths.output(entry[1], 1)).write_bytes(b"mine")

    found = take_in(there, data)

    assert (found.jobs, found.kept) == ([], [entry[1]])
    assert Path(there.paths.output(entry[1], 1)).read_bytes() == b"mine"


def test_a_living_job_of_the_same_id_is_left_alone(here: Spool) -> None:
    entry = builders.submitted(here)

    found = take_in(here, a_tar(*a_job(entry[1])))

    assert found.kept == [entry[1]]
    assert look(here, entry[1]).state is State.WAITING


def test_secrets_of_a_trainer_stay_and_logs_may(here: Spool, there: Spool) -> None:
    entry = builders.ended(here, output=b"x")
    for name in ("auth_token", "endpoint.json"):
        Path(here.paths.job(entry[1]), name).write_text("secret")
    os.symlink("/etc/passwd", f"{here.paths.job(entry[1])}/link")

    take_in(there, exported(here, logs=False))

    names = os.listdir(there.paths.job(entry[1]))
    assert not {"auth_token", "endpoint.json", "output.log", "link"} & set(names)
    assert "result.json" in names


def test_a_job_removed_while_it_is_exported_is_no_job_of_the_archive(here: Spool, there: Spool, monkeypatch) -> None:
    entries = [builders.ended(here, output=b"x") for _ in range(2)]
    real, gone = archive._add_file, locate(here, entries[0][1])

    def removing(tar: tarfile.TarFile, path: str, name: str) -> None:
        real(tar, path, name)
        if entries[0][1] in path and os.path.exists(gone.path):
            remove(here, gone)

    monkeypatch.setattr(archive, "_add_file", removing)

    found = take_in(there, exported(here))

    assert found.jobs == [entries[1][1]] and not found.refused
    assert leftovers(there) == [entries[1][1]]


@pytest.mark.parametrize(
    "name",
    [
        "../../outside",
        "/etc/cron.d/outside",
        f"jobs/{ID}/../../../outside",
        f"jobs/{ID}/a/../../../../outside",
        f"jobs/{ID}/./x",
        f"jobs/{ID}/.hidden",
        f"jobs/{ID}/removed.json",
        f"jobs/{ID}/auth_token",
        f"jobs/{ID}/" + "x" * 300,
        f"jobs/{ID}/a/b/c/d/e",
        f"jobs/{ID}/new\nline",
        "jobs/not-an-id/result.json",
        f"spool/queue/{ID}.p0.json",
        f"done/2026-11-21/../{ID}.json",
        "done/2026-11-21/x.json",
        "hosts/box.json",
    ],
)
def test_a_name_that_no_export_writes_refuses_the_archive(here: Spool, name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no export writes"):
        take_in(here, a_tar((name, b"x"), *a_job()))

    assert leftovers(here) == [] and not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_files_are_taken(here: Spool, kind: bytes) -> None:
    out = io.BytesIO(a_tar(end=False))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo(f"jobs/{ID}/result.json")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)

    with pytest.raises(UnreadableFile):
        take_in(here, out.getvalue())

    assert leftovers(here) == []


def test_a_header_of_gigabytes_is_not_read_into_memory(here: Spool) -> None:
    out = io.BytesIO(a_tar(end=False))
    with tarfile.open(fileobj=out, mode="a", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("x")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
        tar.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))

    with pytest.raises(UnreadableFile):
        take_in(here, out.getvalue())


def test_a_job_that_is_too_large_is_refused_and_the_others_come_in(here: Spool) -> None:
    large = (f"jobs/{ID}/output.log", b"x" * 10_000)
    other = "q_1738012412345_a1b2c3d5"

    found = take_in(here, a_tar(large, *a_job(), *a_job(other)), max_job_bytes=5000)

    assert found.jobs == [other] and "larger" in found.refused[ID]
    assert locate(here, ID) is None


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ([(f"done/2026-11-21/{ID}.json", dump({"argv": ["true"]}))], "no result"),
        ([*a_job()[:1], (f"done/2026-11-21/{ID}.json", b"{")], "imported.json"),
        ([*a_job()[:1], (f"done/2026-11-21/{ID}.json", dump({"version": 2, "argv": ["true"]}))], "newer forgather"),
        (a_job(version=2), "newer forgather"),
        (a_job(ended_at="yesterday"), "RFC 3339"),
        ([*a_job()[:1], *a_job()], "twice"),
    ],
)
def test_what_is_no_ended_job_is_refused_with_its_reason(here: Spool, job: list[tuple[str, bytes]], why: str) -> None:
    found = take_in(here, a_tar(*job))

    assert found.jobs == [] and why in found.refused[ID]
    assert leftovers(here) == []


def test_an_archive_of_a_newer_version_is_refused_whole(here: Spool) -> None:
    newer = a_tar(*a_job()).replace(b'{"version": 1}', b'{"version": 2}')

    with pytest.raises(UnreadableFile, match="version 2"):
        take_in(here, newer)

    assert leftovers(here) == []


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 10_240, os.urandom(20_000)])
def test_what_is_no_archive_is_said_to_be_none(here: Spool, data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        take_in(here, data)


def test_of_an_archive_cut_off_anywhere_the_whole_jobs_come_in_and_the_rest_with_the_next(
    here: Spool, there: Spool
) -> None:
    for _ in range(3):
        builders.ended(here, output=b"x" * 600)
    data = exported(here)
    counts = []

    for length in range(0, data.index(archive.END.encode()) + 1, 512):
        with pytest.raises(UnreadableFile):
            take_in(there, data[:length])
        counts.append(len(list(ended_places(there))))
        for place in ended_places(there):
            assert look(there, place.job_id).problem is None

    assert counts == sorted(counts) and counts[-1] == 3
    assert take_in(there, data).jobs == []
    assert everything(there) == everything(here)


class Killed(BaseException):
    pass


def test_a_kill_at_any_step_leaves_each_job_whole_or_unlisted_and_the_next_import_finishes(
    here: Spool, tmp_path: Path, monkeypatch
) -> None:
    for _ in range(2):
        builders.ended(here, output=b"x")
    data = exported(here)
    for step in range(200):
        spool = Spool(str(tmp_path / f"home-{step}")).create()
        was_killed = _interrupted(step, Killed, monkeypatch, lambda spool=spool: take_in(spool, data))
        for place in ended_places(spool):
            assert look(spool, place.job_id).problem is None

        take_in(spool, data)

        assert everything(spool) == everything(here)
        if not was_killed:
            assert step > 15
            return
    raise AssertionError("it never came to its end")


def test_a_cleanup_finishes_an_import_that_was_killed_before_its_last_step(here: Spool, there: Spool) -> None:
    entry = builders.ended(here)
    take_in(there, exported(here))
    place = locate(there, entry[1])
    os.rename(place.path, there.paths.imported(entry[1]))
    assert locate(there, entry[1]) is None

    sweep_removed(there)

    assert everything(there) == everything(here)


def test_whatever_the_disk_refuses_is_one_line_and_nothing_is_half_there(
    here: Spool, tmp_path: Path, monkeypatch
) -> None:
    builders.ended(here, output=b"x")
    data = exported(here)
    for step in range(200):
        spool = Spool(str(tmp_path / f"home-{step}")).create()
        failed = _interrupted(step, OSError(28, "No space left"), monkeypatch, lambda spool=spool: take_in(spool, data))
        for place in ended_places(spool):
            assert look(spool, place.job_id).problem is None
        assert take_in(spool, data).jobs or list(ended_places(spool))
        if not failed:
            return
    raise AssertionError("it never came to its end")


def _interrupted(step: int, error: Any, monkeypatch: pytest.MonkeyPatch, act: Any) -> bool:
    """Whether `act` met `error` in place of its `step`th change to the file system."""
    left = [step]

    def counting(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise error
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "mkdir", "write", "fsync", "chmod"):
            patch.setattr(os, name, counting(getattr(os, name)))
        patch.setattr(together, "sync_file_system", counting(together.sync_file_system))
        try:
            act()
        except (Killed, StorageFailed, UnreadableFile, OSError):
            pass
    return left[0] < 0


def begun() -> bytes:
    """An archive up to its first job: a header of 512 bytes, and the manifest."""
    return a_tar(end=False)[:1024]


def pax(record: bytes) -> bytes:
    """A header of attributes for the next member, of which one is `record`."""
    line = b"%d %s\n" % (len(record) + 4, record)
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(line)
    return info.tobuf() + line.ljust(512, b"\0")


def test_a_header_nobody_can_read_refuses_the_archive(here: Spool) -> None:
    with pytest.raises(UnreadableFile, match="a header nobody can read: ValueError"):
        take_in(here, begun() + pax(b"GNU.sparse.size=abc") + tarfile.TarInfo("y").tobuf())


def test_an_archive_that_ends_in_a_file_of_a_job_we_have_is_read_no_further(here: Spool) -> None:
    """The file is skipped, and the library would read on for as long as its header says: a terabyte of nothing."""
    job_id = builders.ended(here)[1]
    info = tarfile.TarInfo(f"jobs/{job_id}/output.log")
    info.size = 1 << 40

    with pytest.raises(UnreadableFile, match="it ends in the middle of a file"):
        take_in(here, begun() + info.tobuf(tarfile.GNU_FORMAT))


def test_a_name_that_is_a_file_and_a_folder_refuses_its_job(here: Spool) -> None:
    found = take_in(here, a_tar((f"jobs/{ID}/a", b""), (f"jobs/{ID}/a/b", b"")))

    assert found.refused == {ID: "a is there as a file and as a folder"}
    assert locate(here, ID) is None


def test_a_manifest_that_is_no_document_is_said_to_be_none(here: Spool) -> None:
    with pytest.raises(UnreadableFile, match=archive.MANIFEST):
        take_in(here, begun()[:512] + b"{".ljust(512, b"\0"))


def test_many_come_in_a_few_at_a_time(here: Spool, there: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        builders.ended(here)
    monkeypatch.setattr(imported, "TOGETHER", 2)

    assert len(take_in(there, exported(here)).jobs) == 5
    assert everything(there) == everything(here)


def test_an_import_whose_result_was_damaged_since_is_left_as_it_is(here: Spool) -> None:
    entry = builders.ended(here)
    [place] = ended_places(here)
    os.rename(place.path, here.paths.imported(entry[1]))
    builders.damage(here.paths.result(entry[1], 1))

    sweep_removed(here)

    assert os.path.exists(here.paths.imported(entry[1]))


def test_what_cannot_be_opened_now_stops_the_export(here: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.ended(here, output=b"x")
    really_open = os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if str(path).endswith("output.log"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(StorageFailed, match="cannot read"):
        exported(here)
