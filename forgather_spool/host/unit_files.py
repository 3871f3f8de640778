"""The unit files: what they should hold on this machine, and what lies in the user's systemd folder.

The templates are in ``units/``; `@PYTHON@` in them is the interpreter that runs
this. A file that differs from its rendering is "changed": by an upgrade of
ours, or by hand. What the user sets belongs into drop-ins, which we leave alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from forgather_spool.errors import StorageFailed, UsageError

TEMPLATES = Path(__file__).resolve().parents[1] / "units"
SERVICE = "forgather-dispatch.service"
TRIGGERS = ("forgather-dispatch.path", "forgather-dispatch.timer")
DATASET = "forgather-dataset@.service"  # a template: one server for each port it is started with
UNITS = (SERVICE, *TRIGGERS, "forgather.slice", DATASET)


def folder() -> Path:
    """Where a user's own units lie (systemd.unit(5), "Unit File Load Path")."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(config) / "systemd" / "user"


def rendered(interpreter: str) -> dict[str, str]:
    """Unit name to content, with `interpreter` (absolute) to run it.

    Raises:
        UsageError: the path cannot be written into a unit file.
    """
    python = quoted(interpreter)
    return {name: (TEMPLATES / name).read_text().replace("@PYTHON@", python) for name in UNITS}


def quoted(path: str) -> str:
    """`path` as the first word of ``ExecStart=:``, by systemd.service(5), "Command lines".

    Raises:
        UsageError: it is not absolute, or holds a control character.
    """
    if not os.path.isabs(path) or not path.isprintable():
        raise UsageError(f"{path!r} cannot stand in a unit file", hint="install forgather under an ordinary path")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def state_of(name: str, content: str) -> str:
    """ "installed", "changed" or "missing"."""
    try:
        return "installed" if (folder() / name).read_text() == content else "changed"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError):
        return "changed"


def put(name: str, content: str) -> None:
    """Write a unit file whole. Raises StorageFailed."""
    path = folder() / name
    staged = path.with_name(f".{name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(content)
        staged.replace(path)
    except OSError as error:
        raise StorageFailed(f"cannot write {path}: {error.strerror}", hint="check its permissions and df -h") from None


def remove(name: str) -> bool:
    """False: it was not there. Raises StorageFailed."""
    path = folder() / name
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageFailed(f"cannot remove {path}: {error.strerror}") from None
    return True
