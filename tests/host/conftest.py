"""Fixtures for the machine's ring: cards that are not there, and a program that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.nvml import FakeCards, build
from tests.fakes.nvml.reader import Reader


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def cards(library: Path, tmp_path: Path) -> FakeCards:
    return FakeCards(tmp_path / "cards", library)


@pytest.fixture
def start() -> Iterator[Callable[[dict[str, str]], Reader]]:
    with ExitStack() as readers:
        yield lambda environment: readers.enter_context(Reader(environment))


@pytest.fixture
def reader(cards: FakeCards, start: Callable[[dict[str, str]], Reader]) -> Reader:
    return start(cards.env())
