"""When, after what, how often again, and who is told: these options' words as a spec has them.

    --begin     now+2h   +90m   16:00   noon   tomorrow   tomorrow 8:00   2026-11-22   2026-11-22 08:00   ...T08:00:00Z
    --after     JOB[:ok|any|notok][,JOB...]
    --retry-on  exit codes, signals, oom, timeout; separated by commas
    --notify    command:..., mail:ADDRESS, http(s)://..., desktop

Times without a zone are this machine's local time; a time of day alone is the
next one to come, as Slurm has it. Imported only when one of these is given.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from forgather_spool import schema
from forgather_spool.again import is_cause
from forgather_spool.cli import quantities
from forgather_spool.cli.spans import of_local
from forgather_spool.document import Document
from forgather_spool.errors import UsageError
from forgather_spool.phrases import local

BEGIN_FORMS = "now+2h, 22:00, tomorrow 8:00, 2026-11-22 08:00 or 2026-11-22T08:00:00Z"
RETRY_WORDS = ("signals", "oom", "timeout")
WHEN_WORDS = ("ok", "any", "notok")

_DAYS = {"today": 0, "tomorrow": 1}
_TIMES = {"midnight": time(0), "noon": time(12), "teatime": time(16)}
_LONG_UNITS = {"second": "s", "minute": "m", "hour": "h", "day": "d"}  # as in sbatch(1)


def begin_at(text: str, now: datetime | None = None) -> str:
    """The time `text` means, RFC 3339 in UTC. `now` is aware. Raises UsageError: no time, or one that is past."""
    now = datetime.now(UTC) if now is None else now
    try:
        at = _time_meant(" ".join(text.lower().split()), now)
        if at.year > schema.LAST_YEAR:
            raise ValueError
    except (ValueError, OverflowError, UsageError):
        raise UsageError(f"{text!r} is not a time", hint=f"e.g. {BEGIN_FORMS}") from None
    if at < now:
        raise UsageError(
            f"{text!r} is past ({local(at):%Y-%m-%d %H:%M %Z})", hint="without --begin it starts when it can"
        )
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time_meant(words: str, now: datetime) -> datetime:
    if words.startswith(("now", "+")):
        return now + timedelta(seconds=_from_now_s(words.removeprefix("now").strip()))
    day, _, of_day = words.replace("t", " ", 1).partition(" ") if words[:1].isdigit() else words.partition(" ")
    if words in _DAYS:
        return _local(_day(words, now), time(0)) if words != "today" else now
    if day in _DAYS:
        return _local(_day(day, now), _time_of_day(of_day))
    if words in _TIMES or (":" in day and not of_day):
        of_day_meant, today = _time_of_day(words), _day("today", now)
        at = _local(today, of_day_meant)
        return at if at >= now else _local(today + timedelta(days=1), of_day_meant)
    if not of_day:
        return _local(date.fromisoformat(day), time(0))
    if of_day in _TIMES:
        return _local(date.fromisoformat(day), _TIMES[of_day])
    at = datetime.fromisoformat(f"{day}T{_padded(of_day)}".upper())
    return at if at.tzinfo is not None else of_local(at)


def _day(word: str, now: datetime) -> date:
    return date.fromtimestamp(now.timestamp()) + timedelta(days=_DAYS[word])


def _local(day: date, of_day: time) -> datetime:
    return of_local(datetime.combine(day, of_day))


def _time_of_day(text: str) -> time:
    return _TIMES[text] if text in _TIMES else time.fromisoformat(_padded(text))


def _padded(text: str) -> str:
    return f"0{text}" if text[1:2] == ":" else text


def _from_now_s(text: str) -> float:
    if not text:
        return 0.0
    if text[0] != "+":
        raise UsageError(text)
    amount = text[1:].replace(" ", "")
    for long, short in _LONG_UNITS.items():
        if amount.removesuffix("s").endswith(long):
            amount = amount.removesuffix("s").removesuffix(long) + short
    return quantities.duration_s(amount)


def after(text: str) -> list[Document]:
    """What `text` waits for; `job` is still what the user called it, see `resolved`. Raises UsageError."""
    found: list[Document] = []
    for part in text.split(","):
        job, colon, when = part.strip().rpartition(":")
        if not colon or when not in WHEN_WORDS:
            job, when = part.strip(), "ok"
        if not job:
            raise UsageError(f"{text!r} names no job", hint=f"JOB[:{'|'.join(WHEN_WORDS)}], separated by commas")
        found.append({"job": job, "when": when})
    return found


def retry_on(text: str) -> list[str]:
    """Exit codes and words, checked. Raises UsageError."""
    causes = [part.strip() for part in text.split(",")]
    for cause in causes:
        if not is_cause(cause):
            hint = f"exit codes 1 to 255, {', '.join(RETRY_WORDS)}; separated by commas"
            raise UsageError(f"{cause!r} is no exit code of a failure and no such word", hint=hint)
    return [cause if cause in RETRY_WORDS else str(int(cause)) for cause in causes]


def notify(text: str) -> list[str]:
    """One who is told, as given. Raises UsageError: nobody can be told that way."""
    from forgather_spool.notify.target import parse

    parse(text)
    return [text]
