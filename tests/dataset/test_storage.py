"""Storage: what was written comes back, row by row, in any sequence, whatever its type and wherever it lay."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

import numpy as np
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgather_spool.dataset.errors import BadDataset, ContentChanged
from forgather_spool.dataset.order import Order, Shuffle
from forgather_spool.dataset.rows import BATCH_BYTES
from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.dataset.walk import Walk, run
from forgather_spool.errors import StorageFailed, UsageError
from tests.dataset.tables import SHARED, tables, write_stream


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGATHER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dataset"


def collect(rows: Any, order: Order, walk: Walk, **options: Any) -> Any:
    """One table of all batches, each checked to begin where it says."""
    given = 0
    batches = []
    for start, batch in rows.batches(order, walk, **options):
        assert start == given and batch.num_rows
        given += batch.num_rows
        batches.append(batch)
    return pa.Table.from_batches(batches, rows.schema if "columns" not in options else None)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables(), sizes=st.lists(st.integers(1, 9), min_size=1), seed=st.integers(0, 9))
def test_any_rows_of_any_schema_are_what_was_written(tmp_path: Path, table: Any, sizes: list[int], seed: int) -> None:
    """Also with nulls, from several files of uneven batches, taken twice, as a slice and as a stream."""
    paths = [write_stream(tmp_path / f"{part}.arrow", table, sizes, part) for part in range(2)]
    whole = pa.concat_tables([table, table])

    rows = open_files(paths, "arrow", rebuild=True)

    wanted = np.random.default_rng(seed).integers(0, max(1, len(whole)), 40 if len(whole) else 0)
    assert len(rows) == len(whole) and rows.schema.equals(whole.schema, check_metadata=True)
    assert pa.Table.from_batches([rows.take(wanted)]).to_pylist() == whole.take(wanted).to_pylist()
    assert rows.slice(len(whole) // 3, len(whole)).to_pylist() == whole.slice(len(whole) // 3).to_pylist()
    rows.take(wanted).validate(full=True)
    order = Order(len(rows), (Shuffle(seed),))
    assert collect(rows, order, run(0, len(rows))).to_pylist() == whole.take(order.rows(0, len(whole))).to_pylist()
    assert collect(rows, Order(len(rows)), run(0, len(rows))).to_pylist() == whole.to_pylist()


def test_a_walk_of_a_rank_takes_its_rows_and_no_others(tmp_path: Path) -> None:
    table = pa.table({"n": range(10_000)})
    rows = open_files([write_stream(tmp_path / "a.arrow", table, [777])], "arrow")
    order = Order(10_000, (Shuffle(3),))

    found = collect(rows, order, Walk(first=5, count=300, block=4, step=8, stride=64))

    assert found["n"].to_pylist() == order.at(Walk(5, 300, 4, 8, 64).positions(0, 300)).tolist()


def test_columns_are_those_asked_for(tmp_path: Path) -> None:
    rows = open_files([write_stream(tmp_path / "a.arrow", SHARED, [3])], "arrow")
    for order in (Order(len(rows)), Order(len(rows), (Shuffle(1),))):
        assert collect(rows, order, run(0, len(rows)), columns=["text", "n"]).column_names == ["text", "n"]
    with pytest.raises(UsageError, match="no column 'absent'"):
        rows.batches(Order(len(rows)), run(0, 1), columns=["absent"])


def test_the_first_batch_is_small_and_the_others_fit_the_cache(tmp_path: Path) -> None:
    table = pa.table({"text": ["x" * 2000] * 5000})
    rows = open_files([write_stream(tmp_path / "a.arrow", table, [1000])], "arrow")

    sizes = [batch.num_rows for _, batch in rows.batches(Order(5000, (Shuffle(1),)), run(0, 5000))]

    assert sizes[0] == 64 and max(sizes) * 2000 <= BATCH_BYTES and sum(sizes) == 5000


@pytest.mark.parametrize("order", [Order(5000), Order(5000, (Shuffle(1),))], ids=["stored", "shuffled"])
def test_a_batch_is_as_large_as_is_wanted_when_its_turn_comes(tmp_path: Path, order: Order) -> None:
    """A server that gets more clients gives each less, also those it had before."""
    table = pa.table({"text": ["x" * 2000] * 5000})
    rows = open_files([write_stream(tmp_path / "a.arrow", table, [1000])], "arrow")
    wanted = iter([1 << 20, 1 << 20, *[1 << 17] * 5000])

    sizes = [batch.num_rows for _, batch in rows.batches(order, run(0, 5000), batch_bytes=lambda: next(wanted))]

    assert sizes[1] > 300 and max(sizes[2:]) < 100 and sum(sizes) == 5000


@pytest.mark.parametrize("start", [0, 1])
def test_rows_that_are_not_there_are_refused(tmp_path: Path, start: int) -> None:
    rows = open_files([write_stream(tmp_path / "a.arrow", SHARED, [3])], "arrow")
    with pytest.raises(UsageError, match="rows"):
        rows.take(np.array([start, len(rows)]))
    with pytest.raises(UsageError, match="rows"):
        rows.slice(start, len(rows) + 1)
    with pytest.raises(UsageError, match="order"):
        rows.batches(Order(len(rows) + 1), run(0, 1))
    with pytest.raises(UsageError, match="order"):
        rows.batches(Order(len(rows)), run(start, len(rows) + 1))


def test_the_fingerprint_is_of_the_rows_not_of_the_files(tmp_path: Path) -> None:
    """Moved, cut otherwise, or as Parquet: the same. One value changed: another."""
    pq.write_table(SHARED, tmp_path / "a.parquet")
    changed = SHARED.set_column(1, "text", pa.array(["other", *SHARED["text"].to_pylist()[1:]]))

    same = {
        open_files([write_stream(tmp_path / "one.arrow", SHARED, [2])], "arrow").fingerprint,
        open_files([write_stream(tmp_path / "two.arrow", SHARED, [7])], "arrow").fingerprint,
        open_files([tmp_path / "a.parquet"], "parquet").fingerprint,
    }

    assert len(same) == 1
    assert open_files([write_stream(tmp_path / "c.arrow", changed, [2])], "arrow").fingerprint not in same


def test_a_file_changed_in_place_is_an_error_while_in_use_and_a_new_index_afterwards(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    rows = open_files([path], "arrow")

    write_stream(path, SHARED.slice(0, 5), [3], in_place=True)

    for _ in range(2):  # after the first error there was a second in which rows came of what the file had become
        with pytest.raises(ContentChanged, match="changed since it was loaded"):
            rows.batches(Order(len(rows)), run(0, 1))
    with pytest.raises(ContentChanged, match="changed"):
        pickle.loads(pickle.dumps(rows))
    assert len(open_files([path], "arrow")) == 5


def test_touching_a_file_changes_nothing_but_costs_an_index(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    before = open_files([path], "arrow").fingerprint

    os.utime(path, ns=(1, 1))

    assert open_files([path], "arrow").fingerprint == before


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, "marker"])
def test_a_stream_cut_short_is_an_error_wherever_it_was_cut(tmp_path: Path, kept: Any) -> None:
    """Also at the border of two messages, where pyarrow itself says nothing."""
    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    size = os.path.getsize(path)
    os.truncate(path, size - 8 if kept == "marker" else int(size * kept))

    with pytest.raises(BadDataset, match=r"a\.arrow: "):
        open_files([path], "arrow")


ONES = pa.array(["a" * 5, "b" * 6, "c" * 7])
SPANS = [0, 5, 11, 18]


@pytest.mark.parametrize("wild", [[0, 5, 9999, 18], [0, -7, 11, 18], [0, 15, 11, 18], [-90, 5, 11, 18], [0, 5, 11, 99]])
@pytest.mark.parametrize(
    "column",
    [
        ONES,
        ONES.cast(pa.large_binary()),
        pa.array([[1] * 5, [2] * 6, [3] * 7], pa.list_(pa.int32())),
        pa.array([[1] * 5, [2] * 6, [3] * 7], pa.large_list(pa.timestamp("s"))),
        pa.StructArray.from_arrays([ONES], ["text"]),
        pa.array([[one] for one in ONES.to_pylist()]),
        pa.array([[(one, 1)] for one in ONES.to_pylist()], pa.map_(pa.string(), pa.int8())),
        pa.DictionaryArray.from_arrays([0, 1, 2], ONES),
    ],
    ids=lambda found: str(found.type)[:20],
)
def test_an_offset_that_leads_elsewhere_is_damage(tmp_path: Path, column: Any, wild: list[int]) -> None:
    """Not a value of other bytes of this program's memory, nor its end by SIGSEGV."""
    path = write_stream(tmp_path / "a.arrow", pa.table({"column": column}), [3])
    width = np.dtype("<i8" if "large" in str(column.type) else "<i4")
    raw = path.read_bytes()
    assert raw.count(np.array(SPANS, width).tobytes()) == 1
    path.write_bytes(raw.replace(np.array(SPANS, width).tobytes(), np.array(wild, width).tobytes()))

    with pytest.raises(BadDataset, match=r"a\.arrow: damaged"):
        open_files([path], "arrow")


def test_a_number_of_no_word_of_the_dictionary_is_damage(tmp_path: Path) -> None:
    numbers = np.array([2, 0, 1, 1, 2, 0, 1], "<i4")
    column = pa.DictionaryArray.from_arrays(pa.array(numbers), ONES)
    path = write_stream(tmp_path / "a.arrow", pa.table({"column": column}), [7])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(numbers.tobytes(), np.array([2, 0, 99_999_999, 1, 2, 0, -1], "<i4").tobytes()))

    with pytest.raises(BadDataset, match=r"a\.arrow.* damaged"):
        open_files([path], "arrow")


class Words(pa.ExtensionType):
    """A registered type over a dictionary."""

    def __init__(self) -> None:
        super().__init__(pa.dictionary(pa.int32(), pa.string()), "tests.words")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, _: bytes) -> Words:
        return cls()


def test_a_dictionary_within_a_type_of_others_is_read(tmp_path: Path) -> None:
    table = pa.table({"w": pa.ExtensionArray.from_storage(Words(), ONES.dictionary_encode())})
    pa.register_extension_type(Words())
    try:
        rows = open_files([write_stream(tmp_path / "a.arrow", table, [2])], "arrow")

        assert rows.take(np.arange(3)).to_pylist() == table.to_pylist()
    finally:
        pa.unregister_extension_type("tests.words")


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0" * 4096])
def test_a_damaged_index_is_made_again(tmp_path: Path, cache: Path, damage: bytes) -> None:
    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    before = open_files([path], "arrow").fingerprint
    (index,) = cache.glob("*.index")
    whole = index.read_bytes()

    for bad in (damage, whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        index.write_bytes(bad)
        rows = open_files([path], "arrow")

        assert rows.fingerprint == before and index.read_bytes() == whole
        assert rows.slice(0, len(SHARED)).to_pylist() == SHARED.to_pylist()


def test_an_index_of_a_machine_with_other_pages_is_none(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is mapped at the border of a page. In a shared cache each machine keeps its own index."""
    paths = [write_stream(tmp_path / f"{part}.arrow", SHARED, [3]) for part in range(3)]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("mmap.PAGESIZE", 65536)
        theirs = pickle.dumps(open_files(paths, "arrow"))
        made = {one: one.stat().st_mtime_ns for one in cache.glob("*.index")}

    rows = open_files(paths, "arrow")

    assert rows.take(np.arange(60)).to_pylist() == SHARED.to_pylist() * 3
    with pytest.raises(ContentChanged, match="no index of this machine"):
        pickle.loads(theirs)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("mmap.PAGESIZE", 65536)
        assert pickle.loads(theirs).take(np.arange(60)).to_pylist() == SHARED.to_pylist() * 3
    assert made.items() <= {one: one.stat().st_mtime_ns for one in cache.glob("*.index")}.items()


def test_a_copy_in_another_process_reads_the_same(tmp_path: Path) -> None:
    rows = open_files([write_stream(tmp_path / "a.arrow", SHARED, [3])], "arrow")

    other = pickle.loads(pickle.dumps(rows))

    assert other.fingerprint == rows.fingerprint
    assert other.take(np.arange(5)).equals(rows.take(np.arange(5)))


def test_batches_outlive_the_rows_they_came_from(tmp_path: Path) -> None:
    rows = open_files([write_stream(tmp_path / "a.arrow", SHARED, [3])], "arrow")
    _, batch = next(iter(rows.batches(Order(len(rows)), run(0, 3))))

    del rows

    assert batch.to_pylist() == SHARED.slice(0, 3).to_pylist()


@pytest.mark.parametrize("length", [3, 200, 4000])
def test_rows_taken_so_often_that_they_are_more_than_all_there_is(tmp_path: Path, length: int) -> None:
    table = pa.table({"text": ["x" * length, "", "y" * (length - 1), None, "z"] * 10})
    rows = open_files([write_stream(tmp_path / "x.arrow", table, [7])], "arrow")
    wanted = np.arange(len(table)).repeat(20)

    taken = rows.take(wanted)

    taken.validate(full=True)
    assert pa.Table.from_batches([taken]).equals(table.take(wanted).combine_chunks())


@pytest.mark.parametrize("damage", ["removed", "cut", "emptied"])
def test_a_copy_that_lacks_a_part_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    """Who cleans a cache removes single files, those nobody read for long."""
    path = tmp_path / "a.parquet"
    pq.write_table(SHARED, path)
    before = open_files([path], "parquet").fingerprint
    (copy,) = cache.glob("*.copy/*.arrow")
    if damage == "removed":
        copy.unlink()
    else:
        copy.write_bytes(copy.read_bytes()[:-20] if damage == "cut" else b"")

    rows = open_files([path], "parquet")

    assert rows.fingerprint == before and rows.slice(0, len(SHARED)).to_pylist() == SHARED.to_pylist()


def test_a_cache_that_takes_no_lock_file_is_said(tmp_path: Path, cache: Path) -> None:
    """A folder others may only read, a full disk, a quota: root is let in everywhere, so a folder is in the way."""
    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    open_files([path], "arrow")
    (lock,) = cache.glob("*.lock")
    lock.unlink()
    lock.mkdir()

    with pytest.raises(StorageFailed) as said:
        open_files([path], "arrow", rebuild=True)

    assert said.value.hint == "FORGATHER_CACHE names another folder"


def test_where_files_cannot_be_locked_several_build(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lustre without -o flock. What another host is writing there meanwhile stays."""

    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    path = write_stream(tmp_path / "a.arrow", SHARED, [3])
    open_files([path], "arrow")
    (index,) = cache.glob("*.index")
    theirs = index.with_name(f"{index.name}.0.tmp")
    theirs.touch()
    monkeypatch.setattr("fcntl.flock", refused)

    assert len(open_files([path], "arrow", rebuild=True)) == len(SHARED)
    assert theirs.exists()
