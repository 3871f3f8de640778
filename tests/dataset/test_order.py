"""The orders: what is pinned, what every order must be, and that any place is as good as the start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from forgather_spool.errors import UsageError

np = pytest.importorskip("numpy", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from forgather_spool.dataset import permutation
from forgather_spool.dataset.order import Cut, Order, Shuffle, Window, parse_order
from forgather_spool.dataset.permutation import key_of, mix

WORD = (1 << 64) - 1
SEEDS = st.integers(-(2**70), 2**70)


def plain_feistel(position: int, size: int, key: int) -> int:
    """`feistel6-v1` from 65,536 rows on, in plain integers, as docs/explanation/dataset-order.md has it."""
    bits = (size - 1).bit_length()
    left_bits, right_bits = bits // 2, bits - bits // 2
    value = position
    while True:
        left, right = value >> right_bits, value & ((1 << right_bits) - 1)
        for number in range(6):
            word = ((right if number % 2 == 0 else left) + mix(key + (number + 1) * permutation.GOLDEN)) & WORD
            word = (word * permutation.GOLDEN) & WORD
            word = ((word ^ (word >> 32)) * permutation.ROUND & WORD) >> 32
            if number % 2 == 0:
                left ^= word & ((1 << left_bits) - 1)
            else:
                right ^= word & ((1 << right_bits) - 1)
        value = left << right_bits | right
        if value < size:
            return value


@pytest.mark.parametrize("size", [65_536, 65_537, 131_071, 131_072, 1_000_003, 365_000_000, 2**40 + 1])
def test_the_vectorised_shuffle_is_the_plain_one(size: int) -> None:
    """numpy in blocks and Python in single integers agree at the start, in the middle and at the end."""
    places = [*range(50), *range(size // 2, size // 2 + 50), *range(size - 50, size)]

    found = Order(size, (Shuffle(42, 3),)).at(np.array(places, np.int64))

    assert found.tolist() == [plain_feistel(place, size, key_of(42, 3)) for place in places]


PAGE = Path(__file__).resolve().parents[2] / "docs/explanation/dataset-order.md"


def vectors(columns: int) -> list[list[str]]:
    """The rows of the page's tables of test vectors that have so many columns."""
    lines = [line.strip("| ").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in cells] for cells in lines if len(cells) == columns and cells[0].strip()[0].isdigit()
    ]


def whole(text: str) -> int:
    return 2**40 + 1 if "2⁴⁰" in text else int(text.replace(",", ""))


def test_the_page_and_the_code_say_the_same() -> None:
    """The test vectors other languages are checked against are pinned here, by the page itself."""
    shuffles = [(whole(n), Shuffle(int(seed), int(epoch)), *rows) for n, seed, epoch, *rows in vectors(5)]
    windows = [
        (whole(n), Window(int(seed), int(epoch), whole(block), int(blocks)), *rows)
        for n, seed, epoch, block, blocks, *rows in vectors(7)
    ]
    assert (len(shuffles), len(windows)) == (7, 2)
    for size, layer, first, last in [*shuffles, *windows]:
        order = Order(size, (layer,))
        starts, ends = list(map(int, first.split())), list(map(int, last.split()))

        assert order.rows(0, len(starts)).tolist() == starts
        assert order.rows(size - len(ends), size).tolist() == ends


def test_keys_are_pinned() -> None:
    assert mix(1) == 0x5692161D100B05E5
    keys = [key_of(seed, epoch) for seed, epoch in ((0, 0), (42, 0), (42, 3), (-1, 0))]
    assert keys == [0xA706DD2F4D197E6F, 0x57E1FABA65107204, 0x113E5DEC6F8FD8A8, 0x5DC20AA7B2A27137]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(Shuffle(42, 3), "d32e9c41337abc6f"), (Window(42, 0), "83648549bf6484f6")],
)
def test_whole_orders_are_pinned_by_their_hash(layer: Shuffle | Window, expected: str) -> None:
    size = 100_003 if isinstance(layer, Shuffle) else 300_000

    found = hashlib.sha256(Order(size, (layer,)).rows(0, size).astype("<i8").tobytes()).hexdigest()

    assert found[:16] == expected


@given(size=st.integers(1, 3000), seed=SEEDS, epoch=st.integers(0, 1000))
def test_a_small_set_is_sorted_by_a_keyed_hash(size: int, seed: int, epoch: int) -> None:
    key = key_of(seed, epoch)

    expected = sorted(range(size), key=lambda row: mix(key + (row + 1) * permutation.GOLDEN))

    assert Order(size, (Shuffle(seed, epoch),)).rows(0, size).tolist() == expected


@settings(deadline=None, max_examples=40)
@given(size=st.one_of(st.integers(1, 4000), st.integers(65_000, 140_000)), seed=SEEDS, epoch=st.integers(0, 9))
def test_every_row_comes_exactly_once(size: int, seed: int, epoch: int) -> None:
    for layer in (Shuffle(seed, epoch), Window(seed, epoch), Window(seed, epoch, block_rows=7, blocks=300)):
        rows = Order(size, (layer,)).rows(0, size)

        assert len(np.unique(rows)) == size and rows.min() == 0 and rows.max() == size - 1


@settings(deadline=None)
@given(data=st.data(), size=st.integers(1, 200_000), seed=SEEDS)
def test_starting_anywhere_is_the_tail_of_starting_at_the_beginning(data: st.DataObject, size: int, seed: int) -> None:
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, min(size, start + 5000)))
    for layer in (Shuffle(seed), Window(seed, 1, block_rows=16, blocks=5)):
        order = Order(size, (layer,))

        assert order.rows(start, stop).tolist() == order.rows(0, stop)[start:].tolist()


def test_a_window_reads_few_blocks_at_a_time() -> None:
    """Each 64 x 1,024 positions come from 64 blocks of 1,024 stored rows, and not in their sequence."""
    order = Order(1_000_000, (Window(5),))

    first = order.rows(0, 64 * 1024)

    assert len(np.unique(first // 1024)) == 64
    assert np.abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.02


def test_neighbours_of_a_shuffle_are_as_far_apart_as_chance_has_it() -> None:
    """Lag-1 correlation, and rows of the same thousand side by side (0.1 % of 1,000,000 by chance)."""
    rows = Order(1_000_000, (Shuffle(11),)).rows(0, 1_000_000)

    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.005
    assert 0.0005 < np.mean(rows[:-1] // 1000 == rows[1:] // 1000) < 0.0015


def test_seeds_and_epochs_have_nothing_in_common() -> None:
    """Two orders agree in about one place, as two random ones would."""
    orders = [Order(100_000, (Shuffle(seed, epoch),)).rows(0, 100_000) for seed in (1, 2) for epoch in (0, 1)]

    agreeing = [int(np.sum(one == other)) for i, one in enumerate(orders) for other in orders[:i]]

    assert max(agreeing) < 12


def test_layers_are_taken_from_the_rows_up() -> None:
    order = Order(1000).then(Cut(0, 800)).then(Shuffle(7)).then(Cut(0, 80))

    assert len(order) == 80
    assert order.rows(0, 80).tolist() == Order(800, (Shuffle(7),)).rows(0, 80).tolist()


@pytest.mark.parametrize("text", ["all", "rows:3-9", "feistel6-v1:-7.2", "rows:0-800/window-v1:7.2.16.4/rows:1-80"])
def test_the_text_of_an_order_is_all_there_is_to_it(text: str) -> None:
    order = parse_order(text, 1000)

    assert order.text == text
    assert parse_order(order.text, 1000).rows(0, len(order)).tolist() == order.rows(0, len(order)).tolist()


@pytest.mark.parametrize(
    "text", ["", "rows", "rows:9-3", "rows:0-1001", "rows:-1-3", "feistel6-v1", "feistel6-v1:1", "feistel7:1.2", "all/",
             "feistel6-v1:1.2.3", "window-v1:1.2.0.4", "window-v1:1.2.4611686018427387905.1",
             "window-v1:1.2.-3.-4", "window-v1:1.2.99999999999.99999999999", "feistel6-v1:٣.0", "rows:0-" + "9" * 5000]
)  # fmt: skip
def test_what_is_not_an_order_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="order"):
        parse_order(text, 1000)
