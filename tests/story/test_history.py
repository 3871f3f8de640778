"""`forgather export` and `import`: the history from one home to another, through any kind of file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from forgather_spool.cli import history
from forgather_spool.errors import UsageError
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool
from tests import builders, file_system

FORGATHER = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather")]


@pytest.fixture
def here(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "here")).create()


@pytest.fixture
def there(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "there")).create()


def run(
    spool: Spool, *words: str, data: bytes = b"", cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "FORGATHER_HOME": spool.paths.home, **env}
    return subprocess.run([*FORGATHER, *words], env=environ, input=data, cwd=cwd, capture_output=True, timeout=60)


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar", "tar.zst"])
def test_the_history_moves_in_a_file_of_any_kind(here: Spool, there: Spool, tmp_path: Path, ending: str) -> None:
    if ending.endswith("zst") and not shutil.which("zstd"):
        pytest.skip("no zstd here")
    entry = builders.ended(here, output=b"hello\n")
    file = str(tmp_path / f"history.{ending}")

    exported = run(here, "export", file)
    imported = run(there, "import", file)

    assert exported.stdout == f"exported 1 jobs to {file}\n".encode(), exported.stderr
    assert imported.stdout == b"imported 1 jobs\n", imported.stderr
    assert run(there, "job", "dump", entry[1]).stdout == b"hello\n"
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert run(there, "import", file).stdout == b"imported 0 jobs, kept 1 that were here already\n"


def test_it_goes_through_a_pipe(here: Spool, there: Spool) -> None:
    entry = builders.ended(here)
    data = run(here, "export", "-").stdout

    told = json.loads(run(there, "import", "-", "--json", data=data).stdout)

    assert told == {"version": 1, "imported": [entry[1]], "kept": [], "refused": {}}


@pytest.mark.skipif(not shutil.which("zstd"), reason="no zstd here")
def test_a_compressed_archive_goes_through_a_pipe_too(here: Spool, there: Spool, tmp_path: Path) -> None:
    builders.ended(here, output=os.urandom(300_000))
    file = tmp_path / "history.tar.zst"
    run(here, "export", str(file))

    assert run(there, "import", "-", data=file.read_bytes()).stdout == b"imported 1 jobs\n"


@pytest.mark.parametrize("ending", ["tar.gz", "tar.zst"])
def test_a_damaged_file_is_an_error_and_no_traceback(here: Spool, there: Spool, tmp_path: Path, ending: str) -> None:
    builders.ended(here, output=os.urandom(100_000))
    file = tmp_path / f"history.{ending}"
    if run(here, "export", str(file)).returncode == 69:
        pytest.skip("no zstd here")
    data = bytearray(file.read_bytes())
    for cut in (bytes(data[: len(data) // 2]), bytes(data[:5000]) + os.urandom(5000) + bytes(data[10_000:])):
        file.write_bytes(cut)
        done = run(there, "import", str(file))
        assert done.returncode == 65 and done.stderr.startswith(b"error: "), done.stderr
        assert b"Traceback" not in done.stderr
        assert f"error: {file}: ".encode() in done.stderr
        assert list(ended_places(there)) == []


def test_what_never_was_an_archive_is_not_to_be_imported_again(there: Spool, tmp_path: Path) -> None:
    file = tmp_path / "history.tar.gz"
    file.write_bytes(b"not an archive " * 100)

    done = run(there, "import", str(file))

    assert done.returncode == 65
    assert done.stderr.endswith(b"\n  fix: no job was imported; it is to be a file that forgather export wrote\n")


def test_only_what_was_asked_for_goes_out(here: Spool, there: Spool, tmp_path: Path) -> None:
    ok = builders.ended(here)
    failed = builders.ended(here, outcome={"kind": "exited", "exit_code": 1})
    file, tomorrow = str(tmp_path / "x.tar.gz"), f"{datetime.now() + timedelta(days=2):%Y-%m-%d}"

    assert b"exported 0" in run(here, "export", "--since", tomorrow, str(tmp_path / "none.tar")).stdout
    assert b"exported 0" in run(here, "export", "--until", "1d", str(tmp_path / "none2.tar")).stdout
    assert b"exported 1" in run(here, "export", "--since", "1d", "--outcome", "failed", file).stdout
    run(there, "import", file)

    assert locate(there, failed[1]) and not locate(there, ok[1])


def test_a_bare_name_is_a_file_here(here: Spool, tmp_path: Path) -> None:
    builders.ended(here)

    exported = run(here, "export", "history.tar", cwd=tmp_path)

    assert (exported.returncode, exported.stderr) == (0, b"")
    assert [path.name for path in tmp_path.glob("history*")] == ["history.tar"]
    nowhere = run(here, "export", "nowhere/history.tar", cwd=tmp_path)
    assert (nowhere.returncode, b"no such directory" in nowhere.stderr) == (2, True)


def test_a_file_that_is_there_is_not_written_over(here: Spool, tmp_path: Path) -> None:
    file = tmp_path / "x.tar.gz"
    file.write_text("precious")

    assert run(here, "export", str(file)).returncode == 2
    assert run(here, "export", str(tmp_path / "x.zip")).returncode == 2
    assert run(here, "export", "--since", "whenever", str(tmp_path / "y.tar")).returncode == 2

    assert file.read_text() == "precious" and os.listdir(tmp_path).count("x.zip") == 0


def test_without_zstd_it_is_said_what_to_do(here: Spool, tmp_path: Path) -> None:
    done = run(here, "export", str(tmp_path / "x.tar.zst"), PATH=str(tmp_path))

    assert done.returncode == 69 and b".tar.gz" in done.stderr
    assert [name for name in os.listdir(tmp_path) if "x.tar" in name] == []


def test_of_two_exports_to_one_file_the_later_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.tar"

    with pytest.raises(UsageError, match="is there already"), history._writing(str(file)) as out:
        out.write(b"later")
        file.write_bytes(b"first")

    assert file.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x.tar"]


def test_on_a_file_system_without_links_an_export_is_there_whole(tmp_path: Path, monkeypatch) -> None:
    file_system.patch(monkeypatch, "link_new", lambda source, path: False)

    with history._writing(str(tmp_path / "x.tar")) as out:
        out.write(b"whole")

    assert (tmp_path / "x.tar").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["x.tar"]
