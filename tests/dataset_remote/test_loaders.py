"""In torch's loaders, over a network that fails: the batches that files give, also with another number of readers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'forgather-spool[train]'")

from torch.utils.data import DataLoader

from forgather_spool.dataset import ComposableIterableDataset, global_state
from forgather_spool.dataset.remote import patience, server
from tests.dataset_remote.proxy import Proxy
from tests.dataset_remote.test_faults import _through
from tests.dataset_server.conftest import write
from tests.dataset_server.serving import Served

ROWS, BATCH = 6000, 8
Load = Callable[..., ComposableIterableDataset]


@pytest.fixture
def served(tmp_path: Path, cache: None) -> Iterator[Served]:
    path = write(tmp_path / "data.arrow", pa.table({"number": range(ROWS), "text": ["x" * 600] * ROWS}))
    with Served(tmp_path / "home", local={"stories": str(path)}) as found:
        yield found


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_S", 0.001)
    monkeypatch.setattr(server, "ANSWER_S", 0.5)


def loader(data: ComposableIterableDataset, workers: int) -> Any:
    return DataLoader(data, batch_size=BATCH, num_workers=workers)


def numbers(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch["number"].tolist()]


def test_workers_read_on_through_faults_in_mid_epoch(served: Served, from_servers: Load) -> None:
    """Each worker has connections of its own, and each of those a fault."""
    data = from_servers(served).shuffle(1).reader_blocks(BATCH)
    expected = data.order.rows(0, ROWS).tolist()

    with Proxy(served.port, 3, faults=20, within=range(200_000)) as proxy:
        assert numbers(loader(_through(data, proxy), workers=2)) == expected
        assert len(proxy.done) >= 10


@pytest.mark.parametrize("seed", range(3))
def test_ranks_and_workers_change_in_mid_epoch(served: Served, from_servers: Load, seed: int) -> None:
    """Saved with R ranks x W workers, resumed with others, and a third time: each example once, ranks equally long."""
    chance = random.Random(seed)
    data = from_servers(served).shuffle(seed)
    read: list[int] = []
    state: dict[str, Any] | None = None
    with Proxy(served.port, seed, faults=12, within=range(300_000), kinds=["cut", "flip"]) as proxy:
        _through(data, proxy)
        for turn in range(3):
            ranks, workers = chance.choice([1, 2, 3]), chance.choice([0, 1, 2])
            shards = [data.shard(ranks, rank, remainder="keep") for rank in range(ranks)]
            counts, states = [], []
            steps = chance.randrange(20, 60)
            for shard in shards:
                if state is not None:
                    shard.load_state_dict(state)
                found = loader(shard, workers)
                batches = list(found) if turn == 2 else [batch for batch, _ in zip(found, range(steps), strict=False)]
                counts.append(len(batches))
                read += numbers(batches)
                states.append(shard.state_after(len(batches), BATCH, workers))
            state = global_state(states[:1])
            assert max(counts) - min(counts) <= (0 if turn < 2 else workers + 1)

    assert sorted(read) == list(range(ROWS))
