"""Fixtures for stories: a home, and a real dispatcher over it on plain processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.nvml import FakeCards, build
from tests.story.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty spool; dispatchers started in it, and all their jobs, end with the test."""
    world = World(tmp_path)
    yield world
    world.end()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def cards(nvml_library: Path, tmp_path: Path) -> FakeCards:
    return FakeCards(tmp_path / "cards", nvml_library)
