from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loops import Training


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of this test and of the trainers it starts."""
    monkeypatch.delenv("FORGATHER_JOB_ID", raising=False)
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def train(tmp_path: Path, home: Path) -> Iterator[Callable[..., Training]]:
    """Starts a loop that can be asked: ``train(saves="fail")``. All are ended with the test."""
    started: list[Training] = []

    def start(wait: bool = True, **options: Any) -> Training:
        started.append(Training(tmp_path / f"run{len(started)}", home, **options))
        return started[-1].up() if wait else started[-1]

    yield start
    for training in started:
        training.close()
