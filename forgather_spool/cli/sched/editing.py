"""`sched edit`: a waiting job's spec in the user's editor.

The job is put on hold first, so that nothing starts what is half changed; the
edited spec takes the old one's place in one step, and then the job goes back
to where it was, or where its `hold` says now: like the priority it is shown as
it is, not as it was submitted. Whatever is typed, and whoever is killed, the old spec stands
until a good one replaces it: what a crash leaves is a job on hold.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable

import click

from forgather_spool import schema
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.sched.holding import Came, hold_each, too_late
from forgather_spool.document import Document, parse
from forgather_spool.errors import BadDocument, Missing, UsageError
from forgather_spool.spool import files, order
from forgather_spool.spool.circle import circle
from forgather_spool.spool.families import find_one
from forgather_spool.spool.place import Held, locate
from forgather_spool.spool.queue import Spool

FIXED = ("unique", "array", "rerun_of", "snapshot")  # decided when it was submitted
Ask = Callable[[str], bool]


def edit(spool: Spool, text: str, editor: Callable[[str], None], ask: Ask) -> Came:
    """Have `editor` change the file it is given, and apply what is good. `ask` tells whether to edit again.

    Raises:
        NoSuchJob: there is none.
        UsageError, BadDocument: what was saved is no spec and the user gave up; the job is as it was.
        Missing: no editor; or the file system cannot exchange two files.
    """
    [came] = hold_each(spool, [find_one(spool, text)])
    if not came.as_asked:
        return came
    job_id, is_to_wait = came.job_id, came.changed
    try:
        place = locate(spool, job_id)
        if not isinstance(place, Held):
            return Came(job_id, False, False, too_late(spool, job_id))
        old = files.read_bytes(place.path)
        before = _as_it_is(parse(old), place.priority, on_hold=not is_to_wait)
        after = _edited(spool, before, editor, ask, name=job_id)
        came = _replaced(spool, place, old, before, after)
        is_to_wait = not after.get("hold") if came.changed else is_to_wait
        return came
    finally:
        place = locate(spool, job_id)
        if is_to_wait and isinstance(place, Held):
            order.release(spool, [(-place.priority, job_id)])


def _as_it_is(spec: Document, priority: int, *, on_hold: bool) -> Document:
    """`spec` with where the job stands now in place of where it was submitted to."""
    return {**spec, "priority": priority, **({"hold": on_hold} if on_hold or "hold" in spec else {})}


def _replaced(spool: Spool, place: Held, old: bytes, before: Document, after: Document) -> Came:
    if after == before:
        return Came(place.job_id, True, False, "unchanged")
    priority = after.get("priority", 0)
    assert isinstance(priority, int)
    if not order.replace_spec(spool, place, old, after):
        return Came(place.job_id, False, False, f"not changed: meanwhile it {too_late(spool, place.job_id)}")
    if priority != place.priority:
        order.reprioritize(spool, place, priority)
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return Came(place.job_id, True, True, f"changed: {', '.join(changed)}")


def _edited(spool: Spool, before: Document, editor: Callable[[str], None], ask: Ask, name: str) -> Document:
    fd, path = tempfile.mkstemp(prefix=f"forgather-{name}-", suffix=".json")  # 0600: it may hold secrets
    try:
        with open(fd, "w") as file:
            file.write(as_json(before) + "\n")
        while True:
            editor(path)
            try:
                return _checked(spool, name, before, parse(_read(path)))
            except (BadDocument, UsageError) as error:
                if ask(f"{error}. Edit it again?"):
                    continue
                if isinstance(error, BadDocument) and error.hint is None:
                    raise BadDocument(error.where, error.problem, hint="nothing was changed; edit it again") from None
                raise
    finally:
        files.discard(path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"the file that was edited: {error.strerror}", hint="nothing was changed; try again") from None


def _checked(spool: Spool, job_id: str, before: Document, after: Document) -> Document:
    """`after`, if it may take `before`'s place; keys of a newer version stay. Raises BadDocument, UsageError."""
    from forgather_spool.cli.submit.order_checks import refuse_contradictions, refuse_unknown_words, resolve_after

    newer = {key: value for key, value in before.items() if key not in schema.SPEC}
    schema.check({key: value for key, value in after.items() if key not in newer}, schema.SPEC, unknown="refuse")
    for key in (*FIXED, *newer):
        if before.get(key) != after.get(key):
            raise BadDocument(f"$.{key}", "cannot be changed any more", hint="cancel it and submit another")
    refuse_contradictions(after)
    if after.get("after") != before.get("after"):
        resolve_after(spool, after)
        _refuse_circle(spool, job_id, after)
    refuse_unknown_words(after)
    return after


def _refuse_circle(spool: Spool, job_id: str, after: Document) -> None:
    entries = after["after"]
    assert isinstance(entries, list)
    way = circle(spool, job_id, entries)
    if way:
        raise BadDocument("$.after", f"it would come after itself: {' after '.join(way)}")


def require_editor() -> None:
    """Raises UsageError: none is named, and vi, which would be taken, talks to a terminal that is not there.

    Or what is named cannot be run as it is spelled.
    """
    _editor_words()
    if not (_chosen_editor() or (sys.stdin.isatty() and sys.stdout.isatty())):
        hint = "EDITOR=COMMAND forgather sched edit JOB: COMMAND is given the file, and changes it by itself"
        raise UsageError("there is no terminal to edit on, and no EDITOR", hint=hint)


def _chosen_editor() -> str:
    return os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip()


def _editor_words() -> list[str]:
    chosen = _chosen_editor() or "vi"
    try:
        return shlex.split(chosen)
    except ValueError as error:
        raise UsageError(
            f"the editor {chosen!r}: {str(error).lower()}", hint="EDITOR is split into words as by a shell"
        ) from None


def run_editor(path: str) -> None:
    """$VISUAL, $EDITOR or vi, until it is closed. Raises UsageError: it failed, so nothing is applied."""
    words = _editor_words()
    try:
        status = subprocess.call([*words, path])
    except OSError as error:
        raise Missing(f"{words[0]}: {error.strerror}", hint="set EDITOR to an editor, e.g. EDITOR=nano") from None
    if status != 0:
        raise UsageError(f"{words[0]} ended with status {status}", hint="nothing was changed; try again")


def ask_on_terminal(question: str) -> bool:
    """Nobody at the terminal says no."""
    return sys.stdin.isatty() and click.confirm(question, default=True, err=True)
