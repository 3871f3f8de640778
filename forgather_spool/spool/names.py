"""The names of jobs and of their files, made and understood: ids, members of arrays, entries of the queue, attempts.

A spec's name carries its id and, until it is done, its priority:
``<job_id>.p<N>.json``. The priority stays in the name while the job runs, so
that a job put back after a crash keeps the place it had. The members of an
array are jobs called ``<family>[<index>]``, where the family is an id as well.

Touches no file; without `re` but where a
whole queue is listed: `forgather submit` pays for every import here.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = tuple[int, str]  # (-priority, job id); `start_order` sorts them
MAX_PRIORITY_DIGITS = 8
FIRST_ATTEMPT = 1
ATTEMPT_PREFIX = "attempt-"
MAX_ATTEMPT_DIGITS = 6
MAX_INDEX_DIGITS = 7
MAX_STAMP_DIGITS = 14  # of milliseconds: what a calendar reaches
_BEHIND_BRACKET = "\\"  # the next character: no member's id of the same array comes after it
_TAIL = ".from-"
_TAIL_DIGITS = 15


def new_job_id() -> str:
    """``q_<unix ms>_<8 hex>``; ids one host makes sort in the order they were made.

    The first five hex digits are the nanoseconds within the millisecond, the
    other three are random: two hosts of one spool do not meet.
    """
    ms, ns = divmod(time.time_ns(), 1_000_000)
    return f"q_{ms:013d}_{ns:05x}{int.from_bytes(os.urandom(2), 'big') & 0xFFF:03x}"


def is_job_id(text: str) -> bool:
    """Milliseconds as we write them, or the predecessor's ten-digit seconds; with an index, a member of an array."""
    parts = text.split("_")
    if len(parts) != 3 or parts[0] != "q":
        return False
    _, stamp, tail = parts
    tail, bracket, index = tail.partition("[")
    if not (10 <= len(stamp) <= MAX_STAMP_DIGITS and len(tail) == 8):
        return False
    if bracket and not (index.endswith("]") and _is_index(index[:-1])):
        return False
    return _all_in(stamp, "0123456789") and _all_in(tail, "0123456789abcdef")


def member_id(family: str, index: int) -> str:
    return f"{family}[{index}]"


def short_id(job_id: str) -> str:
    """What is after the time: enough to name it by (`look.find`), and to tell it from others on a narrow screen."""
    return job_id.rpartition("_")[2] if is_job_id(job_id.replace("[*]", "")) else job_id


def is_short_id(text: str) -> bool:
    return is_job_id(f"q_0000000000_{text}")


def family_of(job_id: str) -> str | None:
    """The id of the array that a job is a member of; None for a job of its own."""
    family, bracket, _ = job_id.partition("[")
    return family if bracket else None


def index_of(job_id: str) -> int | None:
    """Its index in its array; None for a job of its own."""
    _, bracket, index = job_id.partition("[")
    return int(index[:-1]) if bracket else None


def submitted_unix_s(job_id: str) -> float:
    """When the id was made, in Unix seconds."""
    stamp = job_id.split("_")[1]
    return int(stamp) / (1000 if len(stamp) > 10 else 1)


def entry_name(job_id: str, priority: int) -> str:
    return f"{job_id}.p{priority}.json"


def start_order(entry: Entry) -> Entry:
    """What to sort entries by: members of an array start by their number, so ``[9]`` comes before ``[10]``."""
    minus_priority, job_id = entry
    if "[" not in job_id:
        return minus_priority, f"{job_id}\0"  # as below, for most jobs
    family, _, index = job_id.partition("[")
    return minus_priority, f"{family}{chr(len(index))}{index}"  # of two numbers the longer one is larger


class Ordered(list[Entry]):
    """Entries in start order. `any_member`: some are of arrays; to find out again costs what sorting did."""

    any_member = False


def in_start_order(entries: list[Entry]) -> Ordered:
    """Sorted by `start_order`, in a third of the time: strings alone compare fast, and sorting is stable."""
    from operator import itemgetter  # not for a submit, which sorts nothing

    by_id = Ordered(entries)
    by_id.any_member = any_member(map(itemgetter(1), entries))
    by_id.sort(key=itemgetter(1))
    if by_id.any_member:
        _put_members_in_order(by_id)
    by_id.sort(key=itemgetter(0))
    return by_id


def _put_members_in_order(by_id: list[Entry]) -> None:
    """By their number, where they stand one behind the other as strings do: ``[10]`` before ``[9]``."""
    from bisect import bisect_left
    from operator import itemgetter

    at = 0
    while at < len(by_id):
        family = family_of(by_id[at][1])
        if family is None:
            at += 1
            continue
        end = bisect_left(by_id, f"{family}{_BEHIND_BRACKET}", lo=at, key=itemgetter(1))
        by_id[at:end] = sorted(by_id[at:end], key=lambda entry: len(entry[1]))  # of two numbers the longer is larger
        at = end


def end_of_family(entries: list[Entry], at: int) -> int:
    """Where the members of an array end that stand one behind the other from `at` on, in start order."""
    from bisect import bisect_left

    minus_priority, job_id = entries[at]
    behind = minus_priority, f"{family_of(job_id)}{_BEHIND_BRACKET}"
    return bisect_left(entries, behind, lo=at, key=start_order)


def any_member(job_ids: Iterable[str]) -> bool:
    """Whether any of these is a member of an array; one search for a hundred thousand."""
    return "[" in "".join(job_ids)


def parse_entry(name: str) -> Entry | None:
    """``(-priority, job_id)`` of a spec's name; `start_order` sorts these. None: no name of ours."""
    stem, dot, ending = name.rpartition(".")
    job_id, p, digits = stem.partition(".p")
    if ending != "json" or not dot or not p or not is_job_id(job_id):
        return None
    number = digits[1:] if digits.startswith("-") else digits
    if not number or len(number) > MAX_PRIORITY_DIGITS or not _all_in(number, "0123456789"):
        return None
    if entry_name(job_id, int(digits)) != name:  # p007, p-0: one job, one name
        return None
    return -int(digits), job_id


def parse_entries(names: list[str]) -> list[Entry]:
    """`parse_entry` of each name that is one of ours, in no order: in a quarter of the time, for a hundred thousand."""
    import re  # 5 ms: whoever lists a queue has it anyway, a submit does not list
    from itertools import repeat
    from operator import itemgetter

    job_id = rf"q_[0-9]{{10,{MAX_STAMP_DIGITS}}}_[0-9a-f]{{8}}(?:\[(?:0|[1-9][0-9]{{0,{MAX_INDEX_DIGITS - 1}}})\])?"
    priority = rf"0|-?[1-9][0-9]{{0,{MAX_PRIORITY_DIGITS - 1}}}"
    joined = f"/{'/'.join(names)}/"  # no name has a slash in it
    first = names[0].rpartition(".p")[2].removesuffix(".json") if names else ""
    have_one = bool(re.fullmatch(priority, first)) and joined.count(f".p{first}.json/") == len(names)
    if have_one:  # as mostly; then it takes half as long
        alike = re.findall(rf"/({job_id})\.p{first}\.json(?=/)", joined)
        return list(zip(repeat(-int(first)), alike, strict=False))
    found = re.findall(rf"/({job_id})\.p({priority})\.json(?=/)", joined)
    job_ids, digits = map(itemgetter(0), found), list(map(itemgetter(1), found))
    minus = {text: -int(text) for text in set(digits)}
    return list(zip(map(minus.__getitem__, digits), job_ids, strict=True))


def parse_attempt(name: str) -> int | None:
    """The number of an attempt's folder, from 2 on. None: the name is no such folder's."""
    digits = name.removeprefix(ATTEMPT_PREFIX)
    if digits == name or not digits or len(digits) > MAX_ATTEMPT_DIGITS or not _all_in(digits, "0123456789"):
        return None
    number = int(digits)
    return number if number > FIRST_ATTEMPT and str(number) == digits else None


def _is_index(text: str) -> bool:
    """A number spelled as we do: without zeros before it, so that one member has one name."""
    return 0 < len(text) <= MAX_INDEX_DIGITS and _all_in(text, "0123456789") and (text == "0" or text[0] != "0")


def _all_in(text: str, alphabet: str) -> bool:
    return not text.strip(alphabet)


def output_tail(output_path: str, start: int) -> str:
    """Where the part of a job's output lies that begins with byte `start`, once ``output.log`` has its share.

    With zeros before it, so that a shell's ``output.log*`` is in order.
    """
    return f"{output_path}{_TAIL}{start:0{_TAIL_DIGITS}d}"


def output_tail_start(name: str) -> int | None:
    """The byte a file of this name begins with; None: it is no part of an output."""
    _, tail, digits = name.rpartition(_TAIL)
    return int(digits) if tail and len(digits) >= _TAIL_DIGITS and _all_in(digits, "0123456789") else None
