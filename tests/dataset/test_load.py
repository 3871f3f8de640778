"""Loading: every form a data set may lie in gives the rows the `datasets` library has."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")
datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'forgather-spool[dataset]'")

import pyarrow.parquet as pq

from forgather_spool.dataset import fast_load_iterable_dataset
from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.local import local_rows
from forgather_spool.dataset.storage import json_lines
from forgather_spool.errors import ForgatherError, Missing, UsageError

EXAMPLES = [{"n": number, "text": f"row {number}", "when": "2024-01-01"} for number in range(50)]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FORGATHER_CACHE", str(cache))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.delenv("FORGATHER_DATASET_SERVER", raising=False)
    return cache / "dataset"


def rows_of(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
    return list(fast_load_iterable_dataset(*arguments, **options))


def write_json(path: Path, examples: Any = EXAMPLES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in examples))
    return path


def test_json_lines_keep_texts_that_look_like_times(tmp_path: Path) -> None:
    assert rows_of(write_json(tmp_path / "a.jsonl")) == EXAMPLES


def test_json_lines_agree_on_their_columns(tmp_path: Path) -> None:
    """Whole numbers beside fractions are fractions, and what a line lacks is None."""
    lines = [{"a": 1}, {"a": 2.5, "b": {"c": [1]}}, {"b": {"d": "x"}}]

    assert rows_of(write_json(tmp_path / "a.jsonl", lines)) == [
        {"a": 1.0, "b": None},
        {"a": 2.5, "b": {"c": [1], "d": None}},
        {"a": None, "b": {"c": None, "d": "x"}},
    ]


def test_packed_json_lines_and_json_arrays(tmp_path: Path) -> None:
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(write_json(tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "b.json").write_text(json.dumps(EXAMPLES, indent=1))

    assert rows_of(packed) == rows_of(tmp_path / "b.json") == EXAMPLES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'\xef\xbb\xbf[{"a": 1}]', [{"a": 1}]),
        (b"[]", []),
        (b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}', [{"a": 1}, {"a": 2}]),
        (b'{"a": "' + b"[" * 5000 + b'"}\n', [{"a": "[" * 5000}]),
    ],
)
def test_json_of_odd_forms(tmp_path: Path, content: bytes, expected: Any) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)

    assert rows_of(tmp_path / "a.jsonl") == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'\n\n{"a": 1}\n\n{"a": "tru', "line 5: Missing a closing quotation mark"),
        (b'{"a": 1}\n' * 9 + b'{"a": "x"}\n{"a": 2}\n', "line 10: .*changed from number to string"),
        (b'{"a": "ok"}\n{"a": "\xff\xfe"}\n', "line 2: Invalid UTF8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "more than 1000 deep"),
    ],
)
def test_the_line_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    """Also behind blocks that can. Bytes that are no text were met in training; deep lists killed Arrow's reader."""
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 20)
    (tmp_path / "a.jsonl").write_bytes(content)

    with pytest.raises(BadDataset, match=said):
        fast_load_iterable_dataset(tmp_path / "a.jsonl")


@pytest.mark.parametrize("content", [b'{"a": 1}', gzip.compress(os.urandom(1000))[:-20]])
def test_a_damaged_packed_file_is_not_the_caches_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(content)

    with pytest.raises(BadDataset, match=r"a.jsonl.gz: cannot be read"):
        fast_load_iterable_dataset(tmp_path / "a.jsonl.gz")


def test_one_of_several_data_files_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The others were read, and nobody learned that rows were missing."""
    here = str(write_json(tmp_path / "a.jsonl"))

    assert len(rows_of("json", data_files=[here, here])) == 2 * len(EXAMPLES)
    for absent in ([here, "absent.jsonl"], [here, str(tmp_path / "b*.jsonl")], []):
        with pytest.raises(Missing, match="no such files"):
            fast_load_iterable_dataset("json", data_files=absent)


def test_parquet_of_the_same_columns_in_another_sequence(tmp_path: Path) -> None:
    """Or wider; other columns are named. These were tracebacks."""
    for name, columns in {"a": {"n": [1], "s": ["x"]}, "b": {"s": ["y"], "n": [2]}, "c": {"n": [3]}}.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    assert rows_of("parquet", data_files=[str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]) == [
        {"n": 1, "s": "x"},
        {"n": 2, "s": "y"},
    ]
    with pytest.raises(BadDataset, match=r"c.parquet: .* has the columns n, and those before it n, s"):
        fast_load_iterable_dataset(tmp_path)


@pytest.mark.parametrize(
    ("path", "error"), [("", UsageError), (None, UsageError), (3, UsageError), ("x/*.no", Missing)]
)
def test_what_names_nothing_is_said_at_once(path: Any, error: type[ForgatherError]) -> None:
    with pytest.raises(error):
        fast_load_iterable_dataset(path)


def test_options_that_change_nothing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files are not read by `load_dataset`: who asks it for some columns or a field would have got all, unknowing."""
    rows_of("json", data_files=str(write_json(tmp_path / "a.jsonl")), field="data")

    assert "left out: field" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "value"), [("name", "en"), ("revision", "a1b2c3d")])
def test_files_have_no_configuration_and_no_revision(tmp_path: Path, word: str, value: str) -> None:
    """They were left out without a word, and other rows were read than were asked for."""
    path = write_json(tmp_path / "a.jsonl")

    with pytest.raises(UsageError, match=f"{word}='{value}': .* is files"):
        rows_of(path, **{word: value})

    assert rows_of(path, name="default", revision="main") == EXAMPLES, "as callers say who always say them"


def test_lines_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\nthrée\r\nfour", newline="")

    assert [one["text"] for one in rows_of(tmp_path / "a.txt")] == ["one", "", "thrée", "four"]


def test_parquet_by_file_folder_and_pattern(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(EXAMPLES)
    (tmp_path / "data").mkdir()
    for part in range(2):
        pq.write_table(table.slice(part * 25, 25), tmp_path / "data" / f"train-{part}.parquet", row_group_size=7)
    pq.write_table(table.slice(0, 3), tmp_path / "data" / "test-0.parquet")

    assert rows_of(tmp_path / "data" / "train-0.parquet") == EXAMPLES[:25]
    assert rows_of(tmp_path, split="train") == EXAMPLES
    assert rows_of(tmp_path, split="test") == EXAMPLES[:3]
    assert rows_of(f"{tmp_path}/data/train-*.parquet") == EXAMPLES
    assert rows_of("parquet", data_files={"train": f"{tmp_path}/data/train-*.parquet"}) == EXAMPLES
    with pytest.raises(UsageError, match="several splits"):
        rows_of(tmp_path)


def test_a_split_with_bounds_is_cut(tmp_path: Path) -> None:
    write_json(tmp_path / "a.jsonl")

    assert rows_of(tmp_path, split="train[10%:-40]") == EXAMPLES[5:10]
    assert rows_of(tmp_path, split="train[:3]") == EXAMPLES[:3]


@pytest.mark.parametrize("shards", [1, 3])
def test_what_was_saved_to_disk(tmp_path: Path, shards: int) -> None:
    saved = datasets.Dataset.from_list(EXAMPLES)
    saved.save_to_disk(tmp_path / "one", num_shards=shards)
    datasets.DatasetDict(train=saved, test=saved.select(range(3))).save_to_disk(tmp_path / "two")

    data = fast_load_iterable_dataset(tmp_path / "one")

    assert list(data) == EXAMPLES and data.features == saved.features.to_dict()
    assert rows_of(tmp_path / "two", split="test") == EXAMPLES[:3]
    with pytest.raises(Missing, match="no split 'dev'"):
        rows_of(tmp_path / "two", split="dev")


def test_files_that_are_named_are_of_no_other_split_than_train_or_their_names(tmp_path: Path) -> None:
    """Else a run would be evaluated on what it is trained on, and nobody would know."""
    for name in ("a.jsonl", "test.jsonl"):
        write_json(tmp_path / name)

    for path, files in ((tmp_path / "a.jsonl", None), ("json", str(tmp_path / "a.jsonl"))):
        assert rows_of(path, data_files=files, split="train[:3]") == EXAMPLES[:3]
        with pytest.raises(Missing, match="no split 'test'"):
            rows_of(path, data_files=files, split="test")
    for split in ("train", "test", None):
        assert rows_of(tmp_path / "test.jsonl", split=split) == EXAMPLES
    with pytest.raises(Missing, match="no split 'validation'"):
        rows_of("json", data_files=[str(tmp_path / "test.jsonl")], split="validation")


def test_what_lies_prepared_in_the_cache_of_the_hub_is_read_without_the_library(tmp_path: Path) -> None:
    """As the library laid it out, with several shards; nothing is imported, nothing is asked for online."""
    build = tmp_path / "hub" / "me___my-data" / "default" / "0.0.0" / "abcdef"
    build.mkdir(parents=True)
    datasets.Dataset.from_list(EXAMPLES).save_to_disk(tmp_path / "saved", num_shards=2)
    for number, shard in enumerate(sorted((tmp_path / "saved").glob("*.arrow"))):
        os.rename(shard, build / f"my-data-train-{number:05}-of-00002.arrow")
    (build / "dataset_info.json").write_text("{}")
    code = (
        "import sys\n"
        "from forgather_spool.dataset import fast_load_iterable_dataset as load\n"
        "print(len(list(load('me/my-data', split='train'))), 'datasets' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["50", "False"]
    os.remove(next(build.glob("*00000-of*")))
    with pytest.raises(ForgatherError, match="me/my-data"):
        local_rows("me/my-data", split="train", downloads=False)


def test_the_cache_is_laid_out_as_the_library_lays_it_out(tmp_path: Path) -> None:
    """What `load_dataset` prepared of a folder is found again by its files."""
    write_json(tmp_path / "raw" / "train.jsonl")
    prepared = datasets.load_dataset("json", data_files=str(tmp_path / "raw" / "train.jsonl"), split="train")

    files = [entry["filename"] for entry in prepared.cache_files]

    assert [one["n"] for one in rows_of("arrow", data_files=files)] == [one["n"] for one in EXAMPLES]
    assert files[0].endswith("-train.arrow") and str(tmp_path / "hub") in files[0]


@pytest.mark.parametrize(
    "path", ["/absent/a.parquet", "./absent", "../absent/x", "absent/with/more", "absent/a.jsonl.gz", "a.txt"]
)
def test_what_is_not_here_is_said_at_once(path: str) -> None:
    with pytest.raises(Missing, match="no such data set here"):
        fast_load_iterable_dataset(path)


def test_the_name_a_server_gives_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody there may be called `local`. A folder here that is, is read."""
    with pytest.raises(Missing, match="FORGATHER_DATASET_SERVER is not set"):
        fast_load_iterable_dataset("local/stories")

    write_json(tmp_path / "local" / "stories" / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert rows_of("local/stories") == EXAMPLES


def test_without_downloads_nothing_is_fetched() -> None:
    with pytest.raises(Missing, match="no such data set here"):
        local_rows("somebody/something", downloads=False)


@pytest.mark.parametrize(
    ("name", "content"), [("a.parquet", b"PAR1 no"), ("a.jsonl", b'{"a": \n'), ("a.txt", b"\xff\xfe")]
)
def test_files_that_are_not_what_they_say_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadDataset, match=rf"{name}: cannot be read as"):
        fast_load_iterable_dataset(tmp_path / name)


@pytest.mark.parametrize("split", ["train[", "train[5]", "[1:2]", "train[1:2:3]"])
def test_a_split_that_cannot_be_read_is_refused(tmp_path: Path, split: str) -> None:
    write_json(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="split"):
        fast_load_iterable_dataset(tmp_path, split=split)


def test_many_at_once_build_one_index(tmp_path: Path, caches: Path) -> None:
    write_json(tmp_path / "raw" / "a.jsonl")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(fast_load_iterable_dataset(tmp_path / "raw"))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [50] * 6
    assert len(list(caches.glob("*.index"))) == len(list(caches.glob("*.copy"))) == 1


def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path, caches: Path) -> None:
    """Killed while it copies: the next one begins anew, and clears what was left."""
    source = write_json(tmp_path / "raw" / "a.jsonl")
    code = (
        "import os, signal, sys\n"
        "from forgather_spool.dataset.storage import convert, opening\n"
        "write = convert._write\n"
        "convert._write = lambda *all: (write(*all), os.kill(os.getpid(), signal.SIGKILL))\n"
        "opening.open_files([sys.argv[1]], 'json')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(source)])
    assert killed.returncode == -9 and list(caches.glob("*.tmp")) and not list(caches.glob("*.index"))

    assert rows_of(source) == EXAMPLES
    assert not list(caches.glob("*.tmp"))


def test_a_changed_source_is_copied_again_and_the_old_copy_goes(tmp_path: Path, caches: Path) -> None:
    source = write_json(tmp_path / "raw" / "a.jsonl")
    first = fast_load_iterable_dataset(source)

    write_json(source, EXAMPLES[:7])

    assert rows_of(source) == EXAMPLES[:7]
    assert len(list(caches.glob("*.copy"))) == 1
    assert next(iter(first.rows.slice(49, 50).to_pylist())) == EXAMPLES[49], "what is mapped stays"


def test_an_index_may_lie_elsewhere_and_be_made_anew(tmp_path: Path) -> None:
    source = write_json(tmp_path / "raw" / "a.jsonl")
    fast_load_iterable_dataset(source, index_dir=tmp_path / "mine")
    (index,) = (tmp_path / "mine").glob("*.index")
    before = index.stat().st_ino

    fast_load_iterable_dataset(source, index_dir=tmp_path / "mine")
    assert index.stat().st_ino == before
    fast_load_iterable_dataset(source, index_dir=tmp_path / "mine", force_reindex=True)
    assert index.stat().st_ino != before


@pytest.mark.parametrize("name", [b"a.txt", b"a.jsonl", b"a.JSONL.GZ", b"a.parquet", b"file.arrow", b"stream.arrow"])
def test_names_need_not_be_utf_8(tmp_path: Path, name: bytes) -> None:
    """A disk of another system's has such folders."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    table = pa.table({"text": ["x", "y"]})
    with open(folder + b"/" + name, "wb") as file:
        if name.endswith(b".parquet"):
            pq.write_table(table, file)
        elif name.endswith(b".arrow"):
            with (pa.ipc.new_file if name.startswith(b"file") else pa.ipc.new_stream)(file, table.schema) as out:
                out.write_table(table)
        else:
            lines = b"x\ny\n" if name.endswith(b".txt") else b'{"text": "x"}\n{"text": "y"}\n'
            file.write(gzip.compress(lines) if name.endswith(b".GZ") else lines)

    assert rows_of(folder) == table.to_pylist()
