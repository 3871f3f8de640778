"""What the owner has set and what survives restarts: is dispatch paused, which cards may be used.

    server/dispatch.json     schema.DISPATCH: paused or not
    server/gpu_policy.json   schema.GPU_POLICY: cards by index or UUID

These are the two files of the spool that are edited, so each edit reads,
changes and replaces under a lock of its own (``server/<file>.lock``): of two
editors at once neither loses anything. Reading takes no lock, a file is always
whole. An absent file is the defaults; a damaged one is an error, never the
defaults, and no edit overwrites it. Keys that a newer version wrote are kept.

Light at import: `forgather submit` may ask whether dispatch is paused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, Busy
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

TYPE_CHECKING = False  # as `typing` has it, without its 10 ms
if TYPE_CHECKING:
    from forgather_spool.gpu import GpuPolicy

_MEND = "mend it by hand, or move it away: then all is as if nothing was ever set"
LOCK_TIMEOUT_S = 10.0  # an edit takes milliseconds; after this its holder is stopped or the disk hangs


def dispatch(paths: Paths) -> Document:
    """Every key of schema.DISPATCH, defaults where nothing was set.

    Raises:
        BadDocument, UnreadableFile: the file is damaged; start nothing until it is mended.
    """
    return _checked(paths.dispatch, _read(paths.dispatch))


def change_dispatch(paths: Paths, **changes: object) -> Document:
    """Set some keys of ``dispatch.json``, durable on return; what it holds now.

    Raises:
        BadDocument: a value that may not stand there, or a damaged file; nothing changed.
        Busy: another edit has not ended for `LOCK_TIMEOUT_S`.
    """
    with _editing(paths.dispatch):
        old = _read(paths.dispatch)
        _checked(paths.dispatch, old)
        document = {"version": schema.VERSION, **old, **changes}
        checked = _checked(paths.dispatch, document)
        files.replace(paths.dispatch, document, paths.tmp)
    return checked


def change_groups(paths: Paths, edit: Callable[[Document], None]) -> Document:
    """Have `edit` change the groups of ``dispatch.json`` by name, durable on return. Raises as `change_dispatch` does.

    `edit` runs while the lock is held: it is quick, asks nobody and may raise to change nothing.
    """
    with _editing(paths.dispatch):
        old = _read(paths.dispatch)
        groups = _checked(paths.dispatch, old)["groups"]
        assert isinstance(groups, dict)
        edit(groups)
        document = {"version": schema.VERSION, **old, "groups": groups}
        checked = _checked(paths.dispatch, document)
        files.replace(paths.dispatch, document, paths.tmp)
    return checked


def gpu_policy(paths: Paths) -> GpuPolicy:
    """What the owner allows on each card. Raises as `dispatch` does."""
    return _policy_of(paths.gpu_policy, _read(paths.gpu_policy))


def change_gpu_policy(paths: Paths, edit: Callable[[GpuPolicy], GpuPolicy]) -> GpuPolicy:
    """Replace the policy by what `edit` makes of it, durable on return; the new one. Raises as `change_dispatch` does.

    `edit` runs while the lock is held: it is quick, asks nobody and may raise to change nothing.
    """
    with _editing(paths.gpu_policy):
        old = _read(paths.gpu_policy)
        edited = edit(_policy_of(paths.gpu_policy, old))
        document = _keeping_unknown(old, edited.as_document())
        policy = _policy_of(paths.gpu_policy, document)
        files.replace(paths.gpu_policy, document, paths.tmp)
    return policy


def _keeping_unknown(old: Document, new: Document) -> Document:
    """`new`, with what `old` holds beyond our tables: in the whole, and in each card that is still there."""
    merged = {**old, **new}
    old_cards, new_cards = old.get("gpus"), new["gpus"]
    if isinstance(old_cards, dict) and isinstance(new_cards, dict):
        merged["gpus"] = {key: {**old_cards.get(key, {}), **card} for key, card in new_cards.items()}
    return merged


def _read(path: str) -> Document:
    try:
        return files.read_document(path)
    except FileNotFoundError:
        return {}
    except BadDocument as error:
        raise BadDocument(error.where, error.problem, hint=error.hint or _MEND) from None


def _checked(path: str, document: Document) -> Document:
    with _naming(path):
        checked = schema.check(document, schema.DISPATCH)
        groups = checked["groups"]
        assert isinstance(groups, dict)
        checked["groups"] = {name: _group(name, group) for name, group in groups.items()}
        return checked


def _group(name: str, group: object) -> Document:
    if not isinstance(group, dict):
        raise BadDocument(f"$.groups.{name}", "expected an object")
    return schema.check(group, schema.GROUP, where=f"$.groups.{name}")


def _policy_of(path: str, document: Document) -> GpuPolicy:
    from forgather_spool.gpu import GpuPolicy

    with _naming(path):
        return GpuPolicy.from_document(document)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the file's name before the field path of what is wrong in it."""
    try:
        yield
    except BadDocument as error:
        raise BadDocument(f"{path}: {error.where}", error.problem, hint=error.hint or _MEND) from None


@contextmanager
def _editing(path: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S, mode=files.FILE_MODE)
    try:
        os.stat(os.path.dirname(path))  # filelock would make what is missing, open to others
        lock.acquire()
    except Timeout:
        raise Busy(f"{path} is being edited by another program", hint="try again in a moment") from None
    except OSError as error:
        raise files.failed("lock", path, error) from None
    try:
        yield
    finally:
        try:
            lock.release()
        except OSError:
            pass  # what was edited stands, and the lock ends with this process
