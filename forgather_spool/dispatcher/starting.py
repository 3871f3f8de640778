"""Starting a dispatcher where none is awake.

    units installed, default home      systemctl --user start
    a user manager is there            systemd-run --user, a transient unit of the home's own
    else (the embedded default)        a process of its own, away from this terminal

``FORGATHER_HOST_KIND=systemd`` or ``process`` chooses. Of two that are started
the lock lets one live.
"""

from __future__ import annotations

import os
import sys
import time

from forgather_spool.errors import Missing, UsageError
from forgather_spool.host import user_manager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from forgather_spool.spool.paths import Paths

UNIT = "forgather-dispatch.service"
UNIT_FOLDERS = ("~/.config/systemd/user", "/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
LOG_LIMIT_BYTES = 1 << 20  # begun anew past this, so that it can be read and never fills a disk
PATIENCE_S = 2.0  # systemctl answers in 5 ms; a manager that hangs must not hold up a submit
POLL_S = 0.001
START_TRIES = 3
MAX_ANSWER_BYTES = 4096
CARRIED = (  # what a dispatcher in a transient unit must know of where it was started
    "FORGATHER_HOST", "FORGATHER_HOST_KIND", "FORGATHER_IDLE_S", "CUDA_VISIBLE_DEVICES", "PATH", "PYTHONPATH",
    "LD_LIBRARY_PATH",
)  # fmt: skip
OF_A_JOB = (
    "FORGATHER_SCOPE",
    "FORGATHER_JOB_ID",
    "FORGATHER_ATTEMPT",
    "FORGATHER_ARRAY_ID",
    "FORGATHER_ARRAY_INDEX",
    "FORGATHER_ARRAY_SIZE",
)  # a job may submit; the dispatcher is none of it


def start(paths: Paths) -> None:
    """Start one, without waiting for it. Raises Missing, UsageError, as `wake.wake`."""
    kind = os.environ.get("FORGATHER_HOST_KIND", "")
    if kind not in ("", "systemd", "process"):
        raise UsageError(f"FORGATHER_HOST_KIND={kind}: no such kind of host", hint="systemd or process")
    if kind == "systemd":
        _by_systemd(paths)
    elif kind == "process" or not user_manager.is_there(os.environ):
        _by_ourselves(paths)
    else:
        try:
            _by_systemd(paths)
        except Missing:  # a socket that nobody answers at; a dispatcher of our own finds out what there is
            _by_ourselves(paths)


def transient_unit(home: str) -> str:
    """The unit a home's dispatcher runs in where no unit was installed for it."""
    import zlib

    return f"forgather-dispatch-{zlib.crc32(os.fsencode(home)):08x}.service"


def _is_default(paths: Paths) -> bool:
    return paths.home == os.path.expanduser("~/.config/forgather")


def _is_installed() -> bool:
    return any(os.path.exists(f"{os.path.expanduser(folder)}/{UNIT}") for folder in UNIT_FOLDERS)


# -- by systemd -------------------------------------------------------------------------------------------------------


def _by_systemd(paths: Paths) -> None:
    if _is_default(paths) and _is_installed():
        _start_unit(UNIT)
    else:
        _start_transient(paths)


def _start_unit(unit: str) -> None:
    code, answer = _ask(_start_command(unit))
    if code != 0:
        raise Missing(f"systemctl --user start {unit}: {answer}", hint=f"systemctl --user status {unit}")


def _start_transient(paths: Paths) -> None:
    unit = transient_unit(paths.home)
    for _ in range(START_TRIES):
        code, answer = _ask(transient_command(paths.home, unit, os.environ))
        if code == 0:
            return
        if "already" not in answer:
            break
        # It exists: starting, or about to leave. A start of the latter is done once it has left.
        code, answer = _ask(_start_command(unit))
        if code == 0:
            return
        # It has left in between, and systemd has forgotten it: then it can be made anew.
    raise Missing(f"systemd-run --user: {answer}", hint="forgather doctor; or export FORGATHER_HOST_KIND=process")


def _start_command(unit: str) -> list[str]:
    return ["systemctl", "--user", "start", "--no-block", unit]


def transient_command(home: str, unit: str, environ: Mapping[str, str]) -> list[str]:
    """What starts a dispatcher of `home` as `unit`: the settings of `units/forgather-dispatch.service`."""
    found = finding_us(environ)
    carried = [f"--setenv={name}={found[name]}" for name in CARRIED if name in found]
    settings = (
        "Restart=on-failure", "RestartSec=1", "StartLimitIntervalSec=0", "WatchdogSec=60", "KillMode=control-group",
        "UMask=0077",
    )  # fmt: skip
    return [
        "systemd-run", "--user", "--no-block", "--collect", "--quiet", f"--unit={unit}", "--service-type=notify",
        f"--description=forgather dispatcher of {home}", f"--setenv=FORGATHER_HOME={home}", *carried,
        *(f"--property={setting}" for setting in settings), "--", *dispatcher_command(),
    ]  # fmt: skip


def finding_us(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, with this package on its PYTHONPATH where it runs from a checkout and nobody installed it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = dict(environ)
    if not root.endswith("-packages"):
        found["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environ.get("PYTHONPATH")])])
    return found


def dispatcher_command() -> list[str]:
    """-P: what lies in the directory it happens to start in is not imported."""
    return [sys.executable, "-P", "-m", "forgather_spool.dispatcher"]


def _ask(command: list[str]) -> tuple[int, str]:
    """Its exit status and what it said, on one line. Status 0 also when it has said nothing for `PATIENCE_S`.

    Raises:
        Missing: it is not installed.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    environ = {**os.environ, "LC_ALL": "C", "XDG_RUNTIME_DIR": user_manager.runtime_dir(os.environ)}
    said = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, writer, fd) for fd in (1, 2))]
    try:
        pid = os.posix_spawnp(command[0], command, environ, file_actions=said)
    except OSError as error:
        raise Missing(f"{command[0]}: {error.strerror}") from None
    else:
        return _ended(pid), _first_line(reader)
    finally:
        os.close(reader)
        os.close(writer)


def _ended(pid: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    return 0


def _first_line(reader: int) -> str:
    try:
        text = os.read(reader, MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except BlockingIOError:
        return "no reason given"
    return text.strip().partition("\n")[0] or "no reason given"


# -- by ourselves -----------------------------------------------------------------------------------------------------


def _by_ourselves(paths: Paths) -> None:
    """Twice removed: a child of init, in a session of its own, in a directory that nobody wants to unmount.

    Raises:
        Missing: no process could be made.
    """
    environ = {name: value for name, value in finding_us(os.environ).items() if name not in OF_A_JOB}
    environ["FORGATHER_HOME"] = paths.home
    log = _open_log(paths.dispatcher_log)
    try:
        pid = os.fork()
        if pid == 0:
            _become_parent(log, environ)
    except OSError as error:
        raise Missing(f"cannot start a process: {error.strerror}") from None
    finally:
        os.close(log)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise Missing(f"cannot run {sys.executable}", hint=f"see {paths.dispatcher_log}")


def _become_parent(log: int, environ: dict[str, str]) -> None:
    """In the child: start the dispatcher and leave at once. Never returns."""
    try:
        os.setsid()
        os.chdir("/")
        ends = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, log, fd) for fd in (1, 2)),
        ]
        os.posix_spawn(sys.executable, dispatcher_command(), environ, file_actions=ends)
        os._exit(0)
    finally:
        os._exit(1)


def _open_log(path: str) -> int:
    """Append, 0600; where it cannot be had, nobody will read what the dispatcher says."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        log = os.open(path, flags, 0o600)
        if os.fstat(log).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(log, 0)
        return log
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
