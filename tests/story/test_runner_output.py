"""Every byte a job writes is in output.log, however it writes it, and no disk ever holds it up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.outcome import Exited
from tests.story.bench_of_runners import Bench
from tests.waiting import wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.end()


def test_a_burst_of_a_million_lines_is_there_to_the_byte(bench: Bench) -> None:
    entry, _ = bench.launch(["seq", "1", "1000000"])

    result = bench.result(entry)

    expected = "".join(f"{n}\n" for n in range(1, 1_000_001)).encode()
    assert bench.output(entry) == expected
    assert result.document["output_bytes"] == len(expected)


PACED = """
import sys, time
due = time.monotonic()
for tenth in range(10 * int(sys.argv[1])):
    sys.stdout.write("".join(f"{n}\\n" for n in range(1000 * tenth, 1000 * tenth + 1000)))
    sys.stdout.flush()
    due += 0.1
    time.sleep(max(0, due - time.monotonic()))
"""


def test_of_ten_thousand_lines_a_second_none_is_lost(bench: Bench) -> None:
    """For five seconds; for a minute with FORGATHER_LONG_TESTS=1."""
    seconds = 60 if os.environ.get("FORGATHER_LONG_TESTS") == "1" else 5
    entry, _ = bench.launch([sys.executable, "-c", PACED, str(seconds)])

    wait_until(lambda: bench.spool.has_result(entry[1]), timeout_s=seconds + 60)

    assert bench.output(entry) == "".join(f"{n}\n" for n in range(10_000 * seconds)).encode()


def test_bytes_that_are_no_text_are_kept_as_they_are(bench: Bench) -> None:
    """Bad UTF-8, NUL, escapes, a carriage return, a line of 10 MB, and no newline at the end."""
    written = b"\xff\xfe\0\x1b[31m\r" + b"x" * 10_000_000 + b"\n\0\nend"
    (bench.folder / "data").write_bytes(written)
    entry, _ = bench.launch(["cat", "data"])

    bench.result(entry)

    assert bench.output(entry) == written


def test_output_and_error_keep_their_order(bench: Bench) -> None:
    entry, _ = bench.launch("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    bench.result(entry)

    assert bench.output(entry) == b"out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"


def test_output_is_there_while_the_job_runs(bench: Bench) -> None:
    entry, _ = bench.launch("printf 'half a line'; exec sleep 60")
    log = Path(bench.spool.paths.output(entry[1], 1))

    wait_until(lambda: log.exists() and log.read_bytes() == b"half a line")

    assert log.stat().st_mode & 0o777 == 0o600
    bench.spool.ask_to_stop(entry[1], by="me", force=True)
    bench.result(entry)


def test_the_last_words_before_a_kill_are_kept(bench: Bench) -> None:
    entry, _ = bench.launch("seq 1 20000; echo last words; kill -KILL $$")
    bench.result(entry)

    assert bench.output(entry).endswith(b"20000\nlast words\n")


def test_a_job_that_closes_its_output_goes_on(bench: Bench) -> None:
    assert bench.outcome("exec >&- 2>&-; sleep 0.2; exit 3") == Exited(3)


def test_of_an_output_with_a_limit_head_and_tail_are_kept_and_the_result_says_how_much_is_not(bench: Bench) -> None:
    entry, _ = bench.launch(["seq", "1", "1000000"], output_limit_bytes=100_000)

    result = bench.result(entry)

    expected = "".join(f"{n}\n" for n in range(1, 1_000_001)).encode()
    folder = Path(bench.spool.paths.job(entry[1]))
    parts = [part.read_bytes() for part in sorted(folder.glob("output.log*"))]
    assert expected.startswith(parts[0]) and expected.endswith(b"".join(parts[1:])) and len(parts) == 3
    assert sum(map(len, parts)) <= 100_000
    assert result.document["output_bytes"] == len(expected)
    assert result.document["output_omitted_bytes"] == len(expected) - sum(map(len, parts))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=700", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_costs_output_and_neither_the_job_nor_its_result(tmp_path: Path, small_disk: Path) -> None:
    """The job writes on into the void, what is lost is counted, and the result waits until there is room."""
    bench = Bench(tmp_path, home=small_disk / "home")
    fill = f"import sys; sys.stdout.write('x' * 3_000_000); open({str(bench.folder / 'wrote')!r}, 'w').write('all\\n')"
    entry, hatched = bench.launch([sys.executable, "-c", fill])
    bench.wait_for("wrote")
    log = Path(bench.spool.paths.output(entry[1], 1))
    wait_until(lambda: "forgather-run" in Path(f"/proc/{hatched.pid}/stat").read_text() and not _children(hatched.pid))
    assert not bench.spool.has_result(entry[1])

    kept = log.stat().st_size
    os.truncate(log, 0)

    result = bench.result(entry)
    assert result.outcome == Exited(0)
    assert result.document["output_bytes"] == 3_000_000
    assert result.document["output_lost_bytes"] == 3_000_000 - kept
    bench.end()


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()
