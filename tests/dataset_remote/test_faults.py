"""Whatever happens on the way, every example comes exactly once, in its place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")

from forgather_spool.dataset import ComposableIterableDataset, fast_load_iterable_dataset
from forgather_spool.dataset.errors import BrokenStream, ContentChanged
from forgather_spool.dataset.remote import ahead, patience, reading, server
from forgather_spool.dataset.storage import stored
from forgather_spool.dataset.walk import run
from forgather_spool.tls.store import default_store
from tests.dataset_remote.proxy import KINDS, Proxy
from tests.dataset_server.conftest import write
from tests.dataset_server.serving import Served

LONG = os.environ.get("FORGATHER_LONG_TESTS") == "1"
ROWS, FAULTS, BATCH_BYTES = 20_000, 2000 if LONG else 200, 16 << 10
WAITED_S = (ahead.PATIENCE_S, -1)  # -1: a thread wherever there may be one
Load = Callable[..., ComposableIterableDataset]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two megabytes: enough that a stream has many frames."""
    numbers = range(ROWS)
    data = pa.table({"number": numbers, "text": [f"{number} " * (number % 40) for number in numbers]})
    return write(tmp_path_factory.mktemp("many") / "many.arrow", data)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are a thousandth, as are the seconds after which a silent connection counts as dead."""
    monkeypatch.setattr(patience, "FIRST_S", 0.001)
    monkeypatch.setattr(patience, "LONGEST_S", 0.03)
    monkeypatch.setattr(server, "ANSWER_S", 0.3)


@pytest.fixture
def served(tmp_path: Path, many: Path, cache: None) -> Iterator[Served]:
    with Served(tmp_path / "home", local={"stories": str(many)}) as found:
        yield found


def numbers_of(data: ComposableIterableDataset) -> list[int]:
    """Of every row, in small batches, so that a fault may fall anywhere."""
    found: list[int] = []
    for at, batch in data.rows.batches(data.order, run(0, len(data.order)), batch_bytes=BATCH_BYTES):
        assert at == len(found)
        found += batch.column("number").to_pylist()
    return found


def test_no_fault_of_the_network_loses_or_repeats_a_row(
    served: Served, from_servers: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection gets one, at a byte drawn by lot: in the head of an answer, between frames, inside one."""
    monkeypatch.setenv("FORGATHER_DATASET_SERVER_TOKEN", str(served.token))
    faults: Counter[str] = Counter()
    seed = 0
    monkeypatch.setattr(ahead, "STRETCH", 7)
    while faults.total() < FAULTS:
        monkeypatch.setattr(ahead, "PATIENCE_S", WAITED_S[seed % 2])
        data = from_servers(served).shuffle(seed)
        with Proxy(served.port, seed, faults=40, within=range(250_000)) as proxy:
            assert numbers_of(_through(data, proxy)) == data.order.rows(0, ROWS).tolist()
        faults += Counter(proxy.done)
        seed += 1

    assert set(faults) == set(KINDS)


def _through(data: ComposableIterableDataset, proxy: Proxy) -> ComposableIterableDataset:
    """`data`, read by way of the proxy from now on."""
    [one] = data.rows._replicas.servers
    one.address = replace(one.address, port=proxy.port)
    while one._idle:
        one._idle.pop().close()
    return data


def test_nor_with_tls_and_a_token(tmp_path: Path, many: Path, cache: None, from_servers: Load) -> None:
    default_store().init(["127.0.0.1"], authority_name="lab", force=False)
    with Served(tmp_path / "home", local={"stories": str(many)}) as served:
        data = from_servers(served).shuffle(3)
        assert data.rows.servers[0].startswith("https:")
        with Proxy(served.port, 5, faults=12, within=range(250_000)) as proxy:
            assert numbers_of(_through(data, proxy)) == data.order.rows(0, ROWS).tolist()
            assert len(proxy.done) == 12


def test_a_stream_that_always_breaks_is_given_up_in_the_end(
    served: Served, from_servers: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a row in between: waiting longer would not help."""
    data = from_servers(served)
    monkeypatch.setattr(reading, "FRUITLESS", 3)
    with (
        Proxy(served.port, 1, faults=99, within=range(1000, 4000), kinds=["flip"]) as proxy,
        pytest.raises(BrokenStream),
    ):
        numbers_of(_through(data, proxy))


def test_files_that_change_under_the_server_are_an_error(
    tmp_path: Path, from_servers: Load, monkeypatch: pytest.MonkeyPatch, cache: None
) -> None:
    """Rewritten in place by others: the iteration ends, it does not go on with other rows."""
    path = write(tmp_path / "a.arrow", pa.table({"number": range(ROWS)}))
    with Served(tmp_path / "home", local={"stories": str(path)}) as served:
        data = from_servers(served)
        write(tmp_path / "b.arrow", pa.table({"number": range(1, ROWS + 1)}))
        os.replace(tmp_path / "b.arrow", path)

        monkeypatch.setattr(stored, "LOOK_AGAIN_S", 0.0)
        with pytest.raises(ContentChanged, match="has other data"):
            numbers_of(data)
        assert fast_load_iterable_dataset(str(path)).fingerprint != data.fingerprint
