"""Is there a systemd user manager here, and does it outlive the last logout? Two looks at files, for `submit`.

`manager.py` talks to it; this module only looks, so it imports next to nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LINGER_FOLDER = "/var/lib/systemd/linger"  # where logind keeps it; one empty file per user


def runtime_dir(environ: Mapping[str, str]) -> str:
    """Where the user manager has its sockets; logind makes it, also where the variable got lost (su, cron)."""
    return environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"


def is_there(environ: Mapping[str, str]) -> bool:
    """Whether one has its private socket here. ``FORGATHER_HOST_KIND`` is not looked at."""
    return os.path.exists(f"{runtime_dir(environ)}/systemd/private")


def lacks(controller: str, environ: Mapping[str, str]) -> bool:
    """Whether limits of "memory" or "cpu" are known to do nothing here: no scopes, or the manager was given none."""
    if environ.get("FORGATHER_HOST_KIND") == "process" or not is_there(environ):
        return True
    user = os.geteuid()
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        try:
            with open(f"{root}/user.slice/user-{user}.slice/user@{user}.service/cgroup.controllers") as file:
                return controller not in file.read().split()
        except OSError:
            continue
    return False


def lingers(environ: Mapping[str, str]) -> bool:
    """Whether jobs go on after the last logout; without, the manager ends them 10 s later."""
    return os.path.exists(f"{LINGER_FOLDER}/{_user_name(environ)}")


def _user_name(environ: Mapping[str, str]) -> str:
    """Without asking a directory service where the shell says it."""
    return environ.get("USER") or environ.get("LOGNAME") or _from_passwd()


def _from_passwd() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
