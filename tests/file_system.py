"""What the modules of `spool/files/` work on, for tests that put something else in its place."""

from __future__ import annotations

from typing import Any

import pytest

from forgather_spool.spool import files
from forgather_spool.spool.files import moving, reading, syncing, together, writing

MODULES = (reading, syncing, writing, moving, together)


def work_on(stand_in: Any) -> None:
    """From now on they call this for `os`; give them `os` back at the end."""
    for module in MODULES:
        module.os = stand_in  # type: ignore[attr-defined]


def working_on() -> Any:
    return writing.os


def patch(monkeypatch: pytest.MonkeyPatch, name: str, stand_in: object) -> None:
    """One of their functions, for each other and for everybody else."""
    for module in (files, *MODULES):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, stand_in)
