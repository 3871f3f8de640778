"""What a training script holds: resumed anywhere, by anyone, it gives what it would have given."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from forgather_spool.dataset.errors import ContentChanged, StateMismatch
from forgather_spool.dataset.iterable import ComposableIterableDataset
from forgather_spool.dataset.resuming import global_state
from forgather_spool.dataset.storage.opening import open_files
from forgather_spool.errors import UsageError
from tests.dataset.tables import write_stream

ROWS = 230


@pytest.fixture(scope="module", autouse=True)
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGATHER_CACHE", str(folder / "cache"))
        table = pa.table({"n": range(ROWS), "text": [f"row {number}" for number in range(ROWS)]})
        yield open_files([write_stream(folder / "a.arrow", table, [17, 60, 3])], "arrow")


@pytest.fixture
def data(rows: Any) -> ComposableIterableDataset:
    return ComposableIterableDataset(rows)


def numbers(examples: Any, count: int | None = None) -> list[int]:
    return [example["n"] for example in itertools.islice(examples, count)]


def odd(example: dict[str, Any]) -> bool:
    return bool(example["n"] % 2)


def tenfold(example: dict[str, Any]) -> dict[str, Any]:
    return {"n": example["n"] * 10}


def thrice(batch: dict[str, Any]) -> dict[str, Any]:
    """Three of each, and none of every fifth."""
    return {"n": [n for n in batch["n"] if n % 5 for _ in range(3)]}


def pairs(batch: dict[str, Any]) -> dict[str, Any]:
    """Packs: fewer come out than went in."""
    return {"n": [sum(batch["n"][start : start + 2]) for start in range(0, len(batch["n"]), 2)]}


PIPELINES: dict[str, Callable[[ComposableIterableDataset], ComposableIterableDataset]] = {
    "plain": lambda data: data,
    "mapped": lambda data: data.map(tenfold),
    "filtered": lambda data: data.map(tenfold).filter(lambda one: one["n"] % 30 == 0),
    "batched": lambda data: data.map(thrice, batched=True, batch_size=7, remove_columns="text"),
    "twice": lambda data: (
        data.filter(odd)
        .map(thrice, batched=True, batch_size=7, remove_columns="text")
        .map(pairs, batched=True, batch_size=4)
    ),
}
ANY = st.sampled_from(sorted(PIPELINES))


def test_examples_come_as_stored_and_again_in_the_next_iteration(data: ComposableIterableDataset) -> None:
    assert list(data)[3] == {"n": 3, "text": "row 3"}
    assert numbers(data) == numbers(data) == list(range(ROWS))
    assert len(data) == ROWS


def test_a_shuffle_is_of_all_rows_and_another_one_in_each_epoch(data: ComposableIterableDataset) -> None:
    shuffled = data.shuffle(5)
    first = numbers(shuffled)
    shuffled.set_epoch(1)
    second = numbers(shuffled)
    shuffled.set_epoch(0)

    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second and first == numbers(shuffled) == numbers(data.shuffle(6).shuffle(5))
    assert first == data.shuffle(5).order.rows(0, ROWS).tolist()


def test_parts_of_a_shuffled_whole_stay_apart_in_every_epoch(data: ComposableIterableDataset) -> None:
    train, held_out = data.shuffle(5).slice(0, "80%").shuffle(7), data.shuffle(5).slice("80%", None)
    for epoch in range(3):
        train.set_epoch(epoch)
        held_out.set_epoch(epoch)

        assert not set(numbers(train)) & set(numbers(held_out))
        assert len(numbers(train)) + len(numbers(held_out)) == ROWS


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 10, range(10)), (-5, None, range(225, 230)), (0.5, "60%", range(115, 138)), (None, "10%", range(23)),
     ("10", "-200", range(10, 30))],
)  # fmt: skip
def test_a_slice_is_said_in_many_ways(data: ComposableIterableDataset, start: Any, end: Any, expected: range) -> None:
    assert numbers(data.slice(start, end)) == list(expected)


@pytest.mark.parametrize(("start", "end"), [(0, 231), (5, 5), (-231, None), (0.5, "40%"), ("x", None), (1.5, None)])
def test_a_slice_that_cannot_be_is_refused(data: ComposableIterableDataset, start: Any, end: Any) -> None:
    with pytest.raises(UsageError):
        data.slice(start, end)


def test_select_take_and_skip(data: ComposableIterableDataset) -> None:
    assert numbers(data.select(range(3, 6))) == numbers(data.select([3, 4, 5])) == [3, 4, 5]
    assert numbers(data.take(2)) == [0, 1] and numbers(data.skip(228)) == [228, 229]
    with pytest.raises(UsageError, match="consecutive"):
        data.select([1, 3])
    assert numbers(data.select([-2, -1])) == [228, 229]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: data.set_epoch(-1),  # was taken, and no state could be loaded any more
        lambda data: data.set_epoch(1.5),
        lambda data: data.set_epoch(1 << 62),
        lambda data: data.shuffle(10**40),  # the same
        lambda data: data.shuffle(1.7),
        lambda data: data.shuffle("seven"),
        lambda data: data.skip_next(-1),  # gave a row twice
        lambda data: data.skip_next(1.5),
        lambda data: data.take(-1),  # was all but one
        lambda data: data.skip(-1),
        lambda data: data.shard(0, 0),
        lambda data: data.shard(2.0, 1),
        lambda data: data.shard("2", 1),
        lambda data: data.shard(2, 1, remainder="no"),  # was "keep"
        lambda data: data.reader_blocks("4"),
        lambda data: data.select(5),
        lambda data: data.select("12"),
        lambda data: data.select([1.0, 2.0]),
        lambda data: data.map(dict, batched=True, batch_size=2.0),
        lambda data: data.state_after(-1, 4),
        lambda data: data.state_after(1, 0),
        lambda data: data.state_after(1, 1, -1),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_where_they_are_given(
    data: ComposableIterableDataset, wrong: Callable[[ComposableIterableDataset], Any]
) -> None:
    with pytest.raises(UsageError):
        wrong(data)


def test_numbers_of_other_libraries_are_numbers(data: ComposableIterableDataset) -> None:
    import numpy as np

    one, two = np.int64(1), np.uint8(2)

    assert data.shuffle(one).shard(two, one).order == data.shuffle(1).order
    assert numbers(data.select(np.arange(3, 5, dtype=np.uint8)).shard(two, one)) == [4]
    assert len(list(data.iter(np.int64(100)))) == 3


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_ranks_get_equal_parts_of_a_shuffle_and_no_row_twice(data: ComposableIterableDataset, ranks: int) -> None:
    parts = [numbers(data.shuffle(1).shard(ranks, rank)) for rank in range(ranks)]

    assert {len(part) for part in parts} == {ROWS // ranks} == {len(data.shard(ranks, 0))}
    assert len(set().union(*parts)) == ROWS // ranks * ranks


def test_shards_of_shards_are_shards(data: ComposableIterableDataset) -> None:
    parts = [numbers(data.shard(2, a).shard(3, b, remainder="keep")) for a in range(2) for b in range(3)]

    assert sorted(number for part in parts for number in part) == list(range(ROWS))


@settings(deadline=None, max_examples=150)
@given(pipeline=ANY, seed=st.one_of(st.none(), st.integers(0, 3)), stops=st.lists(st.integers(0, 90), max_size=3))
def test_resumed_again_and_again_it_is_as_if_never_stopped(
    rows: Any, pipeline: str, seed: int | None, stops: list[int]
) -> None:
    """The second resume is as good as the first; the state goes through JSON each time."""

    def fresh() -> ComposableIterableDataset:
        data = ComposableIterableDataset(rows)
        return PIPELINES[pipeline](data if seed is None else data.shuffle(seed)).shard(2, 1)

    found: list[int] = []
    data = fresh()
    for stop in stops:
        found += numbers(data, stop)
        state = json.loads(json.dumps(data.state_dict()))
        data = fresh()
        data.load_state_dict(state)
        assert data.state_dict() == state
    found += numbers(data)

    assert found == numbers(fresh())
    assert numbers(data) == numbers(fresh()), "the iteration after a resumed one is whole"


@settings(deadline=None, max_examples=150)
@given(pipeline=ANY, shapes=st.lists(st.integers(1, 4), min_size=1, max_size=3), draw=st.data())
def test_other_ranks_go_on_with_what_is_left(rows: Any, pipeline: str, shapes: list[int], draw: st.DataObject) -> None:
    """Each rank stopped anywhere, the next ranks more or fewer: every example exactly once."""
    whole = sorted(numbers(PIPELINES[pipeline](ComposableIterableDataset(rows))))
    data = PIPELINES[pipeline](ComposableIterableDataset(rows).shuffle(4))
    found: list[int] = []
    state = data.state_dict()
    for ranks in shapes:
        states = []
        for rank in range(ranks):
            mine = data.shard(ranks, rank, remainder="keep")
            mine.load_state_dict(state)
            found += numbers(mine, draw.draw(st.integers(0, 60)))
            states.append(mine.state_dict())
        state = json.loads(json.dumps(global_state(states)))
    data.load_state_dict(state)
    found += numbers(data)

    if pipeline in ("plain", "mapped", "filtered"):
        assert sorted(found) == whole
    elif pipeline == "batched":
        assert sorted(found) == whole, "three of each, whoever gives them out"
    else:
        assert sum(found) == sum(whole), "which two make a pair depends on who reads them, but each is in one"


def test_a_rank_in_step_speaks_for_all(data: ComposableIterableDataset) -> None:
    shuffled = data.shuffle(4)
    first = [shuffled.shard(4, rank) for rank in range(4)]
    found = [number for one in first for number in numbers(one, 25)]

    second = [shuffled.shard(3, rank) for rank in range(3)]
    for one in second:
        one.load_state_dict(first[2].state_dict())
        found += numbers(one)

    assert len(found) == len(set(found)) == 100 + 130 // 3 * 3


def test_states_of_filtered_ranks_must_all_be_given(data: ComposableIterableDataset) -> None:
    """They are at the same step, not at the same row."""
    one = data.filter(odd).shard(2, 0)
    numbers(one, 3)
    with pytest.raises(StateMismatch, match="rank 0 of 2, and this is rank 0 of 3"):
        other = data.filter(odd).shard(3, 0)
        other.load_state_dict(one.state_dict())
        next(iter(other))
    with pytest.raises(StateMismatch, match="rank 1: 0 states"):
        global_state([one.state_dict()])


def test_ranks_in_different_epochs_go_on_each_for_itself_and_never_as_another_number(
    data: ComposableIterableDataset,
) -> None:
    """Where maps give rows of different lengths, one rank is in the next epoch before another."""
    ranks = [data.shuffle(1).filter(odd).shard(2, rank) for rank in range(2)]
    numbers(ranks[0], 5)
    numbers(ranks[1])
    ranks[1].set_epoch(1)
    numbers(ranks[1], 3)
    states = [one.state_dict() for one in ranks]
    assert [state["epoch"] for state in states] == [0, 1]

    with pytest.raises(StateMismatch, match="epochs 0 and 1"):
        global_state(states)
    for rank, state in enumerate(states):
        for other in (data.shuffle(1).filter(odd).shard(3, rank), data.shuffle(1).filter(odd)):
            other.load_state_dict(state)
            with pytest.raises(StateMismatch, match=f"rank {rank} of 2"):
                next(iter(other))

    for rank, state in enumerate(states):
        again = data.shuffle(1).filter(odd).shard(2, rank)
        again.load_state_dict(state)
        whole = data.shuffle(1).filter(odd).shard(2, rank)
        whole.set_epoch(rank)
        assert again.epoch == rank and numbers(again) == numbers(whole)[5 - 2 * rank :]


def test_other_data_another_order_and_other_maps_are_refused(data: ComposableIterableDataset, tmp_path: Path) -> None:
    state = data.shuffle(1).state_dict()
    other = open_files([write_stream(tmp_path / "b.arrow", pa.table({"n": range(ROWS)}), [9])], "arrow")

    with pytest.raises(ContentChanged, match="of other data"):
        ComposableIterableDataset(other).shuffle(1).load_state_dict(state)
    for mine in (data.shuffle(2), data, data.slice(0, 100).shuffle(1)):
        with pytest.raises(StateMismatch, match="order"):
            mine.load_state_dict(state)
    with pytest.raises(StateMismatch, match="maps"):
        data.shuffle(1).map(tenfold).load_state_dict(state)


@pytest.mark.parametrize("state", [{}, {"version": 2}, {"version": 1}, [], {"version": 1, "fingerprint": "x"}])
def test_what_is_no_state_is_refused(data: ComposableIterableDataset, state: Any) -> None:
    with pytest.raises(StateMismatch):
        data.load_state_dict(state)


@pytest.mark.parametrize(
    "told", [{"taken": 10**9}, {"taken": 10**30}, {"lane": {"ranks": 10**9}}, {"lane": {"ranks": 2, "block": 10**30}}]
)
def test_a_state_of_more_than_can_be_is_refused(data: ComposableIterableDataset, told: dict[str, Any]) -> None:
    """Each rank and each row taken was gone through: for hours, and in all memory."""
    numbers(data, 5)
    state = {**data.state_dict(), **told}
    state["lane"] = {**data.state_dict()["lane"], **told.get("lane", {})}

    with pytest.raises(StateMismatch, match="not a data set's state"):
        data.load_state_dict(state)


def test_readers_whose_state_could_not_be_loaded_are_refused(data: ComposableIterableDataset) -> None:
    with pytest.raises(UsageError, match="1000000000 shards"):
        data.shard(10**9, 0)
    with pytest.raises(UsageError, match="a block has"):
        data.reader_blocks(10**18)


def test_a_drawn_seed_is_in_the_state(data: ComposableIterableDataset) -> None:
    first, second = data.shuffle(), data.shuffle()
    found = numbers(first, 100)

    second.load_state_dict(first.state_dict())

    assert sorted(found + numbers(second)) == list(range(ROWS))
    second.set_epoch(1)
    first.set_epoch(1)
    assert numbers(first) == numbers(second)


def test_the_epoch_being_resumed_is_gone_on_with_and_the_next_is_whole(data: ComposableIterableDataset) -> None:
    first = data.shuffle(3)
    first.set_epoch(2)
    found = numbers(first, 50)
    second = data.shuffle(3)
    second.load_state_dict(first.state_dict())

    second.set_epoch(2)
    assert sorted(found + numbers(second)) == list(range(ROWS))
    second.set_epoch(3)
    assert len(numbers(second)) == ROWS


def test_what_is_made_of_a_data_set_that_goes_on_goes_on_too(data: ComposableIterableDataset) -> None:
    """A state loaded one line too early was forgotten without a word, and the epoch began anew."""
    data.skip_to(100)

    assert numbers(data.with_format("numpy").shard(2, 1)) == list(range(101, ROWS, 2))
    assert numbers(data.map(tenfold).select_columns("n").filter(lambda example: True), 2) == [1000, 1010]
    assert numbers(data.slice(0, 50), 1) == [0]  # another order: the place is not in it
    assert numbers(data, 1) == [100]


def test_a_state_within_a_batch_is_of_its_maps_alone(data: ComposableIterableDataset) -> None:
    grown = data.map(thrice, batched=True, batch_size=10, remove_columns="text")
    reader = iter(grown)
    next(reader)
    grown.load_state_dict(grown.state_dict())

    with pytest.raises(UsageError, match="within a batch"):
        grown.map(tenfold)


def test_one_jumps_by_hand(data: ComposableIterableDataset) -> None:
    data.skip_to(200)
    assert numbers(data, 3) == [200, 201, 202]
    data.skip_next(10)
    assert numbers(data) == list(range(213, 230))
    data.skip_next(5)
    assert numbers(data) == []
    assert len(numbers(data)) == ROWS


def test_batches_are_columns(data: ComposableIterableDataset) -> None:
    batches = list(data.shuffle(2).shard(2, 0).iter(20))

    assert [len(batch["n"]) for batch in batches] == [20] * 5 + [15]
    assert [n for batch in batches for n in batch["n"]] == numbers(data.shuffle(2).shard(2, 0))
    assert len(list(data.iter(100, drop_last_batch=True))) == 2
    mapped = data.map(tenfold)
    assert [n for batch in mapped.iter(64) for n in batch["n"]] == numbers(mapped)


def test_a_map_sees_positions_columns_and_arguments(data: ComposableIterableDataset) -> None:
    """An index is the place in the order, whichever rank it comes to."""
    ranked = data.shuffle(3).shard(2, 1).map(lambda n, index, plus: {"index": index, "m": n + plus},
        with_indices=True, input_columns="n", remove_columns=["text"], fn_kwargs={"plus": 1000})  # fmt: skip

    found = list(itertools.islice(ranked, 3))

    assert [one["index"] for one in found] == [1, 3, 5]
    assert all(one.keys() == {"n", "index", "m"} and one["m"] == one["n"] + 1000 for one in found)


def test_a_map_that_gives_none_drops_the_example(data: ComposableIterableDataset) -> None:
    assert numbers(data.map(lambda one: one if one["n"] > 227 else None)) == [228, 229]


def test_a_map_that_cannot_be_merged_is_named(data: ComposableIterableDataset) -> None:
    with pytest.raises(UsageError, match="columns of different lengths"):
        next(iter(data.map(lambda batch: {"n": [1]}, batched=True)))
    with pytest.raises(UsageError, match="returned int"):
        next(iter(data.map(lambda example: 3)))


def test_what_only_some_examples_have_is_none_in_the_others(data: ComposableIterableDataset) -> None:
    """A batch had the columns of its first example, and what else the others had was lost."""

    def marked(example: dict[str, Any]) -> dict[str, Any]:
        return {"odd": True} if example["n"] % 2 else {}

    some = data.map(marked, remove_columns="text")

    assert next(some.iter(4))["odd"] == [None, True, None, True]
    assert list(some.map(dict, batched=True, batch_size=2))[:2] == [{"n": 0, "odd": None}, {"n": 1, "odd": True}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.map(lambda batch: {"n": 3}, batched=True), "'n' is int"),
        (lambda data: data.map(lambda batch: {"n": "230"}, batched=True), "'n' is str"),
        (lambda data: data.map(lambda batch: {"n": iter(batch["n"])}, batched=True), "'n' is list_iterator"),
        (lambda data: data.map(dict, input_columns="absent"), "no column 'absent'"),
        (lambda data: data.map(None), "no function"),
        (lambda data: data.filter(lambda batch: [True], batched=True), "returned 1 for 230"),
        (lambda data: data.filter(lambda batch: True, batched=True), "returned bool for 230"),
        (lambda data: data.map(dict).with_format("arrow"), "gives tables"),
    ],
)
def test_what_a_function_may_not_give_is_said(
    data: ComposableIterableDataset, change: Callable[[ComposableIterableDataset], Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        list(change(data))


def test_the_length_of_what_is_filtered_is_learned(data: ComposableIterableDataset) -> None:
    half = data.filter(odd)
    numbers(half)

    assert len(half) == ROWS // 2
    assert len(data.map(tenfold)) == ROWS


def test_what_was_cut_comes_before_what_was_dealt_out(data: ComposableIterableDataset) -> None:
    for late in (data.shard(2, 0), data.filter(odd)):
        with pytest.raises(UsageError, match="slice comes before"):
            late.slice(0, 10)


def test_only_the_columns_asked_for_are_read(data: ComposableIterableDataset) -> None:
    assert list(data.select_columns("text"))[2] == {"text": "row 2"}
    assert list(data.remove_columns(["text"]))[2] == {"n": 2}
    with pytest.raises(UsageError, match="no column"):
        data.select_columns("absent")


def test_columns_come_in_the_sequence_asked_for_shuffled_or_not(data: ComposableIterableDataset) -> None:
    """As many as are stored, but in another sequence: that is not "all of them"."""
    turned = data.select_columns(["text", "n"])

    assert list(next(iter(turned))) == list(next(iter(turned.shuffle(1)))) == turned.column_names == ["text", "n"]
    with pytest.raises(UsageError, match="named twice"):
        data.select_columns(["n", "n"])


def test_without_any_column_there_are_still_the_rows(data: ComposableIterableDataset) -> None:
    bare = data.remove_columns(["n", "text"])

    assert bare.column_names == []
    assert list(bare) == list(bare.shuffle(1)) == list(bare.iter(1)) == [{}] * ROWS
    assert len(list(bare.with_format("numpy").iter(100))) == 3


def test_it_can_be_sent_to_another_process(data: ComposableIterableDataset) -> None:
    shuffled = data.shuffle(3)
    numbers(shuffled, 10)
    state = shuffled.state_dict()

    other = pickle.loads(pickle.dumps(shuffled))

    other.load_state_dict(state)
    assert numbers(other) == numbers(data.shuffle(3))[10:]
