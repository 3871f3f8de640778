"""Bytes nobody would write on purpose, made from bytes somebody did: values swapped for poison, then bytes damaged.

Endless and the same for the same seed, so that a failure is reproduced by its test alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

POISON_BYTES: tuple[bytes, ...] = (
    b"", b"\0", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\x80", b"\xed\xa0\x80", b"\x1b[2J\x1b]0;x\x07", b"\r\n\r\n",
    b"%",
    b"[" * 3_000, b'{"a":' * 3_000, b"[" * 100_000, b"1" * 5_000, b"-", b"1e999", b"-1e999", b"0x10", b"NaN",
    b"-Infinity",
    b'"\\ud800"', b'"\\u0000"', b"true", b"null", b"{}", b"[]", b'{"a":1,"a":2}', b"../../../etc/passwd", b"--", b"\\",
    b"%00", b"%2e%2e%2f", "١٢".encode(), "½".encode(), "²".encode(), "\u0130\u0131\u017f\u212a".encode(), b":",
    b",,", b"::", b"[::1",
)  # fmt: skip

POISON_VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**19, 10**25, 1.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), "", " ", "\0", "\ud800", "\ufeff", "\x1b[31m", "a\nb", "é", "0", "-1",
    "%s",
    "../..", "/", "=", "{}", "{0}", "$HOME", "q_1738012412345_a1b2c3d4", "q_9999999999999999_00000000", "0-9",
    "0-9999999:1",
    "99999999999999999999", "0-0:0", "1-,", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "20261121T034012Z",
    "2026-W47-6T00:00+00:00", "2026-11-21/03:40:12Z", "2026-11-21T03:40:12", "2026-02-30T00:00:00Z", "24:00",
    "https://[",
    [], [[]], [None], [1], ["a", None], [{}], {}, {"": ""}, {"a=b": "c"}, {"\ud800": 1}, {"a": {"a": {"a": {}}}},
    {"job": ""}, {"version": 2}, [[[[[[[[[[]]]]]]]]]],
)  # fmt: skip

LONG_VALUE = "a" * 70_000  # one in a thousand: to write and read it takes a hundred times as long
ONE_IN_A_THOUSAND = 0.001


def documents(seeds: Sequence[object], seed: int) -> Iterator[bytes]:
    """JSON objects in which one to three values are not what they should be; one in four damaged as bytes too."""
    chance = random.Random(seed)
    as_they_are, escaped = (json.JSONEncoder(ensure_ascii=is_escaped).encode for is_escaped in (False, True))
    good = [json.loads(json.dumps(one)) for one in seeds]
    while True:
        value = chance.choice(good)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            value = _spoilt(value, chance)
        written = escaped if chance.random() < 0.5 else as_they_are
        text = written(value).encode("utf-8", "surrogatepass")
        yield damaged(text, chance) if chance.random() < 0.25 else text


def texts(seeds: Sequence[str], seed: int) -> Iterator[str]:
    """Words of a command line: what argv can hold, so without NUL and with bytes that are no UTF-8 as surrogates."""
    chance = random.Random(seed)
    alphabet = sorted(set("".join(seeds)))
    while True:
        text = chance.choice(seeds).encode()
        for _ in range(chance.choice((1, 1, 2, 4))):
            if chance.random() < 0.5:
                at = chance.randrange(len(text) + 1)
                text = text[:at] + "".join(chance.choices(alphabet, k=chance.randrange(1, 4))).encode() + text[at:]
            else:
                text = damaged(text, chance)
        yield text.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def _spoilt(value: object, chance: random.Random) -> object:
    """Another value: `value` with a poison somewhere in it, or a key more, or a key less."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        how = chance.random()
        if how < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if how < 0.15:
            return {**value, str(chance.choice(POISON_VALUES)): chance.choice(POISON_VALUES)}
        return {**value, key: _spoilt(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _spoilt(value[at], chance), *value[at + 1 :]]
    return LONG_VALUE if chance.random() < ONE_IN_A_THOUSAND else chance.choice(POISON_VALUES)


def damaged(text: bytes, chance: random.Random) -> bytes:
    """`text` cut, or with a byte, a poison or a piece of itself in it, or less a piece."""
    at = chance.randrange(len(text) + 1)
    match chance.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
        case 2:
            return text[:at] + chance.choice(POISON_BYTES) + text[at:]
        case 3:
            end = min(len(text), at + chance.randrange(1, 9))
            return text[:at] + text[at:end] * chance.randrange(2, 5) + text[end:]
    return text[:at] + text[at + chance.randrange(1, 9) :]
