"""What `forgather top` shows and does, without a screen: a look at everything, a log that is followed, the acts.

A look reads at most `PER_SECTION` jobs of each kind, however many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from forgather_spool.cli.gpu.cards import Card, look_at_cards
from forgather_spool.cli.identity import who
from forgather_spool.cli.job.document import command_line, submitted_at
from forgather_spool.cli.job.top import size
from forgather_spool.cli.sched.holding import hold_each, release_each
from forgather_spool.cli.sched.listing import Wanted, take_listing
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import ago
from forgather_spool.cli.table import clipped
from forgather_spool.dispatcher.wake import is_awake, wake
from forgather_spool.errors import BadDocument, ForgatherError, UnreadableFile
from forgather_spool.job import State
from forgather_spool.outcome import describe
from forgather_spool.pending import PendingReason
from forgather_spool.spool import order, settings
from forgather_spool.spool.follow import ENDED
from forgather_spool.spool.look import Job, attempt_with_output
from forgather_spool.spool.names import index_of, short_id
from forgather_spool.spool.output import LineFolder, Output
from forgather_spool.spool.place import Held, Queued, locate
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.stop import Stopped, stop
from forgather_spool.spool.watch import CREATED, GROWN, Watch

PER_SECTION = 200
ID_WORD = 4
LOG_LINES = 500  # shown of a log when it is opened
READ_AT_ONCE = 16  # blocks, before the screen gets its turn
SCROLLBAR = 2  # columns
WIDE = 110  # columns; from here on the id has one of its own


@dataclass(frozen=True, slots=True)
class Row:
    """One job. `text` is what a filter is held against."""

    job_id: str
    state: State
    priority: str
    cards: str
    name: str
    time: str
    remark: str

    def fits(self, words: str) -> bool:
        """Each word stands somewhere; in the id only from `ID_WORD` letters on: fewer are in any id by chance."""
        text = f"{self.state.value} {self.name} {self.remark}".lower()
        return all(word in text or (len(word) >= ID_WORD and word in self.job_id) for word in words.lower().split())


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment: one line about the queue, one for each card, the jobs."""

    headline: str
    cards: tuple[str, ...]
    rows: tuple[Row, ...]


def look_at_all(spool: Spool) -> Look:
    """Raises ForgatherError when the spool cannot be looked at."""
    listing = take_listing(spool, Wanted(limit=PER_SECTION))
    now = datetime.now(UTC)
    sections = sorted(listing.sections, key=lambda section: section.title != "active")  # what runs is on top
    rows = [_row(job, listing.reasons.get(job.job_id), now) for section in sections for job in section.jobs]
    names = {row.job_id: row.name for row in rows}
    counts = [f"{_count(len(section.jobs), section.more)} {section.title}" for section in sections]
    return Look(_headline(spool, counts), tuple(_card_line(card, names) for card in _cards(spool)), tuple(rows))


def _count(shown_here: int, more: int | None) -> str:
    return f"over {shown_here:,}" if more is None else f"{shown_here + more:,}"


def _headline(spool: Spool, counts: list[str]) -> str:
    try:
        words = ["PAUSED"] if settings.dispatch(spool.paths)["paused"] else []
    except (BadDocument, UnreadableFile) as error:
        words = [shown(str(error))]
    awake = "dispatcher awake" if is_awake(spool.paths) else "dispatcher asleep"
    return "  ".join([*words, *counts, awake])


def _cards(spool: Spool) -> tuple[Card, ...]:
    try:
        return look_at_cards(spool).cards
    except (BadDocument, UnreadableFile):
        return ()  # the policy is damaged: what waits says so


def _card_line(card: Card, names: dict[str, str]) -> str:
    """E.g. "0 H200  87%  63.0G/141.0G  train-7b"."""
    gpu = card.gpu
    if gpu.problem is not None:
        return f"{gpu.index} {shown(gpu.problem)}"
    busy = "-" if gpu.utilization_percent is None else f"{gpu.utilization_percent}%"
    memory = f"{size(gpu.memory_used_bytes)}/{size(gpu.memory_total_bytes)}"
    held = ", ".join(names.get(job_id, job_id) for job_id in card.job_ids)
    foreign = "others compute on it" if any(on_card.is_foreign for on_card in card.processes) else ""
    words = [
        str(gpu.index),
        shown(gpu.name or ""),
        busy,
        memory,
        "disabled" if card.policy.disabled else "",
        held or foreign,
    ]
    return "  ".join(word for word in words if word)


def _row(job: Job, reason: PendingReason | None, now: datetime) -> Row:
    spec, claim, result = job.spec, job.claim, job.result
    cards = ",".join(str(ref.index) for ref in claim.gpus) if claim and claim.gpus else ""
    remark = job.problem or (describe(result.outcome) if result else reason.text if reason else "")
    at = result.ended_at if result else job.started_at or (claim.claimed_at if claim else submitted_at(job))
    return Row(
        job_id=job.job_id,
        state=job.state,
        priority="-" if job.priority is None else str(job.priority),
        cards=(f"[{cards}]" if cards else str(spec.gpus)) if spec else "-",
        name=_name(job),
        time=ago(at, now),
        remark=shown(remark),
    )


def _name(job: Job) -> str:
    """Members of an array have one name, so each has its number with it."""
    if job.spec is None:
        return "-"
    index = index_of(job.job_id)
    return shown(job.spec.name or command_line(job.spec)) + ("" if index is None else f"[{index}]")


class LogFeed:
    """One job's output, line by line as it comes; a progress bar is its last state. Close it."""

    def __init__(self, spool: Spool, job_id: str) -> None:
        self._watch = Watch()
        self._folder = LineFolder()
        self._output: Output | None = None
        self._spool = spool
        self.job_id = job_id
        self.open()

    def open(self) -> None:
        """Begin near the end of what there is; again for a later attempt, or once there is anything."""
        self._watch.add(self._spool.paths.job(self.job_id), CREATED)
        number = attempt_with_output(self._spool, self.job_id)
        path = self._spool.paths.output(self.job_id, number)
        self._watch.add(os.path.dirname(path), CREATED | GROWN)
        self._output = Output(path)
        self._output.go_to_last_lines(LOG_LINES)

    def fileno(self) -> int:
        """Readable when there may be more to `read`."""
        return self._watch.fileno()

    def read(self) -> tuple[list[str], bool]:
        """The lines that have come, fit to be shown; True: there is more to read at once."""
        self._watch.read()
        data, blocks = b"", 0
        while self._output is not None and blocks < READ_AT_ONCE and (block := self._output.read()):
            data += self._folder.feed(block)
            blocks += 1
        lines = data.decode("utf-8", "replace").split("\n")[:-1]
        return [shown(line.expandtabs()) for line in lines], blocks == READ_AT_ONCE

    def close(self) -> None:
        self._watch.close()
        if self._output is not None:
            self._output.close()


# -- acts: each gives a sentence for the person who pressed the key ---------------------------------------------------


def cancel(spool: Spool, job_id: str) -> str:
    came_of_it = stop(spool, job_id, who())
    _wake(spool)
    return _SAID[came_of_it]


_SAID = {
    Stopped.CANCELLED: "cancelled while it waited",
    Stopped.ASKED: "asked to stop: TERM, then KILL after its grace",
    Stopped.ASKED_BEFORE: "had been asked to stop already",
    Stopped.HAD_ENDED: "had ended already",
}


def hold(spool: Spool, job_id: str) -> str:
    return hold_each(spool, [job_id])[0].said


def release(spool: Spool, job_id: str) -> str:
    said = release_each(spool, [job_id])[0].said
    _wake(spool)
    return said


def change_priority(spool: Spool, job_id: str, by: int) -> str:
    place = locate(spool, job_id)
    if not isinstance(place, (Queued, Held)):
        return "does not wait any more: its priority has done its work"
    changed = order.reprioritize(spool, place, place.priority + by)
    return f"priority {place.priority + by}" if changed else "was moved meanwhile; once more?"


def may_act(row: Row) -> bool:
    return row.state not in ENDED


def attempted(act: Callable[[], str]) -> tuple[str, bool]:
    """What came of it, in a sentence; False: it failed."""
    try:
        return act(), True
    except ForgatherError as error:
        return f"{error}" + (f" ({error.hint})" if error.hint else ""), False


def _wake(spool: Spool) -> None:
    try:
        wake(spool.paths)
    except ForgatherError:
        return  # the timer, or the next submit; the headline says that none is awake


def widths_of(columns: int) -> dict[str, int]:
    """Title to width of each column: what is short has its width, the name and the remark share the rest."""
    fixed = {"Status": 9, "Pri": 5, "GPUs": 7, "Time": 8} | ({"ID": 13} if columns >= WIDE else {})
    rest = max(20, columns - SCROLLBAR - sum(fixed.values()) - 2 * (len(fixed) + 2))
    name = rest * 2 // 5
    widths = {"Status": 9, **({"ID": 13} if "ID" in fixed else {}), "Pri": 5, "GPUs": 7, "Name/Command": name}
    return widths | {"Time": 8, "Reason/Outcome": rest - name}


def cells_of(row: Row, widths: dict[str, int]) -> tuple[str, ...]:
    facts = {
        "Status": row.state.value,
        "ID": short_id(row.job_id),
        "Pri": row.priority,
        "GPUs": row.cards,
        "Name/Command": row.name,
        "Time": row.time,
        "Reason/Outcome": row.remark,
    }
    return tuple(clipped(facts[title], width) for title, width in widths.items())
