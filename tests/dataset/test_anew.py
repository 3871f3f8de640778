"""Asked to make its index and copies anew, the cache trusts nothing that stands, and disturbs nobody who reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from forgather_spool.dataset import fast_load_iterable_dataset
from forgather_spool.dataset.storage import stored
from forgather_spool.errors import StorageFailed

EXAMPLES = [{"n": number, "text": f"row {number}"} for number in range(50)]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FORGATHER_DATASET_SERVER", raising=False)
    return tmp_path / "cache" / "dataset"


def rows_of(path: Path, **options: Any) -> list[dict[str, Any]]:
    return list(fast_load_iterable_dataset(path, **options))


def write_json(path: Path, examples: Any = EXAMPLES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in examples))
    return path


def test_a_file_put_back_with_its_time_and_size_is_read_anew_when_asked_to(tmp_path: Path, caches: Path) -> None:
    """Nothing tells it from the one that was indexed; the copy that had been made of that one was used for ever."""
    source = write_json(tmp_path / "raw" / "a.jsonl", [{"a": 1}])
    about = source.stat()
    fast_load_iterable_dataset(source)
    write_json(source, [{"a": 2}])
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))

    assert rows_of(source, force_reindex=True) == [{"a": 2}]
    assert rows_of(source) == [{"a": 2}]


def test_making_the_same_anew_disturbs_nobody_who_reads_it(
    tmp_path: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranks of a run each ask for it, one after the other, and those before go on reading."""
    monkeypatch.setattr(stored, "LOOK_AGAIN_S", -1.0)
    source = write_json(tmp_path / "raw" / "a.jsonl")
    first = fast_load_iterable_dataset(source, force_reindex=True)

    fast_load_iterable_dataset(source, force_reindex=True)

    assert list(first) == EXAMPLES


def test_a_cache_that_cannot_be_locked_is_said(tmp_path: Path, caches: Path) -> None:
    """A read-only one, or one on a file system without locks, was a bug report."""
    source = write_json(tmp_path / "raw" / "a.jsonl")
    fast_load_iterable_dataset(source)
    (index,) = caches.glob("*.index")
    index.unlink()
    lock = index.with_name(f"{index.name}.lock")
    lock.unlink()
    lock.mkdir()

    with pytest.raises(StorageFailed) as error:
        fast_load_iterable_dataset(source)

    assert "FORGATHER_CACHE" in error.value.hint
