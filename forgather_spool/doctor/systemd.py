"""Checks of this user's systemd: does it answer, outlive a logout, enforce limits, show the journal?

Without a user manager jobs run as plain processes; then most of this is no
fault and one note says what is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys

from forgather_spool.doctor.finding import Subject, Verdict, note, ok, some, warn
from forgather_spool.host import journal, proc, unit_files, user_manager
from forgather_spool.host.manager import ConnectionLost, ManagerConnection

WANTED_CONTROLLERS = ("cpu", "memory", "pids")
# At the last logout it may stop user@UID with every job in it, lingering or not: systemd issue 43361.
LOGOUT_BUG_FROM, LOGOUT_BUG_FIXED = (255, 0), (256, 3)
LOGINCTL_TIMEOUT_S = 5.0
NOT_NEEDED = "not needed: jobs run as plain processes here"


def check_user_manager(subject: Subject) -> Verdict:
    if subject.no_manager is None:
        return ok("answers; each job runs in a scope of its own")
    return note(
        f"{subject.no_manager}; jobs run as plain processes, without memory and CPU limits",
        "log in through ssh or a console rather than su; where there is no systemd, leave it so",
    )


def check_lingering(subject: Subject) -> Verdict:
    if subject.no_manager is not None:
        return ok(NOT_NEEDED)
    if user_manager.lingers(subject.environ) or _loginctl_says_so():
        return ok("on: jobs go on after the last logout and units start at boot")
    return warn("off: jobs die 10 s after your last logout", "loginctl enable-linger")


def _loginctl_says_so() -> bool:
    """For where logind keeps it elsewhere. False as well when it cannot be asked."""
    command = ["loginctl", "show-user", str(os.geteuid()), "--property=Linger", "--value"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LOGINCTL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "yes"


def check_version(subject: Subject) -> Verdict:
    if subject.no_manager is not None:
        return ok(NOT_NEEDED)
    text = _manager_property(subject, "Version")
    if LOGOUT_BUG_FROM <= version_of(text) < LOGOUT_BUG_FIXED:
        return warn(
            f"systemd {text} may stop all your jobs at your last logout, lingering or not",
            "update to systemd 256.3 or newer, or keep one session open (tmux in a login of its own)",
        )
    return ok(f"systemd {text}")


def version_of(text: str) -> tuple[int, int]:
    """``(255, 4)`` of ``255.4-1ubuntu8``, ``(252, 0)`` of ``252~rc1``, ``(0, 0)`` of what is no version."""
    numbers = []
    for part in text.split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
        if digits != part:
            break
    return (*numbers, 0, 0)[0], (*numbers, 0, 0)[1]


def check_limits(subject: Subject) -> Verdict:
    """What the kernel lets the user manager hand out: a controller it lacks is accepted in a spec and does nothing."""
    if subject.no_manager is not None:
        return note("time limits hold; memory and CPU limits are accepted and not enforced here")
    root = proc.cgroup_root() or ""
    with open(f"{root}{_manager_property(subject, 'ControlGroup').rstrip('/')}/cgroup.controllers") as file:
        has = file.read().split()
    lacking = [name for name in WANTED_CONTROLLERS if name not in has]
    if not lacking:
        return ok(f"enforced: {', '.join(WANTED_CONTROLLERS)}, time")
    return warn(
        f"accepted and not enforced here: {', '.join(lacking)}",
        "boot with systemd.unified_cgroup_hierarchy=1; set Delegate=cpu memory pids for user@.service",
    )


def check_units(subject: Subject) -> Verdict:
    if subject.no_manager is not None:
        return ok(NOT_NEEDED)
    if subject.spool.paths.home != os.path.expanduser("~/.config/forgather"):
        return ok("not for this home: they serve ~/.config/forgather; `submit` starts the dispatcher itself")
    states = {name: unit_files.state_of(name, text) for name, text in unit_files.rendered(sys.executable).items()}
    missing = [name for name, state in states.items() if state == "missing"]
    changed = [name for name, state in states.items() if state == "changed"]
    if missing:
        return note(
            f"not installed: {some(missing)}; `submit` starts the dispatcher itself, dropped files wait for it",
            "forgather units install",
        )
    if changed:
        return warn(f"of another version of forgather, or edited: {some(changed)}", "forgather units install")
    return ok(f"{len(states)} installed in {unit_files.folder()}")


def check_journal(subject: Subject) -> Verdict:
    why = journal.why_unreadable()
    if why is None:
        return ok("shows the output of jobs: journalctl --user -t JOB_ID")
    return note(
        f"`journalctl -t JOB_ID` shows nothing: {why}", "use forgather job tail and dump, which have every byte"
    )


def _manager_property(subject: Subject, name: str) -> str:
    connection = ManagerConnection(subject.environ)
    try:
        return str(connection.property(name))
    except ConnectionLost as error:
        raise OSError(f"the user manager does not say its {name}: {error}") from None
    finally:
        connection.close()
