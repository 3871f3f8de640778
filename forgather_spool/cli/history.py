"""`forgather export` and `forgather import`: the history as one file, to keep or to look at elsewhere.

The archive is `spool/archive.py`, taking it in `spool/imported.py`; here are its
name, its compression and which jobs go in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from threading import Thread
from typing import IO

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.quantities import SIZE_FORMS, duration_s, size_bytes
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import of_local
from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, JobFailed, Missing, UnreadableFile, UsageError
from forgather_spool.job import Result
from forgather_spool.outcome import OUTCOME_WORDS, words_for
from forgather_spool.spool import files
from forgather_spool.spool.ended import Ended, ended_places
from forgather_spool.spool.files import together
from forgather_spool.spool.queue import Spool

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
WHEN_FORMS = "2026-11-21, 2026-11-21T14:00 or so long ago, e.g. 30d"
REFUSED_SHOWN = 10


@click.command("export")
@click.argument("file", metavar="FILE.tar.zst|FILE.tar.gz|FILE.tar|-")
@click.option("--since", metavar="WHEN", help=f"What ended then or later: {WHEN_FORMS}.")
@click.option("--until", metavar="WHEN", help="What ended before.")
@click.option(
    "--outcome", "outcomes", multiple=True, type=click.Choice(OUTCOME_WORDS), metavar="OUTCOME",
    help=f"Only such: {', '.join(OUTCOME_WORDS)}. Repeatable.",
)  # fmt: skip
@click.option("--no-logs", is_flag=True, help="Leave out what the jobs wrote.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout: file, jobs, vanished.")
def export_(
    file: str, since: str | None, until: str | None, outcomes: tuple[str, ...], no_logs: bool, json_: bool
) -> None:
    """Write ended jobs to an archive: what was submitted, how it went, what it wrote.

    FILE is new, and there whole or not at all; - is a plain tar on stdout. What a
    job was given in its environment is in it as well: keep the file as you keep
    the spool.
    """
    from forgather_spool.spool.archive import write_archive

    spool = Spool()
    spool.check()
    places = _wanted(spool, _when(since), _when(until), frozenset(outcomes))
    if file == "-" and (json_ or sys.stdout.isatty()):
        raise UsageError("the archive goes to stdout", hint="give a file, or a pipe and no --json")
    with _writing(file) as out:
        written = write_archive(spool, places, out, logs=not no_logs)
    told: Document = {"version": 1, "file": file, "jobs": written.jobs, "vanished": written.vanished}
    click.echo(as_json(told) if json_ else f"exported {written.jobs} jobs to {shown(file)}", err=file == "-")


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--max-job-size", metavar="SIZE", help=f"Refuse jobs that are larger. [10G] {SIZE_FORMS}")
@click.option("--json", "json_", is_flag=True, help="One JSON object: imported, kept, refused.")
def import_(file: str, max_job_size: str | None, json_: bool) -> None:
    """Take ended jobs out of an archive that `export` wrote, here or on another machine.

    Jobs that are here already are kept as they are, so importing twice is fine.
    Each job comes in whole or not at all. Nothing of an archive is ever run.
    """
    from forgather_spool.spool.imported import MAX_JOB_BYTES, read_archive

    most = MAX_JOB_BYTES if max_job_size is None else size_bytes(max_job_size)
    spool = Spool().create()
    with _reading(file) as source:
        try:
            found = read_archive(spool, source, max_job_bytes=most)
        except UnreadableFile as error:
            raise UnreadableFile(f"{'stdin' if file == '-' else shown(file)}: {error}", hint=error.hint) from None
    if json_:
        told: Document = {"version": 1, "imported": found.jobs, "kept": found.kept, "refused": found.refused}
        click.echo(as_json(told))
    else:
        kept = f", kept {len(found.kept)} that were here already" if found.kept else ""
        click.echo(f"imported {len(found.jobs)} jobs{kept}")
        for job_id, why in list(found.refused.items())[:REFUSED_SHOWN]:
            click.echo(f"refused {job_id}: {shown(why)}", err=True)
    if found.refused:
        raise UnreadableFile(f"{len(found.refused)} jobs of the archive were refused", hint="the others are in")


def _wanted(spool: Spool, since: datetime | None, until: datetime | None, outcomes: frozenset[str]) -> Iterator[Ended]:
    """Latest first. One whose result cannot be read is wanted by whoever wants all."""
    up_to_day = None if until is None else until.astimezone(UTC).date().isoformat()
    for place in ended_places(spool, up_to_day=up_to_day):
        if since is not None and place.day < since.astimezone(UTC).date().isoformat():
            return
        if since is None and until is None and not outcomes:
            yield place
            continue
        try:
            path = spool.paths.result(place.job_id, spool.attempt(place.job_id))
            result = Result.from_document(files.read_document(path))
        except (FileNotFoundError, ForgatherError):
            continue
        after = since is None or result.ended_at >= since
        before = until is None or result.ended_at < until
        if after and before and (not outcomes or outcomes & words_for(result.outcome)):
            yield place


def _when(text: str | None) -> datetime | None:
    """A local date or time, or a span before now. Raises UsageError."""
    if text is None:
        return None
    try:
        if "-" not in text:
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() - duration_s(text), UTC)
        if "T" not in text and " " not in text:
            return of_local(datetime.combine(date.fromisoformat(text), time.min))
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None else of_local(at)
    except (ValueError, OverflowError, OSError, UsageError):
        raise UsageError(f"{text!r} is not a time", hint=f"e.g. {WHEN_FORMS}") from None


# -- files and compression --------------------------------------------------------------------------------------------


@contextmanager
def _writing(name: str) -> Iterator[IO[bytes]]:
    """Where the archive goes; a file appears under its name when all of it is there and durable."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    is_there = UsageError(f"{shown(name)} is there already", hint="export to another name, or remove it first")
    if os.path.lexists(name):
        raise is_there
    path = os.path.abspath(name)
    if not os.path.isdir(os.path.dirname(path)):
        raise UsageError(f"{shown(name)}: no such directory", hint="make it first")
    partial = f"{path}.{os.getpid()}.part"
    try:
        with open(partial, "xb", opener=_private) as file:
            with _compressing(name, file) as out:
                yield out
            file.flush()
            files.sync(file.fileno())
        if together.link_new(partial, path):
            files.sync_names(os.path.dirname(path))
        else:
            files.move(partial, path)  # a file system without links: of two at once the last one's stands
    except FileExistsError:
        raise is_there from None
    except OSError as error:
        raise files.failed("write", name, error) from None
    finally:
        files.discard(partial)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, files.FILE_MODE)


@contextmanager
def _compressing(name: str, file: IO[bytes]) -> Iterator[IO[bytes]]:
    import gzip

    if name.endswith((".gz", ".tgz")):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as out:
            yield out  # type: ignore[misc]
    elif name.endswith(".zst"):
        with _zstd(["-q", "-c", "-T0"], stdin=subprocess.PIPE, stdout=file) as process:
            assert process.stdin is not None
            yield process.stdin
            process.stdin.close()
            if process.wait():
                raise JobFailed(f"zstd failed with exit code {process.returncode}")
    elif name.endswith(".tar"):
        yield file
    else:
        raise UsageError(f"{shown(name)}: what kind of archive?", hint="end it with .tar.zst, .tar.gz or .tar")


@contextmanager
def _reading(name: str) -> Iterator[IO[bytes]]:
    """The tar in a file or on stdin, whatever it was compressed with: its first bytes tell."""
    import gzip

    try:
        with open(sys.stdin.fileno() if name == "-" else name, "rb", closefd=name != "-") as file:
            magic = file.peek(4)[:4]
            if magic[:2] == GZIP:
                with gzip.GzipFile(fileobj=file) as source:
                    yield source  # type: ignore[misc]
            elif magic == ZSTD:
                with _zstd(["-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                    assert process.stdin is not None and process.stdout is not None
                    Thread(target=_feed, args=(file, process.stdin), daemon=True).start()
                    yield process.stdout
            else:
                yield file
    except FileNotFoundError:
        raise UsageError(f"{shown(name)}: no such file", hint="forgather import FILE, or - for stdin") from None
    except OSError as error:
        raise UnreadableFile(f"{shown(name)}: {error.strerror or error}") from None


def _feed(source: IO[bytes], target: IO[bytes]) -> None:
    """To its end, or until nobody reads on."""
    try:
        with target:
            shutil.copyfileobj(source, target)
    except (OSError, ValueError):
        return


@contextmanager
def _zstd(options: list[str], *, stdin: int | IO[bytes], stdout: int | IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("zstd")
    if program is None:
        raise Missing("zstd is not installed", hint="install it, or use .tar.gz")
    process = subprocess.Popen([program, *options], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
