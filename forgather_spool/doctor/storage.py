"""Checks of where the spool lies: whose it is, who else gets at it, on what, and how much room there is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from forgather_spool.doctor.finding import Subject, Verdict, fail, note, ok, some, warn
from forgather_spool.host import proc
from forgather_spool.spool import files

ENTRIES_SAMPLED = 20_000  # a second's worth; a spool with more is looked at in part, and it says so
LITTLE_SPACE_BYTES = 1 << 30
NO_SPACE_BYTES = 16 << 20
FEW_INODES = 1000
LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs"})
SHARED = frozenset({"nfs", "nfs4"})
VOLATILE = frozenset({"tmpfs", "ramfs"})
TEARS_READS = frozenset({"fuse.sshfs"})


def check_home(subject: Subject) -> Verdict:
    """Also what stands above it: who may rename a folder there may put another in its place."""
    home = subject.spool.paths.home
    for folder in _above(home):
        found = os.stat(folder)
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            return fail(f"{folder} may be written to by others, who can exchange what is in it", f"chmod go-w {folder}")
        if found.st_uid not in (0, os.geteuid()):
            return note(f"{folder} belongs to user id {found.st_uid}, who can exchange what is in it")
    if not os.path.lexists(home):
        return note(f"{home} does not stand yet; the first submit makes it")
    missing = [path for path in subject.spool.paths.skeleton() if not os.path.isdir(path)]
    if missing:
        return warn(f"not there: {some(missing)}", "the next submit makes them; if one is a file, move it away")
    return ok(home)


def _above(home: str) -> Iterator[str]:
    """The folders above that stand, from the nearest up."""
    folder = os.path.dirname(os.path.realpath(home))
    while True:
        if os.path.isdir(folder):
            yield folder
        if folder == os.path.dirname(folder):
            return
        folder = os.path.dirname(folder)


def check_permissions(subject: Subject) -> Verdict:
    home = subject.spool.paths.home
    if not os.path.isdir(home):
        return ok("nothing is there yet")
    for path in subject.spool.paths.skeleton():
        if os.path.isdir(path):
            files.check_private(path)
    writable, readable, foreign, seen = [], [], [], 0
    for path, found in _entries(home):
        seen += 1
        if found.st_uid != os.geteuid():
            foreign.append(path)
        elif found.st_mode & 0o022:
            writable.append(path)
        elif found.st_mode & 0o077:
            readable.append(path)
    mend = f"look through them, then: chmod -R go-rwx {home}"
    if writable:
        return fail(f"may be written to by others: {some(writable)}", mend)
    if foreign:
        return warn(f"of another owner, and not read: {some(foreign)}", "move them away, or chown them")
    if readable:
        return warn(f"may be read by others: {some(readable)}", mend)
    return ok(f"only you get at it ({seen}{' first' if seen == ENTRIES_SAMPLED else ''} entries looked at)")


def _entries(home: str) -> Iterator[tuple[str, os.stat_result]]:
    """Up to `ENTRIES_SAMPLED` files and folders below and including `home`; links are left out: they have no mode."""
    left = ENTRIES_SAMPLED
    for folder, _, names in os.walk(home):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue  # it moved on
            if stat.S_ISLNK(found.st_mode):
                continue
            yield path, found
            left -= 1
            if left == 0:
                return


def check_file_system(subject: Subject) -> Verdict:
    home = subject.spool.paths.home
    kind = proc.file_system_of(home)
    if kind in LOCAL:
        return ok(kind)
    if kind in TEARS_READS:
        return fail(
            f"{kind} shows half-written files", "put it on NFS or a local disk (FORGATHER_HOME); rsync jobs into it"
        )
    if kind in VOLATILE:
        return warn(f"{kind}: everything is gone after a reboot", "set FORGATHER_HOME to a folder on a disk")
    if kind in SHARED:
        return note(f"{kind}: may be shared by several hosts; they see each other's steps within seconds")
    if kind == "overlay":
        return warn("overlay: lives as long as this container", "mount a volume and set FORGATHER_HOME to it")
    return note(f"{kind or 'an unknown kind'}: not tried with forgather; it must rename and link as POSIX says")


def check_space(subject: Subject) -> Verdict:
    place = subject.spool.paths.home
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    free_bytes = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        return fail(f"{place} is on a read-only file system", "mount it writable, or set FORGATHER_HOME")
    mend = "free some: df -h, forgather sched cleanup"
    if free_bytes < NO_SPACE_BYTES:
        return fail(f"{free_bytes >> 20} MiB free: nothing can be submitted or recorded", mend)
    if found.f_files and found.f_favail < FEW_INODES:
        return warn(f"{found.f_favail} files more can be made (inodes), and each job takes about ten", "df -i; " + mend)
    if free_bytes < LITTLE_SPACE_BYTES:
        return warn(f"{free_bytes >> 20} MiB free: the output of jobs may be cut off", mend)
    return ok(f"{free_bytes / (1 << 30):.1f} GiB free")
