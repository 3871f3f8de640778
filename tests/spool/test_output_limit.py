"""An output with a limit: head and tail are kept, what is left out is said, and a kill leaves all that readable."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from forgather_spool.runner import output
from forgather_spool.runner.output import OutputLog
from forgather_spool.spool.output import Output, written_bytes
from tests.spool.crashing import killed_at

LIMIT = 4096
MARKER = re.compile(rb"\[forgather: ([0-9,]+) bytes left out here; [^\n]*\]\n")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "output.log")


def numbered(count: int, first: int = 0) -> bytes:
    """Lines of eight bytes, each saying where it stands."""
    return b"".join(b"%07d\n" % (first + i) for i in range(count))


def read_all(reader: Output) -> bytes:
    return b"".join(iter(reader.read, b""))


def read_from_start(path: str) -> bytes:
    reader = Output(path)
    try:
        return read_all(reader)
    finally:
        reader.close()


def left_out_bytes(seen: bytes) -> int:
    return sum(int(number.replace(b",", b"")) for number in MARKER.findall(seen))


def kept_on_disk(path: str) -> int:
    return sum(file.stat().st_size for file in Path(path).parent.iterdir())


def test_what_stays_within_the_limit_is_whole(path: str) -> None:
    log = OutputLog(path, LIMIT)
    log.write(numbered(LIMIT // 8))
    log.close()

    assert read_from_start(path) == numbered(LIMIT // 8)
    assert log.bytes_omitted == 0


@pytest.mark.parametrize("piece", [1, 7, 100, 5000, 10**6])
def test_of_too_much_the_head_and_the_tail_are_kept_and_the_rest_is_counted(path: str, piece: int) -> None:
    """However it was written, in single bytes or at once."""
    written = numbered(5000 if piece > 1 else 800)
    log = OutputLog(path, LIMIT)
    for at in range(0, len(written), piece):
        log.write(written[at : at + piece])
    log.close()

    seen = read_from_start(path)
    head, tail = MARKER.split(seen)[0], MARKER.split(seen)[-1]
    assert written.startswith(head) and len(head) == LIMIT // 2
    assert written.endswith(tail) and len(tail) >= LIMIT // 4
    assert left_out_bytes(seen) == log.bytes_omitted == len(written) - len(head) - len(tail)
    assert kept_on_disk(path) <= LIMIT
    assert written_bytes(path) == log.bytes_seen == len(written)


def test_a_shell_sees_the_parts_in_order(path: str) -> None:
    written = numbered(800)
    log = OutputLog(path, LIMIT)
    log.write(written)
    log.close()

    parts = [file.read_bytes() for file in sorted(Path(path).parent.glob("output.log*"))]
    assert written.startswith(parts[0]) and written.endswith(b"".join(parts[1:])) and len(parts) == 3


def test_a_reader_who_keeps_up_misses_nothing(path: str) -> None:
    """Over all rotations, and with parts unlinked behind it."""
    log, reader, seen = OutputLog(path, LIMIT), Output(path), b""
    for first in range(0, 5000, 50):
        log.write(numbered(50, first))
        seen += read_all(reader)
    log.close()

    assert seen + read_all(reader) == numbered(5000)
    reader.close()


def test_a_reader_who_falls_behind_is_told_how_much_it_missed(path: str) -> None:
    log, reader = OutputLog(path, LIMIT), Output(path)
    log.write(numbered(300))
    begun = reader.read()
    log.write(numbered(4700, 300))

    seen = begun + read_all(reader)

    told = left_out_bytes(seen)
    assert told > 0 and len(MARKER.sub(b"", seen)) + told == 5000 * 8
    assert seen.endswith(numbered(1, 4999))
    reader.close()


@pytest.mark.parametrize("lines", [0, 1, 10, 150, 200])
def test_the_last_lines_are_found_across_parts(path: str, lines: int) -> None:
    log = OutputLog(path, LIMIT)
    log.write(numbered(1000))
    reader = Output(path)

    reader.go_to_last_lines(lines)

    assert read_all(reader) == numbered(lines, 1000 - lines)
    reader.close()


def test_more_lines_than_the_tail_holds_go_on_in_the_head(path: str) -> None:
    log = OutputLog(path, LIMIT)
    log.write(numbered(1000))
    reader = Output(path)

    reader.go_to_last_lines(400)

    seen = read_all(reader)
    assert left_out_bytes(seen) == log.bytes_omitted
    assert MARKER.sub(b"", seen).count(b"\n") == 400
    reader.close()


@settings(max_examples=60, deadline=None)
@given(
    limit=some.integers(4096, 20_000),
    writes=some.lists(some.integers(1, 9000), max_size=30),
    reads=some.lists(some.booleans(), min_size=30, max_size=30),
)
def test_every_byte_is_read_or_told_of_and_the_limit_holds(limit, writes, reads, tmp_path_factory) -> None:
    path = str(tmp_path_factory.mktemp("log") / "output.log")
    log, reader, seen = OutputLog(path, limit), Output(path), b""
    for size, reads_now in zip(writes, reads, strict=False):
        log.write(b"x" * size)
        assert kept_on_disk(path) <= limit
        seen += read_all(reader) if reads_now else b""
    log.close()
    seen += read_all(reader)
    reader.close()

    told = left_out_bytes(seen)
    assert MARKER.sub(b"", seen).count(b"x") + told == sum(writes)
    assert log.bytes_seen == sum(writes) and log.bytes_lost == 0
    assert kept_on_disk(path) + log.bytes_omitted == sum(writes)


def test_a_kill_at_any_step_leaves_head_and_tail_readable(tmp_path: Path) -> None:
    """Killed before each system call in turn: what was written is read or told of, and nothing is out of order."""
    for step in range(200):
        path = str(tmp_path / f"{step}" / "output.log")
        os.mkdir(os.path.dirname(path))
        was_killed = killed_at(
            step, ("open", "write", "unlink", "fsync", "fchmod"), lambda path=path: _write_much(path)
        )

        seen = read_from_start(path) if os.path.exists(path) else b""
        lines = [int(line) for line in MARKER.sub(b"\n", seen).split() if len(line) == 7]
        assert lines == sorted(lines)
        assert kept_on_disk(path) <= LIMIT + LIMIT // 4
        assert len(MARKER.sub(b"", seen)) + left_out_bytes(seen) == (written_bytes(path) or 0)
        if not was_killed:
            assert step > 30
            return
    raise AssertionError("it never came to its end")


def _write_much(path: str) -> None:
    log = OutputLog(path, LIMIT)
    for first in range(0, 1000, 40):
        log.write(numbered(40, first))
    log.close()


@pytest.mark.parametrize("call", ["open", "write", "unlink", "fchmod"])
def test_a_disk_that_refuses_for_a_while_costs_what_came_then_and_no_more(
    path: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "TRY_AGAIN_S", 0.0)
    log = OutputLog(path, LIMIT)
    log.write(numbered(250))
    with monkeypatch.context() as full:
        full.setattr(os, call, _refusing)
        log.write(numbered(300, 250))
        log.write(numbered(250, 550))
    log.write(numbered(500, 800))
    log.close()

    seen = read_from_start(path)
    assert seen.endswith(numbered(10, 1290))
    assert written_bytes(path) == log.bytes_seen == 10_400
    assert kept_on_disk(path) + log.bytes_omitted + log.bytes_lost == 10_400
    assert "No space" in log.trouble


def _refusing(*_: object, **__: object) -> int:
    raise OSError(28, "No space left on device")
