"""In torch's loaders: with workers, in a StatefulDataLoader, and with other workers after a resume."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'forgather-spool[train]'")

from torch.utils.data import DataLoader, IterableDataset

from forgather_spool.dataset.iterable import ComposableIterableDataset
from forgather_spool.dataset.resuming import global_state
from forgather_spool.dataset.storage.opening import open_files
from tests.dataset.tables import write_stream

ROWS = 203


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGATHER_CACHE", str(folder / "cache"))
        yield open_files([write_stream(folder / "a.arrow", pa.table({"n": range(ROWS)}), [17, 60])], "arrow")


@pytest.fixture
def data(rows: Any) -> ComposableIterableDataset:
    return ComposableIterableDataset(rows).shuffle(1)


def batches(loader: Any) -> list[list[int]]:
    return [batch["n"].tolist() for batch in loader]


def flat(found: list[list[int]]) -> list[int]:
    return [number for batch in found for number in batch]


def test_it_is_an_iterable_dataset(data: ComposableIterableDataset) -> None:
    assert isinstance(data, IterableDataset) and isinstance(data, ComposableIterableDataset)


def test_torch_is_not_imported_for_those_who_do_without(rows: Any) -> None:
    """And an object made before torch was imported is an IterableDataset afterwards."""
    code = (
        "import pickle, sys\n"
        "from forgather_spool.dataset.iterable import ComposableIterableDataset\n"
        "data = ComposableIterableDataset(pickle.load(sys.stdin.buffer)).shuffle(1)\n"
        "list(data)\n"
        "assert 'torch' not in sys.modules\n"
        "from torch.utils.data import DataLoader\n"
        "print(sum(len(batch['n']) for batch in DataLoader(data, batch_size=8, num_workers=2)))\n"
    )
    import pickle

    found = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(rows), capture_output=True, check=True)

    assert int(found.stdout) == ROWS


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_share_the_rows_among_them(data: ComposableIterableDataset, workers: int) -> None:
    found = flat(batches(DataLoader(data, batch_size=8, num_workers=workers)))

    assert sorted(found) == list(range(ROWS))


def test_with_blocks_of_a_batch_workers_change_nothing(data: ComposableIterableDataset) -> None:
    alone = batches(DataLoader(data, batch_size=8))

    assert batches(DataLoader(data.reader_blocks(8), batch_size=8, num_workers=3)) == alone


def test_persistent_workers_hear_of_a_new_epoch(data: ComposableIterableDataset) -> None:
    loader = DataLoader(data.reader_blocks(8), batch_size=8, num_workers=2, persistent_workers=True)
    first = batches(loader)
    loader.dataset.set_epoch(1)
    second = batches(loader)

    assert first != second and sorted(flat(second)) == list(range(ROWS))
    data.set_epoch(1)
    assert second == batches(DataLoader(data, batch_size=8))


@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_that_starts_late_reads_the_epoch_of_the_others(
    data: ComposableIterableDataset, persistent: bool
) -> None:
    """Its pass began when the loader was asked for batches, whatever epoch the program is in by now."""
    may_start = torch.multiprocessing.Event()
    expected = {}
    for epoch in (1, 2):
        data.set_epoch(epoch)
        expected[epoch] = flat(batches(DataLoader(data, batch_size=5)))

    data.set_epoch(1)
    waiting = {"worker_init_fn": lambda worker: may_start.wait(30), "persistent_workers": persistent}
    loader = DataLoader(data, batch_size=5, num_workers=1, **waiting)
    begun = iter(loader)
    data.set_epoch(2)
    may_start.set()

    assert flat(batches(begun)) == expected[1]
    assert flat(batches(loader)) == expected[2]


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("block", [1, 8])
def test_the_state_after_so_many_batches_needs_no_stateful_loader(
    data: ComposableIterableDataset, workers: int, block: int
) -> None:
    """Torch's own loader asks nobody; the next one may have any number of workers, and the pass after it is whole."""
    data = data.reader_blocks(block)
    whole = batches(DataLoader(data, batch_size=8, num_workers=workers))
    state = json.loads(json.dumps(data.state_after(10, batch_size=8, workers=workers)))

    for others in (0, 1, 3):
        again = ComposableIterableDataset(data.rows).shuffle(1).reader_blocks(block)
        again.load_state_dict(state)
        loader = DataLoader(again, batch_size=8, num_workers=others)

        assert sorted(flat(whole[:10]) + flat(batches(loader))) == list(range(ROWS))
        assert sorted(flat(batches(loader))) == list(range(ROWS)), "not resumed twice"
        assert len(list(again)) == ROWS, "nor by another reader than the loader's workers"


@pytest.mark.parametrize(("workers", "stops"), [(0, [5, 6]), (2, [5, 6]), (3, [1, 8])])
def test_a_stateful_loader_resumes_exactly_twice(
    data: ComposableIterableDataset, workers: int, stops: list[int]
) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="needs torchdata").StatefulDataLoader

    def loader() -> Any:
        return stateful(ComposableIterableDataset(data.rows).shuffle(1), batch_size=8, num_workers=workers)

    whole, found, state = batches(loader()), [], None
    for stop in stops:
        now = loader()
        if state is not None:
            now.load_state_dict(state)
        found += [batch["n"].tolist() for batch in itertools.islice(now, stop)]
        state = now.state_dict()
    last = loader()
    last.load_state_dict(state)
    found += batches(last)

    assert found == whole


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 0), (0, 2)])
def test_a_stateful_loader_is_resumed_with_other_workers(
    data: ComposableIterableDataset, before: int, after: int
) -> None:
    """By way of the data set: torchdata itself takes only as many as there were."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="needs torchdata").StatefulDataLoader
    first = stateful(data, batch_size=8, num_workers=before)
    found = []
    for number, batch in enumerate(first, 1):
        found += batch["n"].tolist()
        if number == 7:
            break

    data.load_state_dict(json.loads(json.dumps(global_state(first.state_dict()))))
    found += flat(batches(stateful(data, batch_size=8, num_workers=after)))

    assert sorted(found) == list(range(ROWS))


def test_ranks_and_workers_both_change(data: ComposableIterableDataset) -> None:
    """Two ranks with two workers each, then three with one."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="needs torchdata").StatefulDataLoader
    found, states = [], []
    for rank in range(2):
        loader = stateful(data.shard(2, rank), batch_size=4, num_workers=2)
        found += [number for batch in itertools.islice(loader, 6) for number in batch["n"].tolist()]
        states.append(loader.state_dict())

    for rank in range(3):
        mine = data.shard(3, rank, remainder="keep")
        state = global_state(states)
        mine.load_state_dict(state)
        found += flat(batches(DataLoader(mine, batch_size=4, num_workers=1)))

    assert sorted(found) == list(range(ROWS))
