"""Looking at jobs: what their files say, as values, without changing anything.

Jobs move while they are looked at. `look` follows one from folder to folder;
the lists read one place after another and leave out what has just moved on, so
a job seen waiting is not seen running a line below. A file that cannot be read
is named in `Job.problem`, never shown as if it were empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TypeVar

from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, NoSuchJob, UnreadableFile
from forgather_spool.frozen import dataclass
from forgather_spool.job import Claim, JobSpec, Result, RunAgain, State, parse_at
from forgather_spool.spool import admit, attempts, files
from forgather_spool.spool.ended import Ended, ended_count, ended_places
from forgather_spool.spool.names import FIRST_ATTEMPT, is_job_id, is_short_id, short_id, submitted_unix_s
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.place import (
    LOOKS,
    Held,
    Place,
    Queued,
    Rejected,
    Taken,
    active_places,
    all_job_ids,
    held_places,
    locate,
    rejected_places,
    state_at,
    waiting_places,
)
from forgather_spool.spool.queue import Spool

MIN_PREFIX = 3
NAMES_READ = 10_000  # of ended jobs, the latest first: about a second
CANDIDATES_SHOWN = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSeen:
    """One of a job's attempts, the current one or an earlier one; None for what is not there or cannot be read."""

    attempt: int
    claim: Claim | None
    result: Result | None
    output_path: str
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as its files were just now; None for a file that is not there or cannot be read.

    Claim, start and result are those of `attempt`, the current one, and `again`
    says why there is one after the first; `attempts_of`
    tells of the earlier ones. `problem` says which file cannot be read and why.
    `priority` None: nothing readable tells it any more.
    """

    job_id: str
    attempt: int
    state: State
    place: Place
    priority: int | None
    spec: JobSpec | None
    claim: Claim | None
    started_at: datetime | None
    result: Result | None
    again: RunAgain | None
    problem: str | None

    @property
    def host(self) -> str | None:
        """The host that has or had it; None before a claim."""
        if self.claim is not None:
            return self.claim.host
        return self.place.host if isinstance(self.place, Taken) and self.place.host != CANCEL else None


def find(spool: Spool, text: str) -> str:
    """The id of the job meant by `text`: an id, the beginning of just one id, a short id, or a name.

    A rejected file is meant by its name in rejected/.

    Of several jobs of one name the latest that has not ended, else the latest of
    the `NAMES_READ` that ended last: a million specs are minutes to read.

    Raises:
        NoSuchJob: nothing fits, or several ids begin so; the message lists them.
    """
    if is_job_id(text):
        if locate(spool, text) is None:
            if all_job_ids(spool, f"{text}["):
                hint = f"name one member, such as {text}[0]; forgather sched list '{text}[*]' shows them"
                raise NoSuchJob(f"{text} is an array, and one job is needed here", hint=hint)
            raise NoSuchJob(f"no job {text}", hint="forgather sched list --all")
        return text
    fits = sorted(job_id for job_id in all_job_ids(spool, text) if is_meant(job_id, text))
    if len(fits) == 1:
        return fits[0]
    named = _named(spool, text, ended=not fits) if text else None  # a script's variable that is not set means no job
    if named is not None:
        return named
    if any(place.job_id == text for place in rejected_places(spool)):
        return text
    if fits:
        shown = ", ".join(fits[:CANDIDATES_SHOWN]) + (", ..." if len(fits) > CANDIDATES_SHOWN else "")
        raise NoSuchJob(f"{len(fits)} jobs begin with {text}: {shown}", hint="give more of the id")
    message = f"no job has this id, beginning of an id, or name: {text!r}"
    if admit.acknowledged(spool):
        message += "; what was dropped a moment ago has neither yet"
        raise NoSuchJob(
            message, hint="the same again in a second; forgather sched status tells whether a dispatcher is awake"
        )
    if ended_count(spool, NAMES_READ) is None:
        message += f"; of those that have ended, the names of the last {NAMES_READ:,} were read"
        raise NoSuchJob(message, hint="give its id; forgather sched list --all --name NAME reads every one")
    raise NoSuchJob(message, hint="forgather sched list --all")


def is_meant(job_id: str, text: str) -> bool:
    """Whether `text` is the beginning of this id, or its short form as a narrow `sched list` shows it."""
    return (len(text) >= MIN_PREFIX and job_id.startswith(text)) or (is_short_id(text) and short_id(job_id) == text)


def look(spool: Spool, job_id: str) -> Job:
    """The job, wherever it is. Raises NoSuchJob, also for one removed while it was looked at."""
    for _ in range(LOOKS):
        place = locate(spool, job_id)
        if place is None:
            break
        try:
            return read(spool, place)
        except FileNotFoundError:
            continue  # it moved on between finding and reading it
    raise NoSuchJob(f"no job {job_id}", hint="forgather sched list --all")


def read_all(spool: Spool, places: Iterable[Place]) -> Iterator[Job]:
    """The jobs at `places`, read one by one as they are asked for; those that moved on are left out."""
    for place in places:
        try:
            yield read(spool, place)
        except FileNotFoundError:
            continue


def read(spool: Spool, place: Place) -> Job:
    """The job whose spec lies at `place`. Raises FileNotFoundError when it no longer does."""
    problems: list[str] = []
    job_id = place.job_id
    attempt = FIRST_ATTEMPT if isinstance(place, Rejected) else spool.attempt(job_id)
    state = state_at(spool, place, attempt)
    spec = _tried(problems, lambda: _spec(place.path))
    if isinstance(place, Rejected):
        problems = [why_rejected(place)]
    claim = result = started_at = again = None
    if attempt > FIRST_ATTEMPT:
        again = _optional(problems, lambda: _value(spool.paths.again(job_id, attempt), RunAgain.from_document))
    if not isinstance(place, (Queued, Held, Rejected)):
        claim = _claim(spool, job_id, attempt, problems)
        started_at = _optional(problems, lambda: _started_at(spool.paths.process(job_id, attempt)))
    if state in (State.ENDING, State.DONE):
        result = _optional(problems, lambda: _result(spool.paths.result(job_id, attempt)))
        if result is None and state is State.DONE and not problems:
            problems.append(f"{spool.paths.result(job_id, attempt)} is not there: how it ended is not known")
    return Job(
        job_id=job_id,
        attempt=attempt,
        state=state,
        place=place,
        priority=_priority(place, claim, spec),
        spec=spec,
        claim=claim,
        started_at=started_at if result is None else result.started_at,
        result=result,
        again=again,
        problem="; ".join(problems) or None,
    )


def attempts_of(spool: Spool, job_id: str) -> list[AttemptSeen]:
    """Every attempt of a job, first to last; the last is the current one, which may not have begun."""
    return [_attempt_seen(spool, job_id, attempt) for attempt in attempts.numbers(spool.paths, job_id)]


def attempt_with_output(spool: Spool, job_id: str) -> int:
    """The latest attempt that has written anything; the current one when none has."""
    numbers = attempts.numbers(spool.paths, job_id)
    written = (number for number in reversed(numbers) if files.exists(spool.paths.output(job_id, number)))
    return next(written, numbers[-1])


def _attempt_seen(spool: Spool, job_id: str, attempt: int) -> AttemptSeen:
    problems: list[str] = []
    return AttemptSeen(
        attempt=attempt,
        claim=_claim(spool, job_id, attempt, problems),
        result=_optional(problems, lambda: _result(spool.paths.result(job_id, attempt))),
        output_path=spool.paths.output(job_id, attempt),
        problem="; ".join(problems) or None,
    )


def why_rejected(place: Rejected) -> str:
    """The first line of its ``.why``: what is wrong with it."""
    try:
        text = files.read_bytes(place.why_path).decode("utf-8", "replace")
    except FileNotFoundError:
        return "rejected; its .why is not there"
    except UnreadableFile as error:
        return str(error)
    return text.partition("\n")[0]


def _named(spool: Spool, name: str, *, ended: bool) -> str | None:
    """`ended`: also of those that have, of which the latest `NAMES_READ` are read until one has the name."""
    places: list[Place] = [*held_places(spool), *waiting_places(spool), *active_places(spool)]
    going_on = [place.job_id for place in places if _is_named(place, name)]
    if going_on:
        return max(going_on, key=submitted_unix_s)
    found = islice(ended_places(spool, exact=False), NAMES_READ) if ended else ()
    return next((place.job_id for place in found if _is_named(place, name)), None)


def _is_named(place: Place, name: str) -> bool:
    """Mostly told without parsing: where there is no escape, the name stands in the file as it is, or is not there."""
    try:
        data = files.read_bytes(place.path)
        if b"\\" not in data and name.encode(errors="replace") not in data:
            return False
        return _spec(place.path).name == name
    except (FileNotFoundError, BadDocument, UnreadableFile):
        return False


def _tried(problems: list[str], read_one: Callable[[], T]) -> T | None:
    try:
        return read_one()
    except (BadDocument, UnreadableFile) as error:
        problems.append(str(error))
        return None


def _optional(problems: list[str], read_one: Callable[[], T]) -> T | None:
    try:
        return _tried(problems, read_one)
    except FileNotFoundError:
        return None


def _spec(path: str) -> JobSpec:
    return _value(path, JobSpec.from_document)


def _result(path: str) -> Result:
    return _value(path, Result.from_document)


def _value(path: str, make: Callable[[Document], T]) -> T:
    document = files.read_document(path)
    try:
        return make(document)
    except BadDocument as error:
        raise BadDocument(f"{path}: {error.where}", error.problem, hint=error.hint) from None


def _claim(spool: Spool, job_id: str, attempt: int, problems: list[str]) -> Claim | None:
    """As started, else as claimed; the runner renames the one to the other while we look."""
    started, claimed = spool.paths.started(job_id, attempt), spool.paths.claim(job_id, attempt)
    for path in (started, claimed, started):
        try:
            return _tried(problems, lambda path=path: _value(path, Claim.from_document))  # type: ignore[misc]
        except FileNotFoundError:
            continue
    return None


def _started_at(path: str) -> datetime:
    text = files.read_document(path).get("started_at")
    if not isinstance(text, str):
        raise BadDocument(f"{path}: $.started_at", "is required")
    return parse_at(text, f"{path}: $.started_at")


def _priority(place: Place, claim: Claim | None, spec: JobSpec | None) -> int | None:
    """In the name until it is done, then in its claim; one that was cancelled while waiting has only its spec's."""
    if isinstance(place, (Queued, Held, Taken)):
        return place.priority
    if isinstance(place, Ended) and claim is not None:
        return claim.priority
    return None if spec is None else spec.priority
