"""From a resolved config to the process that trains: its words, its environment, how many cards.

    command           as it stands; if it wants several processes, it starts them
    script            PYTHON script args...
    train             PYTHON -m forgather_spool.training.lm CONFIG_JSON [--resume [PATH]]
    nproc_per_node>1  PYTHON -m torch.distributed.run --standalone --nproc-per-node N, then the script or module

PYTHON is the config's `python`, else that of the virtual or conda environment
one is in, for a script; our own for the built-in trainer, which is part of us.
Starts nothing; `write_handover` alone touches a file.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from forgather_spool.document import dump
from forgather_spool.errors import Missing, UsageError
from forgather_spool.spool import files
from forgather_spool.training.config import Command, Config, Script, Train

BUILTIN = "forgather_spool.training.lm"
LATEST = "latest"
PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDED = ("torch", "transformers", "accelerate", "tokenizers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is run, where, with these variables over the environment, and on how many cards."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    gpus: int


def planned(config: Config, environ: Mapping[str, str], *, resume: str | None = None) -> Launch:
    """How `config` is run. `resume`: a checkpoint's path or LATEST; only the built-in trainer takes it.

    Raises:
        UsageError: `resume` with a program of the user's own.
    """
    if resume is not None and not isinstance(config.program, Train):
        raise UsageError(
            "--resume goes with the built-in trainer (train:)", hint="a program of yours resumes by itself"
        )
    env = dict(config.env)
    match config.program:
        case Command(argv):
            pass
        case Script(path, args):
            python = config.python or _python_of(environ)
            argv = (python, *_processes(config.nproc_per_node), path, *args)
            env |= _import_path(env, environ)
        case Train():
            python = config.python or sys.executable
            resumed = () if resume is None else ("--resume",) if resume == LATEST else ("--resume", resume)
            argv = (python, *_processes(config.nproc_per_node), "-m", BUILTIN, handover_path(config), *resumed)
            env |= _import_path(env, environ)
    gpus = config.nproc_per_node if config.gpus is None else config.gpus
    return Launch(argv=argv, cwd=config.project, env=env, gpus=gpus)


def handover_path(config: Config) -> str:
    """Where the built-in trainer finds its config: named by its content, so that it never changes under a job."""
    digest = hashlib.sha256(dump(config.as_document())).hexdigest()[:12]
    return os.path.join(config.output_dir, "configs", f"{digest}.json")


def write_handover(config: Config) -> None:
    """Put the resolved config where the built-in trainer reads it. Twice is fine.

    Raises:
        StorageFailed: it cannot be written.
    """
    path = handover_path(config)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise files.failed("make", os.path.dirname(path), error) from None
    files.replace(path, config.as_document(), os.path.dirname(path))


def check_libraries(config: Config) -> None:
    """Refuse now what would fail when it starts: the built-in trainer in an interpreter without torch.

    Raises:
        Missing: with the line that installs it.
    """
    import importlib.util

    if not isinstance(config.program, Train) or config.python is not None:
        return
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise Missing(
            f"the built-in trainer needs {', '.join(lacking)}",
            hint=f"{sys.executable} -m pip install 'forgather-spool[train]'",
        )


def _processes(count: int) -> tuple[str, ...]:
    if count == 1:
        return ()
    return ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))


def _python_of(environ: Mapping[str, str]) -> str:
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        python = os.path.join(environ.get(variable, ""), "bin", "python")
        if environ.get(variable) and os.access(python, os.X_OK):
            return python
    return sys.executable


def _import_path(env: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """PYTHONPATH, when we run from a checkout: the training shall find us where we are."""
    if os.path.basename(PACKAGE_PARENT) in ("site-packages", "dist-packages"):
        return {}
    there = env.get("PYTHONPATH", environ.get("PYTHONPATH", ""))
    if PACKAGE_PARENT in there.split(os.pathsep):
        return {}
    return {"PYTHONPATH": os.pathsep.join(part for part in (PACKAGE_PARENT, there) if part)}
