"""`forgather units`: having systemd start the dispatcher when there is work.

Touches only the dispatcher's own units: jobs run in scopes of their own, so
nothing here stops or restarts one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.errors import Missing, UsageError
from forgather_spool.host import unit_files, user_manager
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool

ANSWER_TIMEOUT_S = 30.0

LINGERING = """\
Lingering is off: the user manager ends with your last session, and jobs with it, 10 s later.
To let them go on, and to have them started after a reboot:  loginctl enable-linger"""


@click.group()
def units() -> None:
    """Have systemd start the dispatcher when there is work.

    Without, `submit` starts it, and what is dropped into incoming/ waits for the next submit.
    """


@units.command()
@click.option("--linger", is_flag=True, help="Also let jobs outlive your last logout (loginctl enable-linger).")
def install(linger: bool) -> None:
    """Install, or bring up to date. Running jobs go on."""
    _require_default_home()
    _require_user_manager()
    _make_writable_folders(Spool().create().paths)
    contents = unit_files.rendered(sys.executable)
    stale = [name for name, content in contents.items() if unit_files.state_of(name, content) != "installed"]
    for name in stale:
        did = "updated" if unit_files.state_of(name, contents[name]) == "changed" else "installed"
        unit_files.put(name, contents[name])
        click.echo(f"{did} {unit_files.folder() / name}")
    if not stale:
        click.echo(f"up to date: {', '.join(contents)}")
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", *unit_files.TRIGGERS)
    # A trigger that runs keeps watching by its old file until it is restarted.
    _systemctl("restart" if stale else "start", *unit_files.TRIGGERS)
    if unit_files.SERVICE in stale:
        _systemctl("try-restart", "--no-block", unit_files.SERVICE)
    click.echo(f"watching: {shown(Spool().paths.incoming)}")
    _mind_lingering(linger)


@units.command()
def uninstall() -> None:
    """Remove what install made. Running jobs go on; what waits is started by the next submit."""
    _require_user_manager()
    installed = [name for name in unit_files.TRIGGERS if (unit_files.folder() / name).exists()]
    if installed:
        _systemctl("disable", "--quiet", "--now", *installed)
    removed = [name for name in unit_files.UNITS if unit_files.remove(name)]
    _systemctl("daemon-reload")
    for name in removed:
        click.echo(f"removed {unit_files.folder() / name}")
    if not removed:
        click.echo("nothing is installed")


@units.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
def status(json_: bool) -> None:
    """Which units are installed and active, and whether jobs outlive a logout."""
    found = _status()
    if json_:
        click.echo(as_json(found))
        return
    for unit in found["units"]:
        hint = "  (forgather units install brings it up to date)" if unit["file"] == "changed" else ""
        click.echo(f"{unit['name']:<27} {unit['file']:<10} {unit['active'] or '-'}{hint}")
    if not found["user_manager"]:
        click.echo("user manager: none can be reached here; submit starts the dispatcher by itself")
        return
    click.echo(f"lingering: {'on' if found['lingering'] else 'off'}")
    if not found["lingering"]:
        click.echo(LINGERING, err=True)


def _status() -> dict[str, Any]:
    """version, user_manager, lingering (null: nobody to ask), units [{name, file, active}]. Keys are a promise.

    `file` is installed, changed or missing; `active` is what systemctl calls it, null for a unit that is not there.
    """
    there = user_manager.is_there(os.environ)
    units = []
    for name, content in unit_files.rendered(sys.executable).items():
        state = unit_files.state_of(name, content)
        active = _active_state(name) if there and state != "missing" else None
        units.append({"name": name, "file": state, "active": active})
    lingering = user_manager.lingers(os.environ) if there else None
    return {"version": 1, "user_manager": there, "lingering": lingering, "units": units}


def _make_writable_folders(paths: Paths) -> None:
    """The folders a dataset server's unit may write to: what is not there when it starts stays closed to it."""
    files.make_directory(paths.dataset_server)
    cache = os.path.expanduser("~/.cache")
    os.makedirs(cache, mode=files.DIR_MODE, exist_ok=True)
    files.make_directory(f"{cache}/forgather")


def _require_default_home() -> None:
    home, default = Spool().paths.home, os.path.expanduser("~/.config/forgather")
    if home != default:
        raise UsageError(
            f"the units serve {default}, and FORGATHER_HOME is {home}",
            hint="unset FORGATHER_HOME; for another home submit starts a dispatcher without installed units",
        )


def _require_user_manager() -> None:
    if not user_manager.is_there(os.environ):
        raise Missing(
            "no systemd user manager can be reached here",
            hint="nothing needs to be installed: submit starts the dispatcher by itself (forgather doctor says more)",
        )


def _mind_lingering(enable: bool) -> None:
    if enable and not user_manager.lingers(os.environ):
        _run("loginctl", "enable-linger")
    if user_manager.lingers(os.environ):
        click.echo("lingering: on, jobs outlive your last logout")
    else:
        click.echo(f"{LINGERING}\n(forgather units install --linger does it)", err=True)


def _active_state(name: str) -> str:
    return _run("systemctl", "--user", "is-active", name, may_fail=True) or "inactive"


def _systemctl(*words: str) -> None:
    _run("systemctl", "--user", *words)


def _run(*command: str, may_fail: bool = False) -> str:
    """What it printed.

    Raises:
        Missing: it is not there, did not answer, or refused.
    """
    environ = {**os.environ, "LC_ALL": "C", "XDG_RUNTIME_DIR": user_manager.runtime_dir(os.environ)}
    said = " ".join(command)
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False
        )  # fmt: skip
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed", hint="forgather doctor") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{said}: no answer for {ANSWER_TIMEOUT_S:g} s", hint="systemctl --user status") from None
    if done.returncode != 0 and not may_fail:
        raise Missing(f"{said}: {done.stderr.strip().partition(chr(10))[0]}", hint="systemctl --user status")
    return done.stdout.strip()
