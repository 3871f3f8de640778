"""What the kernel says of processes and control groups, read from /proc and /sys.

A pid alone names nobody for long: pids are given out again. A process here is
its pid and its start time (field 22 of ``/proc/PID/stat``, in clock ticks since
boot), and the boot it belongs to. What this kernel does not tell is None.

The runner imports this module, so it imports next to nothing. Knows no systemd.
"""

from __future__ import annotations

import os

from forgather_spool.host.name import host_name as host_name

_READ_BYTES = 64 * 1024
_CGROUP2_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")  # the second is systemd's hybrid layout


def boot_id() -> str:
    """This boot of this kernel, as a UUID: another one means that every process has died since."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def start_ticks(pid: int) -> int | None:
    """When `pid` began, in clock ticks since boot. None: there is no such process."""
    stat = _stat(pid)
    return None if stat is None else int(stat[19])


def this_process() -> tuple[int, int]:
    """Our pid and when we began. Looked up once."""
    global _this_process
    me = os.getpid()
    if _this_process[0] != me:  # else those of whom we were forked from
        _this_process = me, start_ticks(me) or 0
    return _this_process


_this_process = (0, 0)


def is_alive(pid: int, start_ticks: int) -> bool:
    """Whether the very process that began at `start_ticks` still runs. A zombie does not."""
    stat = _stat(pid)
    return stat is not None and int(stat[19]) == start_ticks and stat[0] not in (b"Z", b"X")


def alive_since(pid: int) -> int | None:
    """As `start_ticks`; None also for a zombie."""
    stat = _stat(pid)
    return None if stat is None or stat[0] in (b"Z", b"X") else int(stat[19])


def stands_still(pid: int) -> bool:
    """Whether `pid` executes nothing of its own: stopped, deep in the kernel, or gone."""
    stat = _stat(pid)
    return stat is None or stat[0] not in (b"R", b"S")


def parent_of(pid: int) -> int | None:
    """0 for one whose parent is outside this pid namespace. None: there is no such process."""
    stat = _stat(pid)
    return None if stat is None else int(stat[1])


def children_of(pid: int) -> list[int]:
    """The pids whose parent is `pid` right now, zombies included."""
    return _children().get(pid, [])


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, zombies and `pid` itself left out.

    Complete only below a subreaper (PR_SET_CHILD_SUBREAPER in prctl(2)):
    elsewhere a daemon leaves its family by losing its parent.
    """
    children = _children()
    found: list[int] = []
    todo = list(children.get(pid, ()))
    while todo:
        child = todo.pop()
        stat = _stat(child)
        if stat is not None and stat[0] != b"Z":
            found.append(child)
        todo.extend(children.get(child, ()))
    return found


def pids_by_env(name: str) -> dict[str, list[int]]:
    """Values of the variable `name` to the processes of this user that were started with it.

    Reads every process's environment (about 20 µs each): for the rare question,
    not for every pass. It is the environment at exec; a process that clears or
    overwrites it is not seen.
    """
    prefix = b"\0" + os.fsencode(name) + b"="
    uid = os.geteuid()
    found: dict[str, list[int]] = {}
    for pid in _pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid != uid:
                continue
            environ = b"\0" + _read(f"/proc/{pid}/environ") + b"\0"
        except OSError:  # ended meanwhile, or a setuid program's
            continue
        at = environ.find(prefix)
        if at >= 0:
            value = environ[at + len(prefix) : environ.index(b"\0", at + 1)]
            found.setdefault(os.fsdecode(value), []).append(pid)
    return found


def pids_with_env(name: str, value: str) -> list[int]:
    """The processes of this user started with ``name=value``; see `pids_by_env`."""
    return pids_by_env(name).get(value, [])


def scope_of(pid: int) -> str | None:
    """The job scope `pid` of this user runs in, by its control group or by ``FORGATHER_SCOPE``. None: in none."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return None
        environ = _read(f"/proc/{pid}/environ")
    except OSError:
        return None
    for line in _lines(f"/proc/{pid}/cgroup") or ():
        for part in line.split("/"):
            if part.startswith("forgather-job-") and part.endswith(".scope"):
                return part
    for variable in environ.split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"FORGATHER_SCOPE":
            return os.fsdecode(value)
    return None


def file_system_of(path: str) -> str:
    """The type of the file system `path` lies on, as /proc/self/mountinfo names it, e.g. "ext4" or "fuse.sshfs"."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in _lines("/proc/self/mountinfo") or ():
        fields, _, after = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier
            best, kind = point, after.split()[0]
    return kind


def cgroup_root() -> str | None:
    """Where the version 2 hierarchy is mounted. None: this kernel or container has none."""
    for root in _CGROUP2_ROOTS:
        if os.path.exists(f"{root}/cgroup.controllers"):
            return root
    return None


def cgroup_of(pid: int | str = "self") -> str | None:
    """The directory of `pid`'s version 2 control group. None: no such process, or none visible here."""
    root = cgroup_root()
    lines = _lines(f"/proc/{pid}/cgroup")
    if root is None or lines is None:
        return None
    for line in lines:
        if line.startswith("0::/"):
            path = root + line[3:].rstrip("/")
            return path if "/.." not in path and os.path.isdir(path) else None
    return None


def cgroup_pids(path: str) -> list[int]:
    """Every process in the control group at `path` or below; none when it is gone."""
    lines = _lines(f"{path}/cgroup.procs")
    if lines is None:
        return []
    pids = [int(line) for line in lines]
    try:
        inner = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return pids
    for child in inner:
        pids.extend(cgroup_pids(child))
    return pids


def is_populated(cgroup: str) -> bool:
    """Whether any process lives in `cgroup` or below: also one this pid namespace cannot see."""
    return _keyed(f"{cgroup}/cgroup.events", "populated") == 1


def oom_kills(cgroup: str) -> int | None:
    """How many processes in `cgroup` or below the kernel has killed for memory. None: not counted here."""
    return _keyed(f"{cgroup}/memory.events", "oom_kill")


def memory_peak(cgroup: str) -> int | None:
    """The most memory `cgroup` has held, in bytes. None: no memory controller, or Linux before 5.19."""
    lines = _lines(f"{cgroup}/memory.peak")
    return int(lines[0]) if lines else None


def memory_now(cgroup: str) -> int | None:
    """What `cgroup` holds now, in bytes, its file cache included. None: no memory controller."""
    lines = _lines(f"{cgroup}/memory.current")
    return int(lines[0]) if lines else None


def times_and_pages(pid: int) -> tuple[int, int] | None:
    """CPU time in clock ticks, of children it waited for too, and resident pages. None: no such process."""
    stat = _stat(pid)
    return None if stat is None else (sum(int(field) for field in stat[11:15]), int(stat[21]))


def peak_resident_bytes(pid: int) -> int | None:
    """The most it has held (VmHWM). None: it is gone, or a zombie."""
    for line in _lines(f"/proc/{pid}/status") or ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_seconds(cgroup: str) -> float | None:
    """CPU time used in `cgroup` and below, user and system. None: it is gone."""
    usec = _keyed(f"{cgroup}/cpu.stat", "usage_usec")
    return None if usec is None else usec / 1e6


def _stat(pid: int) -> list[bytes] | None:
    """Fields 3 and on of ``/proc/PID/stat``; see proc_pid_stat(5)."""
    try:
        line = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return line[line.rindex(b")") + 2 :].split()  # the name before it may hold blanks and parentheses


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None:
            children.setdefault(int(stat[1]), []).append(pid)
    return children


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _keyed(path: str, key: str) -> int | None:
    for line in _lines(path) or ():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def _lines(path: str) -> list[str] | None:
    try:
        return _read(path).decode().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        if error.errno in _GONE_OR_THREADED:
            return None
        raise


# A group removed while its file is open says ENODEV. The processes of a threaded
# group (EOPNOTSUPP) are listed by the group above it.
_GONE_OR_THREADED = (19, 95)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while chunk := os.read(fd, _READ_BYTES):
            data += chunk
        return data
    finally:
        os.close(fd)
