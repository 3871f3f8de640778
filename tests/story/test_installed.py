"""`forgather` as it is installed: in an environment of its own, found there or by a .pth file, with -S or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
WITH_AND_WITHOUT = pytest.mark.parametrize("option", [" -S", ""], ids=["-S, as make and uv", "without, as pip"])


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FORGATHER_HOME": str(tmp_path / "home")}
    return env | {"FORGATHER_HOST_KIND": "process", "FORGATHER_IDLE_S": "0.1"}


def install(folder: Path, option: str, *, editable: bool) -> Path:
    """The command in a virtual environment that has others' packages by way of a .pth file alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / SITE_PACKAGES
    if editable:
        (packages / "__editable__.forgather_spool.pth").write_text(f"{ROOT}\n")
    else:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "forgather_spool", packages / "forgather_spool", ignore=ignore)
    others = {str(Path(module.__file__ or "").parents[1]) for module in (__import__("click"), __import__("rich"))}
    (packages / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    command = folder / "bin" / "forgather"
    _, _, rest = (ROOT / "bin" / "forgather").read_text().partition("\n")
    command.write_text(f"#!{folder}/bin/python{option}\n{rest}")
    command.chmod(0o755)
    return command


@WITH_AND_WITHOUT
@pytest.mark.parametrize("editable", [False, True], ids=["installed", "editable"])
def test_it_submits_lists_and_follows(environ: dict[str, str], tmp_path: Path, option: str, editable: bool) -> None:
    """A light word, one that needs click and rich, and a light one that comes to need click."""
    link = tmp_path / "a link"  # as make and pipx leave one on the PATH
    link.symlink_to(install(tmp_path / "venv", option, editable=editable))

    def forgather(*words: str) -> str:
        done = subprocess.run([link, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    job_id = forgather("submit", "--quiet", "--hold", "--", "true").strip()

    assert job_id in forgather("sched", "list", "--json")
    assert job_id[-8:] in forgather("sched", "list")
    assert forgather("submit", "--follow", "--quiet", "--", "echo", "hello") == "hello\n"


def test_a_submit_does_without_site(environ: dict[str, str], tmp_path: Path) -> None:
    """It takes Python as long as all of ours that a submit imports."""
    command = install(tmp_path / "venv", " -S", editable=False)
    told = {**environ, "PYTHONPROFILEIMPORTTIME": "1", "FORGATHER_NO_WAKE": "1"}

    submit = subprocess.run([command, "submit", "--", "true"], env=told, capture_output=True, text=True, check=True)
    looks = subprocess.run([command, "sched", "list"], env=told, capture_output=True, text=True, check=True)

    assert "site" not in {line.rpartition("|")[2].strip() for line in submit.stderr.splitlines()}
    assert "site" in {line.rpartition("|")[2].strip() for line in looks.stderr.splitlines()}


def test_what_it_starts_is_an_ordinary_python(environ: dict[str, str], tmp_path: Path) -> None:
    """-S is the command's own: the dispatcher it starts, and what that runs, find what is installed."""
    command = install(tmp_path / "venv", " -S", editable=False)
    python = tmp_path / "venv" / "bin" / "python"
    looks = "import sys, click; print(sys.flags.no_site, sys.prefix)"

    done = subprocess.run(
        [command, "submit", "--follow", "--quiet", "--", python, "-c", looks],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == f"0 {tmp_path}/venv\n"


def test_make_install_has_the_command_begin_with_the_option_that_pip_drops(tmp_path: Path) -> None:
    """The step of the recipe itself, on what pip leaves."""
    steps = subprocess.run(
        ["make", "-n", "-C", ROOT, "install", f"PREFIX={tmp_path}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (step,) = [line for line in steps if line.startswith("sed ")]
    command = tmp_path / "share/forgather-spool/venv/bin/forgather"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{tmp_path}/share/forgather-spool/venv/bin/python3.11\nrest of python3\n")

    for _ in range(2):  # make install is how one upgrades, too
        subprocess.run(["sh", "-c", step], check=True)

    assert command.read_text() == f"#!{tmp_path}/share/forgather-spool/venv/bin/python3.11 -S\nrest of python3\n"
    assert os.access(ROOT / "bin" / "forgather", os.X_OK)
    assert (ROOT / "bin" / "forgather").read_text().startswith("#!/usr/bin/env -S python3 -S\n")
