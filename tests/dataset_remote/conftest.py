"""A small data set, servers of it, and what a reader without any server gives, for this ring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from forgather_spool.dataset import ComposableIterableDataset, fast_load_iterable_dataset
from tests.dataset_server.conftest import cache, stories, table, write
from tests.dataset_server.serving import Served

__all__ = ["cache", "served", "stories", "table", "write"]


@pytest.fixture
def served(tmp_path: Path, stories: Path, cache: None) -> Iterator[Served]:
    """A server of `stories` as local/stories."""
    with Served(tmp_path / "home", local={"stories": str(stories)}) as server:
        yield server


@pytest.fixture
def here(stories: Path) -> ComposableIterableDataset:
    """The stories, read from this machine's files."""
    return fast_load_iterable_dataset(str(stories))


@pytest.fixture
def from_servers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ComposableIterableDataset]:
    """``from_servers(server, another)``: local/stories, from those servers (or URLs)."""

    def load(*servers: Any, path: str = "local/stories", **options: Any) -> ComposableIterableDataset:
        with monkeypatch.context() as changed:
            urls = [one if isinstance(one, str) else one.listening.url for one in servers]
            changed.setenv("FORGATHER_DATASET_SERVER", ",".join(urls))
            for one in servers:
                if not isinstance(one, str):
                    changed.setenv("FORGATHER_DATASET_SERVER_TOKEN", str(one.token))
            return fast_load_iterable_dataset(path, **options)

    return load
