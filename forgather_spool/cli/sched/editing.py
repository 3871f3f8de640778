"""`sched edit`: a waiting job's spec in the user's editor.

The job is put on hold first, so that nothing starts what is half changed; the
edited spec takes the old one's place in one step, and then the job goes back
to where it was. Whatever is typed, and whoever is killed, the old spec stands
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
    job_id, was_waiting = came.job_id, came.changed
    try:
        place = locate(spool, job_id)
        if not isinstance(place, Held):
            return Came(job_id, False, False, too_late(spool, job_id))
        return _edit_held(spool, place, editor, ask)
    finally:
        place = locate(spool, job_id)
        if was_waiting and isinstance(place, Held):
            order.release(spool, [(-place.priority, job_id)])


def _edit_held(spool: Spool, place: Held, editor: Callable[[str], None], ask: Ask) -> Came:
    old = files.read_bytes(place.path)
    before = {**parse(old), "priority": place.priority}
    after = _edited(spool, before, editor, ask, name=place.job_id)
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
                return _checked(spool, before, parse(_read(path)))
            except (BadDocument, UsageError) as error:
                if ask(f"{error}. Edit it again?"):
                    continue
                if isinstance(error, BadDocument) and error.hint is None:
                    raise BadDocument(error.where, error.problem, hint="nothing was changed; edit it again") from None
                raise
    finally:
        files.discard(path)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _checked(spool: Spool, before: Document, after: Document) -> Document:
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
    refuse_unknown_words(after)
    return after


def require_editor() -> None:
    """Raises UsageError: none is named, and vi, which would be taken, talks to a terminal that is not there."""
    if not (_chosen_editor() or (sys.stdin.isatty() and sys.stdout.isatty())):
        hint = "EDITOR=COMMAND forgather sched edit JOB: COMMAND is given the file, and changes it by itself"
        raise UsageError("there is no terminal to edit on, and no EDITOR", hint=hint)


def _chosen_editor() -> str | None:
    return os.environ.get("VISUAL") or os.environ.get("EDITOR")


def run_editor(path: str) -> None:
    """$VISUAL, $EDITOR or vi, until it is closed. Raises UsageError: it failed, so nothing is applied."""
    words = shlex.split(_chosen_editor() or "vi")
    try:
        status = subprocess.call([*words, path])
    except OSError as error:
        raise Missing(f"{words[0]}: {error.strerror}", hint="set EDITOR to an editor, e.g. EDITOR=nano") from None
    if status != 0:
        raise UsageError(f"{words[0]} ended with status {status}", hint="nothing was changed; try again")


def ask_on_terminal(question: str) -> bool:
    """Nobody at the terminal says no."""
    return sys.stdin.isatty() and click.confirm(question, default=True, err=True)
