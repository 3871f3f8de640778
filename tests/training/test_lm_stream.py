"""The built-in trainer over a stream: its place in the data is in the checkpoint, wherever the data lie."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

for library in ("torch", "transformers", "tensorboard"):
    pytest.importorskip(library, reason=f"the built-in trainer needs {library}: pip install 'forgather-spool[train]'")
for library in ("aiohttp", "pyarrow", "awscrt"):
    pytest.importorskip(library, reason=f"needs {library}: pip install 'forgather-spool[dataset]'")

import numpy as np

from forgather_spool.dataset import ComposableIterableDataset, fast_load_iterable_dataset
from forgather_spool.errors import BadDocument
from forgather_spool.training.lm import stream
from tests.dataset_server.serving import Served
from tests.training.lm_runs import TEXT, Run, config

LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"
Starter = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    started: list[Run] = []

    def begin(document: dict[str, Any], *words: str, ranks: int = 1) -> Run:
        started.append(Run(tmp_path / f"run{len(started)}", document, *words, ranks=ranks))
        return started[-1]

    yield begin
    for run in started:
        run.kill()


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """The text as JSON lines: 70 documents."""
    path = tmp_path / "data" / "lines.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"text": line, "n": 1}) + "\n" for line in TEXT.splitlines()))
    return path


def streaming(folder: Path, **data: Any) -> dict[str, Any]:
    """Eight blocks of 32 a step; an epoch is about ten steps."""
    document = config(folder, max_steps=14, save_steps=3, save_total_limit=9)
    document["train"]["data"] = data
    return document


def test_a_run_goes_on_from_a_server_with_the_losses_of_one_without_a_break(
    start: Starter, tmp_path: Path, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on files here; resumed, in the first epoch and in the second, on a server that has them."""
    whole = start(streaming(tmp_path, stream=str(lines))).ended_well()
    losses = whole.losses()
    assert list(losses) == list(range(1, 15))
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))

    with Served(tmp_path / "home", local={"lines": str(lines)}, no_auth=True) as server:
        for step in (3, 12):
            folder = tmp_path / f"again{step}"
            folder.mkdir()
            document = streaming(folder, stream="local/lines", server=server.listening.url)
            shutil.copytree(whole.out, folder / "out")
            resumed = start(document, "--resume", str(folder / "out" / f"checkpoint-{step}")).ended_well()
            assert resumed.losses() == {at: loss for at, loss in losses.items() if at > step}
            assert "is not what it was" not in resumed.output, "the fingerprint says that it is"


def test_what_is_held_out_is_evaluated_and_a_run_that_was_broken_off_goes_on(
    start: Starter, tmp_path: Path, lines: Path
) -> None:
    """The same rows before and after the break: no evaluation differs."""
    document = streaming(tmp_path, stream=str(lines), validation=0.2)
    document["train"]["args"] |= {"max_steps": 6, "eval_strategy": "steps", "eval_steps": 3}
    whole = start(document).ended_well()
    evaluated = {record["global_step"]: record["eval_loss"] for record in whole.records() if "eval_loss" in record}
    assert list(evaluated) == [3, 6]

    resumed = start(document, "--resume", f"{whole.out}/checkpoint-3").ended_well()

    assert resumed.losses() == {at: loss for at, loss in whole.losses().items() if at > 3}
    again = [record["eval_loss"] for record in resumed.records() if "eval_loss" in record]
    assert again == [evaluated[6]]


@pytest.mark.parametrize("shuffled", [True, False])
def test_rows_held_out_are_never_trained_on(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffled: bool
) -> None:
    """In no epoch and with no seed; drawn from all over, or the last ones where the order stays."""
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    kept, held_out = stream.parted(fast_load_iterable_dataset(str(lines)), 0.1, shuffled)
    assert held_out is not None
    held = held_out.order.rows(0, len(held_out.order)).tolist()

    assert len(held) == 7
    assert (held != list(range(63, 70))) is shuffled
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        trained = kept.shuffle(seed) if shuffled else kept
        trained.set_epoch(epoch)
        assert sorted(trained.order.rows(0, 63).tolist() + held) == list(range(70))


@pytest.mark.parametrize(("share", "kept"), [(0.0, 70), (0.001, 70), (0.5, 35)])
def test_a_share_of_less_than_a_row_holds_nothing_out(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, kept: int
) -> None:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))

    rest, held_out = stream.parted(fast_load_iterable_dataset(str(lines)), share, True)

    assert len(rest) == kept and (held_out is None) is (kept == 70)


@pytest.mark.skipif(not LONG, reason="a minute of processor time: FORGATHER_LONG_TESTS=1")
def test_two_ranks_go_on_as_two_and_as_one(start: Starter, tmp_path: Path, lines: Path) -> None:
    """Each rank's position is saved; together they are enough for another number of ranks."""
    document = streaming(tmp_path, stream=str(lines))
    document["train"]["args"] |= {"max_steps": 6, "per_device_train_batch_size": 4}
    whole = start(document, ranks=2).ended_well()
    checkpoint = f"{whole.out}/checkpoint-3"
    losses = whole.losses()

    assert start(document, "--resume", checkpoint, ranks=2).ended_well().losses() == {
        at: loss for at, loss in losses.items() if at > 3
    }
    alone = start(document, "--resume", checkpoint).ended_well()
    assert list(alone.losses()) == [4, 5, 6]


def test_blocks_hold_every_token_once() -> None:
    """The last block of a group is filled up, and what fills it counts for no loss."""
    found = stream.cut(np.arange(10), 4, filler=99)

    assert found["input_ids"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 99, 99]]
    assert found["labels"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -100, -100]]
    assert len(stream.cut(np.arange(0), 4, filler=99)["labels"]) == 0


@pytest.fixture
def rows(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComposableIterableDataset:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    data = fast_load_iterable_dataset(str(lines)).select_columns("n").shuffle(1)
    return data.map(_numbers, batched=True, batch_size=8, with_indices=True, remove_columns="n")


def _numbers(_: Any, indices: list[int]) -> dict[str, np.ndarray]:
    return {"input_ids": np.array(indices)}


@pytest.mark.parametrize("steps", [1, 4, 7, 8, 15])
def test_a_position_is_that_of_the_last_batch_that_was_given(
    rows: ComposableIterableDataset, tmp_path: Path, steps: int
) -> None:
    """Also where a batch takes the end of one epoch and the beginning of the next."""
    reader = iter(stream.Batches(rows, 9))
    given = [next(reader)["input_ids"].tolist() for _ in range(20)]
    again = rows.with_format(None)
    again.set_epoch(0)
    first = iter(stream.Batches(again, 9))
    for _ in range(steps):
        next(first)
    stream.save_position(again, str(tmp_path), rank=0, ranks=1)

    fresh = rows.with_format(None)
    stream.load_position(fresh, str(tmp_path), rank=0, ranks=1)
    resumed = iter(stream.Batches(fresh, 9))

    assert [next(resumed)["input_ids"].tolist() for _ in range(20 - steps)] == given[steps:]


def test_ranks_may_change_within_an_epoch(rows: ComposableIterableDataset, tmp_path: Path) -> None:
    """Two ranks' positions are enough for three, none of whose rows was trained on before."""
    seen: list[int] = []
    for rank in range(2):
        data = rows.shard(2, rank, remainder="keep")
        reader = iter(stream.Batches(data, 4))
        seen += [int(number) for _ in range(rank + 2) for number in next(reader)["input_ids"]]
        stream.save_position(data, str(tmp_path), rank=rank, ranks=2)

    for rank in range(3):
        data = rows.shard(3, rank, remainder="keep")
        stream.load_position(data, str(tmp_path), rank=rank, ranks=3)
        seen += [int(example["input_ids"]) for example in data]

    assert sorted(seen) == list(range(70))


def test_a_stream_without_text_is_said() -> None:
    class Nothing:
        epoch = 0

        def __iter__(self) -> Iterator[Any]:
            return iter(())

    with pytest.raises(BadDocument, match="there is no text in it"):
        next(iter(stream.Batches(Nothing(), 2)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"column": "txt"}, "there is no 'txt'"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_what_cannot_be_streamed_says_why(
    start: Starter, tmp_path: Path, lines: Path, change: dict[str, Any], words: str
) -> None:
    document = streaming(tmp_path, stream=str(lines))
    if "max_steps" in change:
        del document["train"]["args"]["max_steps"]
    else:
        document["train"]["data"].update(change)

    run = start(document)

    assert run.end() != 0 and words in run.output
    assert "Traceback" not in run.output
