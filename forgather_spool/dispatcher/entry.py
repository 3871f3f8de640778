"""Where a dispatcher begins: the lock is taken, and the first runner on its way, before the rest is loaded.

To load the rest takes longer than all else between a submit that finds nobody
awake and its job's first instruction. The nursery is a process of its own and
comes up meanwhile; so this module imports next to nothing.
"""

from __future__ import annotations

import sys

from forgather_spool.dispatcher.host_lock import HostLock
from forgather_spool.errors import SpoolUnsafe
from forgather_spool.host import proc
from forgather_spool.runner.client import Nursery
from forgather_spool.spool.queue import Spool


def live(*, explain: bool = False) -> int:
    """Run until there is nothing left to do, or TERM. 0 also when another dispatcher is awake already.

    `explain` also says why waiting jobs wait, each time that changes.

    Raises:
        SpoolUnsafe, StorageFailed, Missing: it cannot work at all here.
    """
    spool = Spool().create()
    refuse_torn_reads(spool.paths.home)
    lock = HostLock(spool.paths, proc.host_name())
    if not lock.take():
        if explain:
            print(f"a dispatcher is awake on {lock.host_name} already", file=sys.stderr)
        return 0
    nursery = Nursery(spool.paths.home)
    nursery.prepare()
    from forgather_spool.dispatcher.life import Life

    return Life(spool, lock, nursery, explain=explain).run()


def refuse_torn_reads(home: str) -> None:
    """sshfs shows half-written files under their final name: no spool can be there.

    Raises:
        SpoolUnsafe: `home` lies on sshfs.
    """
    if proc.file_system_of(home) == "fuse.sshfs":
        message = f"{home} lies on sshfs, which shows half-written files"
        raise SpoolUnsafe(message, hint="use NFS, or rsync into incoming/")
