"""Where the runs are: the log files at or below a path.

    trainer_logs.json      a run of its own, wherever it lies (usually <model>/runs/<run_id>/)
    trainer_state.json     Hugging Face's; counts where its folder holds no trainer_logs.json, itself or below

Checkpoints hold copies of the state and are not looked into, unless named
outright. Opens nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from forgather_spool.errors import UnreadableFile, UsageError

LOGS = "trainer_logs.json"
STATE = "trainer_state.json"
MAX_DEPTH = 8  # project/output_models/model/runs/run_id is 4; a home directory is not a project
_SKIPPED = {"__pycache__", "node_modules", "checkpoints", "site-packages"}


def run_files(path: Path) -> list[Path]:
    """The log files at or below `path`, last written first. `path` may be such a file, a run, a model, a project.

    Raises:
        UsageError: nothing is there, or no run is.
        UnreadableFile: `path` may not be looked into.
    """
    if not os.path.lexists(path):
        raise UsageError(f"{path}: no such file or directory", hint="forgather logs list DIR shows the runs below DIR")
    if not path.is_dir():
        return [path]
    found = sorted(_below(path), key=lambda file: (-_written_at_unix_ns(file), str(file)))
    if not found:
        raise UsageError(
            f"no run at or below {path}: neither {LOGS} nor {STATE} (checkpoints are not looked into)",
            hint="name the run's directory, or the file itself",
        )
    return found


def _below(top: Path) -> list[Path]:
    """`os.walk`, from the leaves up: a state counts only where nothing better lies below it."""

    def refused(error: OSError) -> None:
        if error.filename == str(top):
            raise UnreadableFile(f"{top}: {error.strerror}")

    found: list[Path] = []
    states: list[Path] = []
    for folder, folders, files in os.walk(top, onerror=refused):
        here = Path(folder)
        deep = len(here.relative_to(top).parts) >= MAX_DEPTH
        folders[:] = [] if deep or LOGS in files else sorted(name for name in folders if _worth_a_look(name))
        if LOGS in files:
            found.append(here / LOGS)
        elif STATE in files:
            states.append(here / STATE)
    return found + [state for state in states if not any(log.is_relative_to(state.parent) for log in found)]


def _worth_a_look(folder: str) -> bool:
    return folder not in _SKIPPED and not folder.startswith((".", "checkpoint-"))


def _written_at_unix_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0  # gone or forbidden; reading it will say so
