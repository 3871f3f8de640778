"""A small data set and a server of it, for this ring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from tests.dataset_server.serving import Served

ROWS = 1000


def table(rows: int = ROWS) -> Any:
    """Text, numbers and lists: what training data are made of."""
    return pa.table(
        {
            "text": [f"row {row} " + "x" * (row % 50) for row in range(rows)],
            "number": list(range(rows)),
            "tokens": pa.array([list(range(row % 7)) for row in range(rows)], pa.list_(pa.int32())),
        }
    )


def write(path: Path, data: Any) -> Path:
    """`data` as an Arrow stream, in batches of 100 rows."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=100)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of tests lie with the tests; no setting of whoever runs them counts."""
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("FORGATHER_TLS_DIR", str(tmp_path_factory.mktemp("tls")))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))
    for name in ("FORGATHER_DATASET_SERVER", "FORGATHER_DATASET_SERVER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """A folder of two files with 600 and 400 rows."""
    folder = tmp_path / "stories"
    folder.mkdir()
    whole = table()
    write(folder / "a.arrow", whole.slice(0, 600))
    write(folder / "b.arrow", whole.slice(600))
    return folder


@pytest.fixture
def served(tmp_path: Path, stories: Path, cache: None) -> Iterator[Served]:
    """A server of `stories` as local/stories."""
    with Served(tmp_path / "home", local={"stories": str(stories)}) as server:
        yield server
