"""What a check says, and what all checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from forgather_spool.spool.queue import Spool


class Level(StrEnum):
    """How bad it is. Only `fail` makes `forgather doctor` exit 1."""

    OK = "ok"
    NOTE = "note"  # works; something is worth knowing
    WARN = "warn"  # works today, and may lose or withhold something
    FAIL = "fail"  # jobs do not run, or are not safe


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer. `says` is what is true, `mend` what to do about it; empty where nothing is to be done."""

    name: str
    level: Level
    says: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The spool and the machine to look at.

    `no_manager`: why no systemd user manager can be used here, None where one
    answers. `now_unix_s` is the wall clock when the looking began.
    """

    spool: Spool
    environ: Mapping[str, str]
    host_name: str
    no_manager: str | None
    now_unix_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding that does not know its check's name yet."""

    level: Level
    says: str
    mend: str = ""


def ok(says: str) -> Verdict:
    return Verdict(Level.OK, says)


def note(says: str, mend: str = "") -> Verdict:
    return Verdict(Level.NOTE, says, mend)


def warn(says: str, mend: str) -> Verdict:
    return Verdict(Level.WARN, says, mend)


def fail(says: str, mend: str) -> Verdict:
    return Verdict(Level.FAIL, says, mend)


def some(names: list[str], shown: int = 3) -> str:
    """The first few, and how many more."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
