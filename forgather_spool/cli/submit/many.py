"""`forgather submit --batch` and `--array`: many jobs in one go, all of them or none.

A line of a batch is a spec, as it is dropped into incoming/. What it leaves
out comes from the options, the directory and the environment of the command
line, as for a single job; a line's `env` is laid over that of the command line.
"""

from __future__ import annotations

import json
import os
import sys
import time

from forgather_spool import schema
from forgather_spool.cli import warn
from forgather_spool.cli.submit import one, order_checks
from forgather_spool.cli.submit.options import ORDER_FIELDS, Given
from forgather_spool.document import MAX_DOCUMENT_BYTES, Document, parse
from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed, UnreadableFile, UsageError
from forgather_spool.spool import batch
from forgather_spool.spool.queue import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from forgather_spool.cli.submit.snapshots import Snapshots

_spell = json.JSONEncoder(ensure_ascii=False).encode  # in C, for what was parsed and checked
_COMPUTED = {"after", "cwd", "env"}  # a line that has one of these is not written as it stands
PROGRESS_AFTER_S = 1.0  # a person at a terminal begins to wonder
PROGRESS_EVERY_S = 0.25
LINES_PER_LOOK = 512  # at the clock


def run(given: Given, words: list[str]) -> int:
    """Submit every line of a file, or none and say which line is wrong.

    Raises:
        UsageError: the options do not go together, or there are no jobs in it.
        BadDocument: a line is no spec; nothing was submitted.
        UnreadableFile: the file cannot be read to its end.
        SpoolUnsafe, StorageFailed: there is no safe place; nothing was submitted.
    """
    _refuse_what_does_not_go_with_it(given, words)
    spool = Spool()
    defaults = one.options_alone(given, spool)
    remarks = one.add_surroundings(defaults, given, os.environ)
    if one.ends_with_the_login(os.environ):
        remarks.append(one.LINGER_REMARK)
    if not given.get("quiet"):
        for remark in remarks:
            warn(remark)
    source = str(given["batch"])
    wanted = "snapshot" in given and "dry-run" not in given
    specs = _Reader(source, defaults, spool, one.snapshots_for(spool, given) if wanted else None).specs()
    if given.get("dry-run"):
        for _, data in specs:
            sys.stdout.write(data.decode())
        return 0
    with batch.Batch(spool.create()) as gathered:
        progress = _Progress("jobs read; none is queued before the last", given)
        any_waits = False
        for spec, data in specs:
            gathered.add(spec, data)
            any_waits = any_waits or not spec.get("hold")
            progress.tick()
        progress.clear()
        if not gathered.job_ids:
            raise UsageError(f"{_shown_source(source)}: no job in it", hint="one JSON object a line")
        gathered.commit()
    return _acknowledged(spool, given, gathered, _summary(gathered, "queued" if any_waits else "held"))


def submit_array(given: Given, spec: Document) -> int:
    """Submit the members of one array, whose spec is checked. Raises BadDocument, StorageFailed: none was submitted."""
    spool = Spool().create()
    with batch.Batch(spool) as gathered:
        progress = _Progress("jobs written; none is queued before the last", given)
        family = gathered.add(spec, watched=progress.watched)
        gathered.commit()
    facts = f"priority={spec.get('priority', 0)}, gpus={spec.get('gpus', 0)}"
    where = "held" if spec.get("hold") else "queued"
    return _acknowledged(spool, given, gathered, f"{where}: {family}[*] ({_jobs(gathered)}, {facts})")


def _acknowledged(spool: Spool, given: Given, gathered: batch.Batch, summary: str) -> int:
    """The answer goes out first: the jobs are safe, whatever comes now."""
    if given.get("json"):
        text = json.dumps({"version": 1, "jobs": gathered.job_count, "job_ids": gathered.job_ids}) + "\n"
    elif given.get("quiet"):
        text = "".join(f"{job_id}\n" for job_id in gathered.job_ids)
    else:
        text = summary + "\n"
    try:
        one.answer(text, f"{_jobs(gathered)} are queued, but this")
    finally:
        _move_on(spool, _Progress("jobs moved into the queue; all are safe", given))
        one.wake_up(spool.paths, quiet=bool(given.get("quiet")))
    return 0


def _move_on(spool: Spool, progress: _Progress) -> None:
    try:
        batch.spread(spool, watched=progress.watched)
    except StorageFailed as error:
        warn(f"the jobs are queued; the dispatcher moves them on: {error}")


def _summary(gathered: batch.Batch, where: str) -> str:
    ids = gathered.job_ids
    return f"{where}: {_jobs(gathered)} ({ids[0]} to {ids[-1]})" if len(ids) > 1 else f"{where}: {ids[0]}"


def _jobs(gathered: batch.Batch) -> str:
    return f"{gathered.job_count:,} {'job' if gathered.job_count == 1 else 'jobs'}"


def _refuse_what_does_not_go_with_it(given: Given, words: list[str]) -> None:
    if "follow" in given:
        raise UsageError("--batch goes with no --follow", hint="forgather job wait --all JOB...")
    if words:
        raise UsageError("--batch goes with no command", hint="each line of the file has its own `argv`")
    if "unique" in given:
        raise UsageError("--batch goes with no --unique: a key is of one job", hint="submit that job by itself")
    for name in ("script", "array"):
        if name in given:
            raise UsageError(f"--batch goes with no --{name}", hint=f"a line may have its own `{name}`")


class _Reader:
    """The lines of a file as checked specs, completed with `defaults`."""

    def __init__(self, source: str, defaults: Document, spool: Spool, snapshots: Snapshots | None) -> None:
        self._source = source
        self._snapshots = snapshots
        self._defaults = defaults
        self._env = defaults["env"]
        self._spool = spool
        self._cards_seen: set[object] = {None, 0}
        self._resolved: dict[str, object] = {}
        self._left_out: dict[tuple[str, ...], bytes] = {}

    def specs(self) -> Iterator[tuple[Document, bytes]]:
        """``(spec, what is written of it)``, line by line. Raises as `run`."""
        number = 0
        try:
            with _opened(self._source) as file:
                while line := file.readline(MAX_DOCUMENT_BYTES + 1):
                    number += 1
                    if line.isspace():
                        continue
                    try:
                        yield self._spec(line)
                    except (BadDocument, UsageError) as error:
                        raise self._refused(number, error) from None
        except OSError as error:
            problem = f"{_shown_source(self._source)}: {error.strerror}; no job was submitted"
            raise UnreadableFile(problem, hint="name a file with one JSON object a line, or - for stdin") from None

    def _spec(self, line: bytes) -> tuple[Document, bytes]:
        given = parse(line)
        schema.verify(given, schema.SPEC, unknown="refuse")
        spec = {**self._defaults, **given}
        if "env" in given and isinstance(self._env, dict) and isinstance(given["env"], dict):
            spec["env"] = {**self._env, **given["env"]}
        if spec["cwd"] != self._defaults["cwd"] and "git_commit" not in given:
            spec.pop("git_commit", None)
        batch.members_of(spec)
        batch.refuse_key(spec)
        if not ORDER_FIELDS.isdisjoint(spec):
            self._check_together(spec, given)
            order_checks.refuse_unknown_words(spec)
        if spec.get("gpus") not in self._cards_seen:
            one.refuse_too_many_gpus(spec, self._spool.paths)
            self._cards_seen.add(spec.get("gpus"))
        if self._snapshots is not None and "snapshot" not in given:
            self._snapshots.add_to(spec)
        data = self._written(line, given, spec)
        if len(data) > MAX_DOCUMENT_BYTES:
            problem = f"with what the command line adds, larger than {MAX_DOCUMENT_BYTES} bytes"
            raise BadDocument("$", problem, hint="put the data into a file and pass its name")
        return spec, data

    def _written(self, line: bytes, given: Document, spec: Document) -> bytes:
        """The line as it stands, which is checked, and what it leaves out: lines alike leave out the same."""
        if self._snapshots is not None or not _COMPUTED.isdisjoint(given):
            return _spell(spec).encode() + b"\n"
        keys = tuple(given)
        if keys not in self._left_out:
            rest = {key: value for key, value in spec.items() if key not in given}
            self._left_out[keys] = f", {_spell(rest)[1:]}\n".encode() if rest else b"}\n"
        return line.strip().removesuffix(b"}") + self._left_out[keys]

    def _check_together(self, spec: Document, given: Document) -> None:
        """Jobs that a line names are looked for once, however many lines name them."""
        order_checks.refuse_contradictions(spec)
        if "after" in given:
            named = repr(given["after"])
            if named not in self._resolved:
                order_checks.resolve_after(self._spool, spec)
                self._resolved[named] = spec["after"]
            spec["after"] = self._resolved[named]

    def _refused(self, number: int, error: BadDocument | UsageError) -> ForgatherError:
        line = f"line {number} of {_shown_source(self._source)}"
        hint = error.hint or "it is the JSON of one job; docs/reference/spool-format.md has the fields"
        if self._source != "-":
            from shlex import quote  # imports re, which costs as much as a small batch

            file = quote(self._source)
            go_on = f"sed {number}d {file} | forgather submit --batch -"
            hint = f"see it: sed -n {number}p {file}; go on without it: {go_on}"
        if isinstance(error, BadDocument):
            return BadDocument(f"{line}: {error.where}", f"{error.problem}; no job was submitted", hint=hint)
        return UsageError(f"{line}: {error}; no job was submitted", hint=hint)


def _opened(source: str) -> BinaryIO:
    if source != "-":
        return open(source, "rb")
    if sys.stdin is None:
        raise UsageError("--batch -: stdin is closed", hint="pipe the lines in")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def _shown_source(source: str) -> str:
    return "stdin" if source == "-" else source


class _Progress:
    """How many so far, on stderr, for a person who has waited a second."""

    def __init__(self, words: str, given: Given) -> None:
        self._words = words
        self._is_wanted = not given.get("quiet") and sys.stderr.isatty()
        self._count = 0
        self._next = time.monotonic() + PROGRESS_AFTER_S
        self._is_shown = False

    def watched(self, names: Iterable[str]) -> Iterator[str]:
        """`names`, each of them counted."""
        return self._counted(names) if self._is_wanted else iter(names)

    def _counted(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield name
            self.tick()
        self.clear()

    def tick(self) -> None:
        self._count += 1
        if self._is_wanted and self._count % LINES_PER_LOOK == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_EVERY_S
            self._is_shown = True
            sys.stderr.write(f"\r{self._count:,} {self._words}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
