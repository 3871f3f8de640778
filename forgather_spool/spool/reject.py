"""What cannot be a job is set aside in rejected/, with a person's words beside it."""

from __future__ import annotations

import os

from forgather_spool.errors import StorageFailed, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.names import parse_entry
from forgather_spool.spool.queue import Spool


def reject(spool: Spool, path: str, why: str, hint: str = "") -> str:
    """Set `path` aside as rejected/<name> with <name>.why beside it; the new path. Gone already is fine."""
    text = f"{why}\n" + (f"{hint}\n" if hint else "") + f"it lay in {os.path.dirname(path)}\n"
    target = _explain(spool, os.path.basename(path), text.encode("utf-8", "backslashreplace"))
    try:
        if _is_regular(path):
            files.make_private(path)
    except (FileNotFoundError, UnreadableFile, StorageFailed):
        pass
    try:
        files.move(path, target)
    except FileNotFoundError:
        files.discard(f"{target}.why")
    return target


def _explain(spool: Spool, name: str, why: bytes) -> str:
    """Write the .why of a name in rejected/ that nobody has; that name's path, which whoever has the .why may use."""
    number = 0
    while True:
        number += 1
        target = f"{spool.paths.rejected}/{name}" + (f".{number}" if number > 1 else "")
        if os.path.lexists(target):
            continue
        try:
            files.write_bytes_once(f"{target}.why", why, spool.paths.tmp)
        except FileExistsError:
            continue  # of an earlier file of this name, or another dispatcher sets this one aside
        except StorageFailed:
            pass  # a full disk must not leave the file in everybody's way; the move needs no space
        return target


def reject_strangers(spool: Spool, folder: str) -> list[str]:
    """Set aside what lies in queue/ or running/<host>/ under a name that is no spec's. Their new paths."""
    strangers = [name for name in files.names(folder) if not name.startswith(".") and parse_entry(name) is None]
    why = "the name is not <job_id>.p<priority>.json; new jobs go into incoming/ or through `forgather submit`"
    return [reject(spool, f"{folder}/{name}", why) for name in sorted(strangers)]


def _is_regular(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)
