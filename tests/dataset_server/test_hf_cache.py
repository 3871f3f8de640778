"""A Hugging Face cache that the `datasets` library itself filled, served: its rows, its list, and who may read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasets", reason="needs the extra: pip install 'forgather-spool[dataset]'")

import pyarrow as pa
import pyarrow.parquet as pq

from forgather_spool.dataset_server import hf_cache
from tests.dataset_server.serving import Served

FILL = """
import json, sys
from datasets import load_dataset
found = {name: load_dataset(path) for name, path in json.loads(sys.argv[1]).items()}
rows = {f"{name}/{split}": data.to_list() for name, splits in found.items() for split, data in splits.items()}
print(json.dumps(rows))
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The library's rows of ``stories`` (Parquet, two splits) and ``CamelLines`` (text), prepared in HF_HOME."""
    stories, lines = tmp_path / "raw" / "stories", tmp_path / "raw" / "CamelLines"
    stories.mkdir(parents=True)
    lines.mkdir()
    for split, count in (("train", 300), ("test", 20)):
        numbers = range(count)
        table = pa.table({"text": [f"{split} {row}" for row in numbers], "score": [row / 7 for row in numbers]})
        pq.write_table(table, stories / f"{split}.parquet", row_group_size=100)
    (lines / "train.txt").write_text("".join(f"line {row}\n" for row in range(50)))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(hf_cache, "_last", None)
    filling = subprocess.run(
        [sys.executable, "-c", FILL, json.dumps({"stories": str(stories), "CamelLines": str(lines)})],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[Any]] = json.loads(filling.stdout)
    assert {name: len(rows) for name, rows in found.items()} == {
        "stories/train": 300, "stories/test": 20, "CamelLines/train": 50,
    }  # fmt: skip
    return found


def test_what_the_library_prepared_is_served_as_it_has_it(theirs: dict[str, list[Any]], tmp_path: Path) -> None:
    """By its name and split, without a download, the raw files gone."""
    for path in sorted((tmp_path / "raw").rglob("*.*")):
        path.unlink()
    with Served(tmp_path / "home") as server:
        for name, rows in theirs.items():
            path, split = name.split("/")
            handle = server.load(path, split=split)

            assert server.arrow(handle).to_pylist() == rows
            assert server.get(f"/v1/datasets/{handle}/iter").lines == rows


def test_the_cache_is_listed_with_its_splits(theirs: dict[str, list[Any]], tmp_path: Path) -> None:
    with Served(tmp_path / "home") as server:
        listed = server.get("/v1/cache/hf").json

    assert listed["cache_root"] == str(tmp_path / "hf" / "datasets")
    found = {
        f"{one['repo']}/{split['name']}": split["num_examples"]
        for one in listed["datasets"]
        for config in one["configs"]
        for split in config["splits"]
    }
    assert found == {"stories/train": 300, "stories/test": 20, "camel_lines/train": 50}


def test_a_cache_that_is_closed_is_neither_read_nor_listed(theirs: dict[str, list[Any]], tmp_path: Path) -> None:
    with Served(tmp_path / "home", no_hf=True) as server:
        assert server.ask("POST", "/v1/load", {"path": "stories", "split": "train"}).status == 403
        assert server.get("/v1/cache/hf").json == {"cache_root": "", "datasets": []}


def test_a_name_does_not_lead_to_the_files_it_was_prepared_from(
    theirs: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of that name is here and readable; only what lies in the cache is served."""
    monkeypatch.chdir(tmp_path / "raw")
    (tmp_path / "raw" / "secret").mkdir()
    (tmp_path / "raw" / "secret" / "train.txt").write_text("not for clients\n")
    with Served(tmp_path / "home") as server:
        assert server.ask("POST", "/v1/load", {"path": "secret", "split": "train"}).status in (403, 404)
        assert server.ask("POST", "/v1/load", {"path": str(tmp_path / "raw" / "stories")}).status == 403
        assert server.arrow(server.load("stories", split="test")).num_rows == 20
