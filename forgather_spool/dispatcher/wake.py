"""Waking the dispatcher, from `submit` and whoever else changed something. Never waits for it.

One that holds hosts/<host>.lock is awake, and inotify tells it; else one is started (`starting.py`).
``FORGATHER_NO_WAKE=1`` leaves it asleep. Nothing rests on being woken: a timer,
or the next submit, does it too.

Light: every submit comes through here, and mostly finds one awake.
"""

from __future__ import annotations

import os
import sys

from forgather_spool.errors import UsageError
from forgather_spool.host.name import host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from forgather_spool.spool.paths import Paths


def wake(paths: Paths) -> None:
    """See to it that a dispatcher of this host will look at the spool soon.

    Raises:
        Missing: it could not be started; the message says why. What was written stays as it is.
        UsageError: FORGATHER_HOST_KIND names no kind of host.
    """
    if os.environ.get("FORGATHER_NO_WAKE") == "1" or is_awake(paths):
        return
    from forgather_spool.dispatcher import starting

    starting.start(paths)


def heralds(paths: Paths, host: str) -> list[str]:
    """The files that are opened when a submit begins.

    First its program: the kernel opens that before it has even found an
    interpreter for it, 15 ms before the job is there. Others call it too, and
    one that was installed elsewhere is not known here. Then what `announce` opens.
    """
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = (os.path.dirname(sys.executable), f"{ours}/bin")
    programs = [f"{folder}/{name}" for folder in folders for name in ("forgather", "forgather-drop")]
    return [paths.host_lock(host), *filter(os.path.exists, programs)]


def announce(paths: Paths) -> None:
    """Say that a job may be submitted in a few milliseconds: an awake dispatcher hears that its lock is opened.

    What it makes ready then, `host.systemd` says; see `heralds`. Cannot fail; unheard, it costs nothing.
    """
    try:
        os.close(os.open(paths.host_lock(host_name()), os.O_RDONLY | os.O_CLOEXEC))
    except (OSError, UsageError):
        pass


def is_awake(paths: Paths) -> bool:
    """Whether a dispatcher of this host holds its lock."""
    import fcntl  # once the job is there, and not when it is announced

    try:
        fd = os.open(paths.host_lock(host_name()), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two that look do not see each other.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: then it is started once more, and leaves by itself
    finally:
        os.close(fd)
