"""`forgather dataset` and what it counts: lengths, sizes, examples, for people and for scripts."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")
pytest.importorskip("orjson", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.dataset import progress
from forgather_spool.dataset.survey import edges, surveyed
from tests.dataset.tables import write_stream

FORGATHER = [sys.executable, "-P", "-c", "import sys; from forgather_spool.cli.entry import main; sys.exit(main())"]
STORIES = pa.table(
    {
        "text": pa.array([None, *("x" * length for length in range(1, 100))]),
        "tokens": pa.array([[1] * (number % 7) for number in range(100)], pa.list_(pa.int32())),
        "score": pa.array([number / 7 for number in range(100)]),
        "raw": pa.array([b"\xff" * number for number in range(100)]),
    }
)


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    return write_stream(tmp_path / "stories.arrow", STORIES, [32])


def run(tmp_path: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "FORGATHER_HOME": str(tmp_path / "home"),
        "FORGATHER_CACHE": str(tmp_path / "cache"),
        **more,
    }
    environ.pop("FORGATHER_DATASET_SERVER", None)
    return subprocess.run([*FORGATHER, *words], capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=120)


def test_lengths_are_of_characters_values_and_bytes() -> None:
    text, tokens, score, raw = surveyed(STORIES)

    assert (text.nulls, text.lengths.unit, text.lengths.least, text.lengths.most) == (1, "characters", 1, 99)  # type: ignore[union-attr]
    assert (tokens.lengths.unit, tokens.lengths.most) == ("values", 6)  # type: ignore[union-attr]
    assert (raw.lengths.unit, raw.lengths.median) == ("bytes", 49.5)  # type: ignore[union-attr]
    assert score.lengths is None and score.row_bytes == 8


@pytest.mark.parametrize(
    "column", [pa.nulls(3), pa.array([], pa.string()), pa.array([None], pa.list_(pa.int8())), pa.array([{"a": "x"}])]
)
def test_columns_without_lengths_have_none(column: Any) -> None:
    (found,) = surveyed(pa.table({"a": column}))

    assert found.lengths is None


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.booleans())
def test_buckets_are_few_and_hold_every_length(least: int, more: int, doubling: bool) -> None:
    borders = edges(least, least + more, doubling=doubling)

    assert borders[0] <= least and borders[-1] > least + more
    assert sorted(set(borders)) == borders
    assert len(borders) <= (34 if doubling else 15)


def test_a_data_set_is_shown_to_people(tmp_path: Path, stories: Path) -> None:
    found = run(tmp_path, "dataset", "--path", str(stories), "-n", "2", "--at", "4", COLUMNS="100")

    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert any(line.startswith("rows:        100, about ") for line in lines)
    assert any("characters in all 100 rows" in line for line in lines) and any("##" in line for line in lines)
    assert "example 4:" in lines and "  text: xxxx" in lines and "example 6:" not in lines
    assert max(len(line) for line in lines if not line.startswith("data set:")) <= 100  # a path is not cut


def test_a_data_set_is_told_to_scripts(tmp_path: Path, stories: Path) -> None:
    found = run(tmp_path, "dataset", "--path", str(stories), "-n", "1", "--columns", "raw,score", "--json")

    told = json.loads(found.stdout)
    assert (told["rows"], told["sampled"], told["files"], told["fingerprint"][:3]) == (100, 100, 1, "w1-")
    assert told["stored_bytes"] == stories.stat().st_size
    assert [column["name"] for column in told["columns"]] == ["raw", "score"]
    assert sum(one["count"] for one in told["columns"][0]["lengths"]["buckets"]) == 100
    assert told["examples"] == [{"raw": {"__bytes_b64__": ""}, "score": 0.0}]


def test_of_what_python_has_no_value_for_the_rest_is_shown(tmp_path: Path) -> None:
    """Two columns of one name, a year 40,000 and bytes that are no UTF-8 were each reported as a bug of ours."""
    offsets = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    broken = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff\xfe"))
    columns = [pa.array([7]), pa.array(["seven"]), pa.array([2**60], pa.timestamp("s")), broken]
    write_stream(tmp_path / "odd.arrow", pa.Table.from_arrays(columns, names=["n", "n", "when", "text"]), [1])

    shown = run(tmp_path, "dataset", "--path", "odd.arrow", "-q")
    told = run(tmp_path, "dataset", "--path", "odd.arrow", "--json")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.count("cannot be shown") == 2 and "n: 7" in shown.stdout and "n: seven" in shown.stdout
    assert (told.returncode, "two columns have one name" in told.stderr) == (2, True)


def test_a_split_with_bounds_is_what_is_shown(tmp_path: Path, stories: Path) -> None:
    found = run(tmp_path, "dataset", "--path", str(stories), "--split", "train[50%:]", "-n", "1", "--json")

    told = json.loads(found.stdout)
    assert told["rows"] == 50 and told["examples"][0]["text"] == "x" * 50


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--path", "nowhere/at/all"], 69, "no such data set"),
        (["--path", "stories.arrow", "--columns", "nothing"], 2, "no column 'nothing'"),
        (["--path", "stories.arrow", "--at", "101"], 2, "position 101 is past the end of 100 rows"),
        (["--path", "stories.arrow", "--at", "100"], 2, "position 100 is past the end of 100 rows"),
        (["--path", "stories.arrow", "-t", "a.yaml"], 2, "which one?"),
        (["--path", "stories.arrow", "--target", "data"], 2, "a part of a config"),
        ([], 2, "which data set?"),
        (["-t", "command.yaml"], 2, "no section train"),
        (["-t", "train.yaml", "--target", "other"], 2, "there are: data"),
    ],
)
def test_what_cannot_be_shown_is_said_on_one_line(
    tmp_path: Path, stories: Path, words: list[str], code: int, says: str
) -> None:
    (tmp_path / "command.yaml").write_text("command: [echo, hello]\n")
    (tmp_path / "train.yaml").write_text(
        "train:\n  model: {config: {model_type: gpt2}}\n  data: {dataset: stories, split: train}\n"
    )

    found = run(tmp_path, "dataset", *words)

    assert (found.returncode, found.stdout) == (code, "")
    assert says in found.stderr and "Traceback" not in found.stderr


@pytest.mark.parametrize("before", [True, False])
def test_a_configs_data_are_shown(tmp_path: Path, before: bool) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one", "two"]}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "train.yaml").write_text(
        "train:\n  model: {config: {model_type: gpt2}}\n  data: {dataset: saved, column: text}\n"
    )

    words = ["-t", "train.yaml", "dataset"] if before else ["dataset", "-t", "train.yaml"]
    told = json.loads(run(tmp_path, *words, "--json").stdout)

    assert (told["rows"], [one["text"] for one in told["examples"]]) == (2, ["one", "two"])


def test_what_a_config_reads_while_training_is_shown(tmp_path: Path, stories: Path) -> None:
    """From the server it names, as training does; that was "--target None: the config has none"."""
    streams = "train:\n  model: {{config: {{model_type: gpt2}}}}\n  data: {{stream: {}, column: text}}\n"
    (tmp_path / "files.yaml").write_text(streams.format("./stories.arrow"))
    (tmp_path / "server.yaml").write_text(streams.format('local/x, server: "http://127.0.0.1:1"'))

    files = run(tmp_path, "dataset", "-t", "files.yaml", "--json")
    server = run(tmp_path, "dataset", "-t", "server.yaml")

    assert json.loads(files.stdout)["rows"] == len(STORIES), files.stderr
    assert (server.returncode, "http://127.0.0.1:1: Connection refused" in server.stderr) == (75, True)


def test_the_text_files_of_a_config_are_documents(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\nsecond line\n")
    (tmp_path / "train.yaml").write_text("train:\n  model: {config: {model_type: gpt2}}\n  data: {text: ['*.txt']}\n")

    told = json.loads(run(tmp_path, "dataset", "-t", "train.yaml", "--json").stdout)

    assert (told["rows"], told["examples"]) == (2, [{"text": "a\nsecond line\n"}, {"text": "b\nsecond line\n"}])


def test_progress_goes_to_whom_it_is_told(tmp_path: Path, stories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forgather_spool.dataset import fast_load_iterable_dataset

    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FORGATHER_DATASET_SERVER", raising=False)
    said: list[tuple[str, int, int]] = []

    with progress.told_to(lambda *what: said.append(what)):
        fast_load_iterable_dataset(str(stories))

    size = stories.stat().st_size
    assert ("bytes indexed", size, size) in said and ("blocks of 1,024 rows hashed", 1, 1) in said


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in the first two seconds, then one every five."""
    clock, lines = [100.0], list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    tell = progress.plain_lines(lines.append)

    for second in range(14):
        clock[0] = 100.0 + second
        tell("bytes indexed", second, 20)

    assert lines == [
        "forgather dataset: bytes indexed: 2 of 20 (10 %)",
        "forgather dataset: bytes indexed: 7 of 20 (35 %)",
        "forgather dataset: bytes indexed: 12 of 20 (60 %)",
    ]


@pytest.mark.parametrize("way", ["bar", "json", "quiet"])
def test_a_build_is_told_in_the_way_that_suits_its_reader(way: str) -> None:
    """On a terminal a bar that is gone in the end; with --json objects; with --quiet nothing."""
    program = (
        "import sys, forgather_spool.cli.dataset.progress as d, forgather_spool.dataset.progress as p\n"
        "d.BAR_AFTER_S = p.QUIET_S = 0\n"
        f"with d.progress_told(json_={way == 'json'}, quiet={way == 'quiet'}):\n"
        "    p.teller()('bytes indexed', 3, 4)\n"
    )
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=slave, check=True, timeout=60)
    os.write(slave, b"end")
    told = ""
    while not told.endswith("end"):
        told += os.read(master, 1000).decode()
    os.close(master)
    os.close(slave)

    if way == "bar":
        assert "[##################......] bytes indexed: 3 of 4 (75 %)" in told
        assert told.endswith("\r\x1b[Kend")
    else:
        line = json.dumps({"progress": "bytes indexed", "done": 3, "total": 4}) + "\r\n"
        assert told == (f"{line}end" if way == "json" else "end")
