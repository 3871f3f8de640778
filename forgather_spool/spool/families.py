"""Which jobs are meant by a few words: also the members of an array, all or some of them.

    q_...           a job; of an array, all its members
    q_...[7]        one member
    q_...[3-7,9]    those of them that have not been removed; ``[*]`` is all
    eval            the latest job of that name; where that is a member, its whole array

Numbers and places come from names: no file is opened here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from forgather_spool import array
from forgather_spool.errors import BadDocument, NoSuchJob, UsageError
from forgather_spool.frozen import dataclass
from forgather_spool.spool import files
from forgather_spool.spool.batch import help_along
from forgather_spool.spool.ended import ended_among, ended_ids
from forgather_spool.spool.look import Job, find, is_meant, look, read
from forgather_spool.spool.names import (
    Entry,
    family_of,
    index_of,
    is_job_id,
    is_short_id,
    parse_entries,
    submitted_unix_s,
)
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import (
    Place,
    active_places,
    all_job_ids,
    held_places,
    locate,
    locate_at_a_glance,
    rejected_places,
    waiting_places,
)
from forgather_spool.spool.queue import Spool

FEW = 8  # so many are looked for one by one; more, in one look at the spool


def find_all(spool: Spool, texts: Sequence[str]) -> list[str]:
    """The ids of the jobs meant, each once, in the order they are named; members by their number.

    Raises:
        NoSuchJob: nothing fits one of them, or several jobs that are no array.
        UsageError: what stands in the brackets is no selection.
    """
    return list(dict.fromkeys(job_id for text in texts for job_id in _meant(spool, text)))


def find_one(spool: Spool, text: str) -> str:
    """The id of the one job meant, as `look.find` has it; or of the one member that a selection leaves: ``eval[7]``.

    Raises:
        NoSuchJob: nothing fits, or several jobs, such as an array by its name.
        UsageError: what stands in the brackets is no selection.
    """
    found = _one_or_family(spool, text)
    if len(found) > 1:
        what = f"{len(found)} jobs" if "[" in text else f"an array of {len(found)} jobs"
        raise NoSuchJob(f"{text} is {what}, and one is needed here", hint=f"one of them: {found[0]}")
    return found[0]


def _one_or_family(spool: Spool, text: str) -> list[str]:
    try:
        job_id = find(spool, text)
    except NoSuchJob:
        whole, _, selection = text.partition("[")
        if whole and selection.endswith("]"):
            return _selected(spool, whole, selection[:-1])
        family = None if is_job_id(text) else _family_that_begins(spool, text)
        if family is None:
            raise
        return members(spool, family)
    family = None if job_id == text or is_meant(job_id, text) else family_of(job_id)
    return [job_id] if family is None else members(spool, family)


def _meant(spool: Spool, text: str) -> list[str]:
    if is_job_id(text):
        if family_of(text) or locate_at_a_glance(spool, text) is not None:
            return [_existing(spool, text)]
        return members(spool, text) or [_existing(spool, text)]
    whole, bracket, selection = text.partition("[")
    if bracket and selection.endswith("]") and whole:
        return _named_so(spool, text) or _selected(spool, whole, selection[:-1])
    family = _family_that_begins(spool, text)
    if family is not None:
        return members(spool, family)
    job_id = find(spool, text)
    family = None if is_meant(job_id, text) else family_of(job_id)
    return [job_id] if family is None else members(spool, family)


def _named_so(spool: Spool, text: str) -> list[str]:
    """The job whose very name ends like a selection: people name jobs as they like."""
    try:
        return [] if text.startswith("q_") else [find(spool, text)]
    except NoSuchJob:
        return []


def _existing(spool: Spool, job_id: str) -> str:
    if locate(spool, job_id) is None:
        raise NoSuchJob(f"no job {job_id}", hint="forgather sched list --all")
    return job_id


def _selected(spool: Spool, whole: str, selection: str) -> list[str]:
    if selection == array.ALL:
        found = [job_id for job_id in _meant(spool, whole) if index_of(job_id) is not None]
        beyond: list[int] = []
    else:
        try:
            wanted = array.indexes(selection)
        except BadDocument as error:
            raise UsageError(f"[{selection}]: {error.problem}", hint="such as [7], [0-9], [1,3,5-9] or [*]") from None
        there = {index: job_id for job_id in _meant(spool, whole) if (index := index_of(job_id)) is not None}
        found = [there[index] for index in wanted if index in there]
        beyond = _never_there(spool, found[0], wanted) if 0 < len(found) < len(wanted) else []
    if not found:
        raise NoSuchJob(f"no member {whole}[{selection}]", hint="forgather sched list --all --members")
    if beyond:
        had = f"[{array.spell(_indexes_of(spool, found[0]))}]"
        raise NoSuchJob(f"no member {whole}[{array.spell(beyond)}]: the array is {had}", hint=f"'{whole}[*]' is all")
    return found


def _never_there(spool: Spool, member: str, wanted: list[int]) -> list[int]:
    """Which of these indexes its array never had: a slip of whoever wrote them, unlike a member that was removed."""
    had = frozenset(_indexes_of(spool, member))
    return [index for index in wanted if index not in had] if had else []


def _indexes_of(spool: Spool, member: str) -> list[int]:
    """What its array was submitted with; empty where the spec cannot tell."""
    spec = look(spool, member).spec
    wanted = None if spec is None else spec.document.get("array")
    return array.indexes(str(wanted["indexes"])) if isinstance(wanted, dict) else []


def _family_that_begins(spool: Spool, text: str) -> str | None:
    """The one array whose id begins so, where nothing else does."""
    if not (text.startswith("q_") or is_short_id(text)):
        return None
    families = {family_of(job_id) or job_id for job_id in all_job_ids(spool, text)}
    families = {family for family in families if is_meant(family, text)}
    if len(families) != 1:
        return None
    [family] = families
    return family if members(spool, family) else None


def members(spool: Spool, family: str) -> list[str]:
    """Ids of the members there are, by their number."""
    help_along(spool)
    beginning = f"{family}["
    paths = spool.paths
    named = (*files.names(paths.held), *files.names(paths.queue), *_taken_names(spool))
    found = {job_id for _, job_id in parse_entries([name for name in named if name.startswith(beginning)])}
    found.update(ended_ids(spool, since_unix_s=submitted_unix_s(family), beginning=beginning))
    found.update(place.job_id for place in rejected_places(spool) if place.job_id.startswith(beginning))
    return sorted(found, key=lambda job_id: index_of(job_id) or 0)


def where(spool: Spool, job_ids: Collection[str]) -> dict[str, Place]:
    """Where these jobs lie, in one look for all of them, as jobs move; those that are gone are left out."""
    help_along(spool)
    wanted = frozenset(job_ids)
    lists: tuple[Callable[[Spool], Iterable[Place]], ...] = (held_places, waiting_places, active_places)
    found = {place.job_id: place for list_them in lists for place in list_them(spool) if place.job_id in wanted}
    found.update((place.job_id, place) for place in ended_among(spool, wanted))
    found.update((place.job_id, place) for place in rejected_places(spool) if place.job_id in wanted)
    return found


def look_all(spool: Spool, job_ids: Sequence[str]) -> Iterator[Job]:
    """`look` at each, in one look at the spool where they are many. Raises NoSuchJob."""
    at = where(spool, job_ids) if len(job_ids) > FEW else {}
    for job_id in job_ids:
        try:
            yield read(spool, at[job_id])
        except (KeyError, FileNotFoundError):
            yield look(spool, job_id)  # it is one of few, or it moved meanwhile


@dataclass(frozen=True, slots=True)
class Counts:
    """How many members of an array stand where; the ids of those that have ended."""

    held: int
    waiting: int
    active: int
    ended: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.held + self.waiting + self.active + len(self.ended)


def count(spool: Spool, families: Collection[str], waiting_before: Sequence[Entry] | None = None) -> dict[str, Counts]:
    """The counts of these arrays, each member where it was met last: jobs move on.

    `waiting_before` is what waited a moment ago, for those who have looked already.
    """
    if not families:
        return {}
    held = parse_entries(files.names(spool.paths.held))
    waiting = parse_entries(files.names(spool.paths.queue)) if waiting_before is None else waiting_before
    active = parse_entries(_taken_names(spool))
    ended: dict[str, list[str]] = {family: [] for family in families}
    for job_id in ended_ids(spool, since_unix_s=min(map(submitted_unix_s, families))):
        ended.get(job_id.partition("[")[0], []).append(job_id)
    met = {job_id for job_ids in ended.values() for job_id in job_ids}
    running = _numbers(active, met)
    met.update(job_id for _, job_id in active)
    queued = _numbers(waiting, met)
    if held:
        met.update(job_id for _, job_id in waiting)
    on_hold = _numbers(held, met)
    return {
        family: Counts(on_hold[family], queued[family], running[family], tuple(ended[family])) for family in families
    }


def _numbers(entries: Sequence[Entry], met: set[str]) -> Counter[str]:
    """How many members of each array these are, but for those in `met`; quick, for 100,000."""
    if met:
        entries = [entry for entry in entries if entry[1] not in met]
    return Counter([job_id.partition("[")[0] for _, job_id in entries])


def _taken_names(spool: Spool) -> list[str]:
    hosts = (*spool.hosts_with_jobs(), CANCEL)
    return [name for host in hosts for name in files.names(spool.paths.running_on(host))]
