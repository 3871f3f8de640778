"""Shuffles one can enter anywhere: `feistel6-v1`, and the arithmetic `window-v1` is built of.

What is written here is a promise to other languages and to states saved years
ago: docs/explanation/dataset-order.md is the same text with test vectors.
Nothing may change but by a new name. Knows no files, no rows, only numbers.

    mix(x)             the finaliser of splitmix64; all arithmetic is modulo 2**64
    key(seed, epoch)   mix(mix(seed + G) + epoch * G + G)
    n < 65,536         position p holds the p-th smallest of mix(key + (row + 1) * G)
    n >= 65,536        six rounds of an alternating Feistel network on
                       ceil(log2(n)) bits; results >= n are walked on

Small sets are sorted because a Feistel network is a poor shuffle of few
elements; large ones are not because a sort needs memory for each row.
"""

from __future__ import annotations

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
ROUND = 0xD6E8FEB86659FD93
ROUNDS = 6
SORTED_BELOW = 65_536
WORD = (1 << 64) - 1
CHUNK = 16_384  # positions at a time: the intermediate arrays stay in the second-level cache


def mix(value: int) -> int:
    """splitmix64's finaliser: a bijection of 64-bit words."""
    value &= WORD
    value = ((value ^ (value >> 30)) * FIRST) & WORD
    value = ((value ^ (value >> 27)) * SECOND) & WORD
    return value ^ (value >> 31)


def key_of(seed: int, epoch: int) -> int:
    """One 64-bit key of any two integers (each is taken modulo 2**64)."""
    return mix(mix(seed + GOLDEN) + epoch * GOLDEN + GOLDEN)


class Permutation:
    """A permutation of ``range(size)``; `at` looks up any positions, in any order.

    Holds no memory for each element from 65,536 elements on.
    """

    def __init__(self, size: int, key: int) -> None:
        self.size = size
        self.key = key & WORD
        self._sorted: np.ndarray | None = None
        bits = max(1, (size - 1).bit_length())
        self._right_bits = np.uint64(bits - bits // 2)
        self._left_mask = np.uint64((1 << (bits // 2)) - 1)
        self._right_mask = np.uint64((1 << (bits - bits // 2)) - 1)
        self._round_keys = [np.uint64(mix(self.key + (i + 1) * GOLDEN)) for i in range(ROUNDS)]

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The elements at `positions` (int64, each in ``range(size)``), as int64."""
        if self.size < SORTED_BELOW:
            return self._by_sorting()[positions]
        found = np.empty(len(positions), np.int64)
        for start in range(0, len(positions), CHUNK):
            found[start : start + CHUNK] = self._walked(positions[start : start + CHUNK].astype(np.uint64))
        return found

    def _by_sorting(self) -> np.ndarray:
        if self._sorted is None:
            ranks = np.arange(1, self.size + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(self.key)
            self._sorted = np.argsort(_mix_all(ranks)).astype(np.int64)  # no two are equal: mix is a bijection
        return self._sorted

    def _walked(self, values: np.ndarray) -> np.ndarray:
        found = self._rounds(values)
        size = np.uint64(self.size)
        outside = np.flatnonzero(found >= size)
        while len(outside):
            found[outside] = self._rounds(found[outside])
            outside = outside[found[outside] >= size]
        return found

    def _rounds(self, values: np.ndarray) -> np.ndarray:
        left = values >> self._right_bits
        right = values & self._right_mask
        for number, key in enumerate(self._round_keys):
            if number % 2 == 0:
                left ^= _round(right, key) & self._left_mask
            else:
                right ^= _round(left, key) & self._right_mask
        left <<= self._right_bits
        left |= right
        return left


def _round(half: np.ndarray, key: np.uint64) -> np.ndarray:
    word = half + key
    word *= np.uint64(GOLDEN)
    word ^= word >> np.uint64(32)
    word *= np.uint64(ROUND)
    word >>= np.uint64(32)
    return word


def _mix_all(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(SECOND)
    return values ^ (values >> np.uint64(31))
