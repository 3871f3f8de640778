"""Which project and which config the words before the command mean: ``-p DIR`` and ``-t CONFIG``."""

from __future__ import annotations

import os

import click

from forgather_spool.errors import UsageError
from forgather_spool.training.config import load
from forgather_spool.training.config_file import Source, configs_in

ENDINGS = ("", ".yaml", ".yml")
FOLDERS = ("", "configs")  # of a project, where its configs lie


def project_folder(ctx: click.Context) -> str:
    """The project's folder, absolute. Raises UsageError: it is not there."""
    given = ctx.find_root().params.get("project") or "."
    folder = os.path.abspath(os.path.expanduser(given))
    if not os.path.isdir(folder):
        raise UsageError(f"-p {given}: no such directory", hint="forgather init DIR makes a project")
    return folder


def chosen_config(ctx: click.Context) -> Source:
    """The config of ``-t``, read. Raises UsageError (none was named, or it is not there), and what `load` raises."""
    folder = project_folder(ctx)
    given = ctx.find_root().params.get("config")
    if given is None:
        raise UsageError("which config? give it before the command: forgather -t CONFIG.yaml ...", hint=_there(folder))
    return load(_found(folder, os.path.expanduser(given)), folder)


def configs_of(folder: str) -> list[str]:
    """The project's configs, as one may name them after ``-t``."""
    return [os.path.join(sub, name) for sub in FOLDERS for name in configs_in(os.path.join(folder, sub))]


def _found(folder: str, given: str) -> str:
    for sub in FOLDERS:
        for ending in ENDINGS:
            path = os.path.join(folder, sub, given + ending)
            if os.path.isfile(path):
                return path
    raise UsageError(f"-t {given}: no such config in {folder}", hint=_there(folder))


def _there(folder: str) -> str:
    names = configs_of(folder)
    return f"there are: {', '.join(names)}" if names else "forgather init writes a starter project"
