"""A job's output: its last lines, and its progress bars as lines."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from forgather_spool.errors import UnreadableFile
from forgather_spool.spool.names import output_tail
from forgather_spool.spool.output import LineFolder, Output


@pytest.mark.parametrize(
    ("written", "lines", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 10, b"a\nb\n"),
        (b"a\nb\n", 0, b""),
        (b"", 3, b""),
        (b"\n\n\n", 2, b"\n\n"),
        (b"x" * 200_000 + b"\nlast\n", 1, b"last\n"),
        (b"first\n" + b"x" * 200_000, 1, b"x" * 200_000),
    ],
)
def test_the_last_lines_are_found_from_the_end(tmp_path: Path, written: bytes, lines: int, expected: bytes) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(written)
    output = Output(str(path))

    output.go_to_last_lines(lines)

    assert b"".join(iter(output.read, b"")) == expected
    output.close()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"\r 10%\r 20%\r100%\n"], b"100%\n"),
        ([b"\r 10%", b"\r 20%", b"\r"], b" 20%"),
        ([b"dos\r\n", b"unix\n"], b"dos\nunix\n"),
        ([b"50", b"%\r10", b"0%", b"\ndone"], b"100%\ndone"),
        ([b"\n\r\n"], b"\n\n"),
        ([b"\x00\xff\n"], b"\x00\xff\n"),
    ],
)
def test_a_progress_bar_is_one_line_in_its_last_state(pieces: list[bytes], expected: bytes) -> None:
    """However the bytes were cut into pieces."""
    whole, single = LineFolder(), LineFolder()

    assert b"".join(map(whole.feed, pieces)) + whole.rest() == expected
    assert b"".join(single.feed(bytes([b])) for b in b"".join(pieces)) + single.rest() == expected


def test_an_endless_line_is_not_held_in_memory() -> None:
    folder = LineFolder()

    assert sum(len(folder.feed(b"x" * 1000)) for _ in range(1000)) > 900_000


def test_what_is_written_between_two_looks_comes_before_the_next_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head's last bytes, seen only after the tail's name was."""
    log = tmp_path / "output.log"
    log.write_bytes(b"0123")
    Path(output_tail(str(log), 8)).write_bytes(b"89")
    starts = Output._starts

    def look(reader: Output) -> list[int]:
        log.write_bytes(b"01234567")
        return starts(reader)

    with contextlib.closing(Output(str(log))) as reader:
        assert reader.read() == b"0123"
        monkeypatch.setattr(Output, "_starts", look)
        assert [reader.read(), reader.read()] == [b"4567", b"89"]


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    os.symlink("/etc/passwd", tmp_path / "output.log")

    with pytest.raises(UnreadableFile):
        Output(str(tmp_path / "output.log")).read()
