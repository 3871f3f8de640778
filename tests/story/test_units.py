"""`forgather units`: what is written, and what systemd is told. The real systemd is met in tests/systemd."""

from __future__ import annotations

import configparser
import json
import os
import shlex
from pathlib import Path
from typing import Any

import click.testing
import pytest

from forgather_spool.cli.machine import units
from forgather_spool.dispatcher.starting import transient_command
from forgather_spool.errors import Missing, UsageError
from forgather_spool.host import unit_files

INSTALLED = [
    "forgather-dataset@.service",
    "forgather-dispatch.path",
    "forgather-dispatch.service",
    "forgather-dispatch.timer",
    "forgather.slice",
]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user manager that only notes what it is told; the file of its notes."""
    notes = tmp_path / "notes"
    for name in ("systemctl", "loginctl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {shlex.quote(str(notes))}\n')
        program.chmod(0o755)
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "systemd" / "private").touch()
    for name in ("FORGATHER_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr("forgather_spool.host.user_manager.LINGER_FOLDER", str(tmp_path / "linger"))
    return notes


def run(*words: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(units.units, words, catch_exceptions=False, standalone_mode=False)


def as_json(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def told(notes: Path) -> list[str]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    notes.write_text("")
    return lines


def test_install_puts_the_files_and_starts_to_watch(systemd, tmp_path):
    answer = run("install")

    folder = tmp_path / ".config" / "systemd" / "user"
    assert sorted(path.name for path in folder.iterdir()) == INSTALLED
    assert [line.partition(" ")[0] for line in answer.stdout.splitlines()[:4]] == ["installed"] * 4
    assert told(systemd) == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --quiet forgather-dispatch.path forgather-dispatch.timer",
        "systemctl --user restart forgather-dispatch.path forgather-dispatch.timer",
        "systemctl --user try-restart --no-block forgather-dispatch.service",
    ]
    assert (tmp_path / ".config/forgather/spool/incoming").is_dir()


def test_installing_again_changes_nothing_and_restarts_nobody(systemd):
    run("install")
    told(systemd)

    answer = run("install")

    assert "up to date: " in answer.stdout
    assert not [line for line in told(systemd) if "restart" in line]


def test_an_upgrade_says_which_files_it_changed(systemd, tmp_path):
    run("install")
    (tmp_path / ".config/systemd/user/forgather-dispatch.timer").write_text("of an older version")
    told(systemd)

    assert ["forgather-dispatch.timer", "changed"] in [line.split()[:2] for line in run("status").stdout.splitlines()]
    [timer] = [unit for unit in as_json("status")["units"] if unit["name"] == "forgather-dispatch.timer"]
    assert timer == {"name": "forgather-dispatch.timer", "file": "changed", "active": "inactive"}
    answer = run("install")

    changed = [line for line in answer.stdout.splitlines() if line.startswith(("updated", "installed"))]
    assert changed == [f"updated {tmp_path}/.config/systemd/user/forgather-dispatch.timer"]
    assert not [line for line in told(systemd) if "try-restart" in line]  # the dispatcher's own file is as it was


def test_uninstall_leaves_nothing_of_ours_and_is_content_with_nothing(systemd, tmp_path):
    run("install")
    own = tmp_path / ".config/systemd/user/mine.service"
    own.write_text("")

    run("uninstall")

    assert [path.name for path in own.parent.iterdir()] == ["mine.service"]
    assert "systemctl --user disable --quiet --now forgather-dispatch.path forgather-dispatch.timer" in told(systemd)
    assert run("uninstall").stdout == "nothing is installed\n"


def test_lingering_is_explained_and_done_on_demand(systemd, tmp_path):
    assert "Lingering is off" in run("install").stderr
    told(systemd)

    run("install", "--linger")
    assert "loginctl enable-linger" in told(systemd)

    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / os.environ.get("USER", "root")).touch()
    assert "lingering: on" in run("status").stdout
    assert as_json("status")["lingering"] is True


def test_another_home_is_refused_with_what_happens_instead(systemd, monkeypatch, tmp_path):
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "other"))

    with pytest.raises(UsageError) as caught:
        run("install")

    assert "submit starts a dispatcher" in caught.value.hint
    assert told(systemd) == []


def test_without_a_user_manager_nothing_needs_to_be_installed(systemd, tmp_path):
    (tmp_path / "run/systemd/private").unlink()

    with pytest.raises(Missing) as caught:
        run("install")

    assert caught.value.exit_code == 69
    assert "nothing needs to be installed" in caught.value.hint
    assert "user manager: none" in run("status").stdout
    found = as_json("status")
    assert (found["user_manager"], found["lingering"]) == (False, None)
    assert {unit["active"] for unit in found["units"]} == {None}


def test_what_systemctl_refuses_is_an_error_with_its_words(systemd, tmp_path):
    (tmp_path / "bin" / "systemctl").write_text("#!/bin/sh\necho 'Failed: masked' >&2\nexit 1\n")

    with pytest.raises(Missing, match="systemctl --user daemon-reload: Failed: masked"):
        run("install")


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/usr/bin/python3", '"/usr/bin/python3"'),
        ("/home/a b/100%/py", '"/home/a b/100%%/py"'),
        ('/home/"q"\\/py', '"/home/\\"q\\"\\\\/py"'),
    ],
)
def test_an_interpreter_is_quoted_as_systemd_reads_it(path, written):
    assert f"ExecStart=:{written} -P -m forgather_spool.dispatcher\n" in unit_files.rendered(path)[unit_files.SERVICE]


@pytest.mark.parametrize("path", ["python3", "/usr/bin/py\nExecStart=evil", "/a\x1b"])
def test_a_path_that_could_add_a_line_is_refused(path):
    with pytest.raises(UsageError):
        unit_files.rendered(path)


def test_a_transient_dispatcher_runs_with_the_settings_of_the_installed_one():
    """One promise, two places: this keeps them together."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(unit_files.rendered("/usr/bin/python3")[unit_files.SERVICE])
    command = transient_command("/home/a", "x.service", {})

    given = dict(word.removeprefix("--property=").split("=", 1) for word in command if word.startswith("--property="))
    assert given.items() <= {**unit["Unit"], **unit["Service"]}.items()


def test_nothing_a_job_would_inherit_is_set():
    """Sandbox options of the dispatcher's unit would hold for every scope it starts from."""
    service = unit_files.rendered("/usr/bin/python3")[unit_files.SERVICE]

    for option in ("Private", "Protect", "Restrict", "NoNewPrivileges", "SystemCall", "Memory", "Nice=", "Slice="):
        assert not [line for line in service.splitlines() if line.startswith(option)]
