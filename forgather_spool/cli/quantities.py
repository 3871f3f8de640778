"""Sizes, durations and numbers as people write them on a command line.

    size       10G  512M  1.5GiB  4096     K, M, G, T are powers of 1024, as in systemd; with or without B or iB
    duration   90  90s  30m  2h  1d  1h30m  36:00:00     a bare number is seconds; HH:MM:SS as in Slurm

Pure, and without `re`: `forgather submit` pays for every import here.
"""

from __future__ import annotations

from forgather_spool.errors import UsageError

SIZE_FORMS = "10G, 512M or 1.5GiB (K, M, G, T are powers of 1024)"
DURATION_FORMS = "90s, 30m, 2h, 1d, 1h30m or HH:MM:SS"

_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_DIGITS = 18


def size_bytes(text: str) -> int:
    """Whole bytes, rounded down. Raises UsageError."""
    plain = text.strip().lower()
    digits = plain.rstrip("bikmgt")
    unit = plain[len(digits) :]
    for ending in ("ib", "b"):
        if unit.endswith(ending):
            unit = unit[: -len(ending)]
            break
    if unit not in _SIZE_UNITS or not _is_decimal(digits) or (plain.endswith("ib") and not unit):
        raise UsageError(f"{text!r} is not a size", hint=f"e.g. {SIZE_FORMS}")
    whole, _, fraction = digits.partition(".")
    scale: int = 10 ** len(fraction)  # in integers: 0.1T is not what floats make of it
    total: int = int((whole or "0") + fraction) * _SIZE_UNITS[unit] // scale
    return total


def size_text(size_bytes: int) -> str:
    """For people, e.g. "4.2 GiB"; `size_bytes` reads it back without the space."""
    amount, unit = float(size_bytes), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < (1024 if unit == "bytes" else 999.5) or unit == "TiB":  # three digits, never "1e+03"
            break
        amount /= 1024
    return f"{size_bytes:,} bytes" if unit == "bytes" else f"{amount:.3g} {unit}"


def duration_s(text: str) -> float:
    """Seconds; of a compound each unit at most once, in any order. Raises UsageError."""
    plain = text.strip().lower()
    if ":" in plain:
        return _clock_s(plain)
    if _is_decimal(plain):
        return float(plain)
    total_s, rest, seen = 0.0, plain, ""
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(digits) : len(digits) + 1]
        if not _is_decimal(digits) or unit not in _DURATION_UNITS_S or unit in seen:
            raise UsageError(f"{text!r} is not a duration", hint=f"e.g. {DURATION_FORMS}")
        total_s += float(digits) * _DURATION_UNITS_S[unit]
        seen += unit
        rest = rest[len(digits) + 1 :]
    if not seen:
        raise UsageError(f"{text!r} is not a duration", hint=f"e.g. {DURATION_FORMS}")
    return total_s


def time_limit_s(text: str) -> float:
    """Seconds a job may take. Raises UsageError: also for none at all, which some systems take for no limit."""
    limit_s = duration_s(text)
    if not limit_s:
        raise UsageError(
            f"{text!r} leaves no time to run", hint=f"leave it out for no limit; else e.g. {DURATION_FORMS}"
        )
    return limit_s


def _clock_s(text: str) -> float:
    parts = text.split(":")
    if len(parts) != 3 or not all(_is_digits(part) for part in parts) or int(parts[1]) > 59 or int(parts[2]) > 59:
        raise UsageError(f"{text!r} is not a duration", hint=f"e.g. {DURATION_FORMS}")
    hours, minutes, seconds = (int(part) for part in parts)
    return float(hours * 3600 + minutes * 60 + seconds)


def whole_number(text: str) -> int:
    """An integer in decimal digits, with a sign or without. Raises UsageError."""
    plain = text.strip()
    if not _is_digits(plain[1:] if plain[:1] in ("-", "+") else plain):
        raise UsageError(f"{text!r} is not a whole number", hint="e.g. 2")
    return int(plain)


def decimal_number(text: str) -> float:
    """A number without a sign. Raises UsageError."""
    plain = text.strip()
    if not _is_decimal(plain):
        raise UsageError(f"{text!r} is not a number", hint="e.g. 1.5")
    return float(plain)


def _is_digits(text: str) -> bool:
    return 0 < len(text) <= _MAX_DIGITS and not text.strip("0123456789")


def _is_decimal(text: str) -> bool:
    whole, dot, fraction = text.partition(".")
    return _is_digits(whole + fraction) and (not dot or bool(fraction))
