"""`job top`: what running jobs use, from control groups or process trees, and NVML.

The keys of its JSON are a promise, null is what this host does not count:

    version, host, jobs [{job_id, name, state, host, started_at, cpu_percent, cpu_s, memory_bytes,
    peak_memory_bytes, processes, cards [{index, uuid, utilization_percent, memory_used_bytes}]}]

A card's utilization is the whole card's; the memory on it is the job's own.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from forgather_spool.cli.gpu.cards import Card, look_at_cards
from forgather_spool.cli.job.document import as_json, command_line
from forgather_spool.cli.show import shown
from forgather_spool.cli.spans import ago
from forgather_spool.cli.table import left_out, natural_width, render, silent, terminal_width
from forgather_spool.document import Document
from forgather_spool.host import proc
from forgather_spool.host.usage import Usage, cpu_percent, usage_of
from forgather_spool.job import Claim, format_at
from forgather_spool.spool.look import Job, read_all
from forgather_spool.spool.names import short_id
from forgather_spool.spool.place import active_places
from forgather_spool.spool.queue import Spool

HEADERS = ("ID", "Name/Command", "CPU%", "Memory", "Peak", "Procs", "Cards", "GPU%", "GPU mem", "Started", "Host")
NAME_COLUMN = 1
LEFT_OUT = ("Procs", "Peak", "GPU mem")  # where it is narrow, in this order; before them what says nothing
ONLY_WHERE_SILENT = ("Cards", "GPU%", "GPU mem")
FIRST_LOOK_S = 0.5  # between the two looks that a CPU share takes
UNKNOWN = "-"
_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class CardUse:
    """A card a job holds: how busy it is, and what the job has of its memory."""

    index: int
    uuid: str | None
    utilization_percent: int | None
    memory_used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One running job. `usage` None: it runs on another host, or is ending."""

    job: Job
    usage: Usage | None
    cpu_percent: float | None
    cards: tuple[CardUse, ...]


class Meter:
    """Looks at running jobs, again and again: a share of CPU is the difference of two looks."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._host = proc.host_name()
        self._boot_id = proc.boot_id()
        self._before: dict[str, tuple[float, Usage]] = {}

    def look(self) -> list[Row]:
        """Every active job, in start order."""
        jobs = list(read_all(self._spool, active_places(self._spool)))
        cards = self._cards(jobs)
        rows = [self._row(job, cards) for job in jobs]
        now = time.monotonic()
        self._before = {row.job.job_id: (now, row.usage) for row in rows if row.usage is not None}
        return rows

    def _row(self, job: Job, cards: dict[int, Card]) -> Row:
        claim = job.claim
        usage = self._usage(claim) if claim is not None else None
        before = self._before.get(job.job_id)
        percent = None
        if usage is not None and before is not None:
            percent = cpu_percent(before[1], usage, time.monotonic() - before[0])
        held = claim.gpus if claim is not None else ()
        uses = tuple(_card_use(ref.index, ref.uuid, job.job_id, cards.get(ref.index)) for ref in held)
        return Row(job, usage, percent, uses)

    def _usage(self, claim: Claim) -> Usage | None:
        if claim.host != self._host or claim.boot_id != self._boot_id:
            return None
        return usage_of(claim.scope, claim.runner_pid, claim.runner_start_ticks)

    def _cards(self, jobs: list[Job]) -> dict[int, Card]:
        """NVML is asked only while a job here holds a card."""
        if not any(job.claim is not None and job.claim.gpus and job.claim.host == self._host for job in jobs):
            return {}
        return {card.gpu.index: card for card in look_at_cards(self._spool).cards}


def _card_use(index: int, uuid: str | None, job_id: str, card: Card | None) -> CardUse:
    if card is None:
        return CardUse(index, uuid, None, None)
    sizes = [on_card.process.memory_used_bytes for on_card in card.processes if on_card.job_id == job_id]
    known = [size for size in sizes if size is not None]
    memory = None if sizes and not known else sum(known)
    return CardUse(index, uuid, card.gpu.utilization_percent, memory)


def run(spool: Spool, *, once: bool, every_s: float, json_: bool) -> None:
    """Print it once, or until interrupted."""
    meter = Meter(spool)
    if meter.look():
        time.sleep(FIRST_LOOK_S)
    if once:
        rows = meter.look()
        click.echo(as_json(as_document(rows)) if json_ else "\n".join(as_table(rows)))
        return
    from forgather_spool.cli.watching import show_changes

    def looked() -> tuple[str, object]:
        rows = meter.look()
        text = json.dumps(as_document(rows)) if json_ else "\n".join(as_table(rows))
        return text, time.monotonic()  # a measurement is news each time

    show_changes(spool, looked, title="forgather job top", every_s=every_s)


def as_document(rows: list[Row]) -> Document:
    return {"version": 1, "host": proc.host_name(), "jobs": [_row_document(row) for row in rows]}


def _row_document(row: Row) -> Document:
    job, usage = row.job, row.usage
    return {
        "job_id": job.job_id,
        "name": job.spec and job.spec.name,
        "state": job.state.value,
        "host": job.host,
        "started_at": job.started_at and format_at(job.started_at),
        "cpu_percent": None if row.cpu_percent is None else round(row.cpu_percent, 1),
        "cpu_s": usage and usage.cpu_s,
        "memory_bytes": usage and usage.memory_bytes,
        "peak_memory_bytes": usage and usage.peak_memory_bytes,
        "processes": usage and usage.processes,
        "cards": [
            {
                "index": card.index,
                "uuid": card.uuid,
                "utilization_percent": card.utilization_percent,
                "memory_used_bytes": card.memory_used_bytes,
            }
            for card in row.cards
        ],
    }


def as_table(rows: list[Row]) -> list[str]:
    """For a person, as wide as the terminal."""
    if not rows:
        return ["nothing runs"]
    now = datetime.now(UTC)
    lines = [_cells(row, now) for row in rows]
    width = terminal_width()
    if width is None or natural_width(HEADERS, lines) <= width:
        return render(HEADERS, lines, width=width, name_column=NAME_COLUMN)
    lines = [(short_id(line[0]), *line[1:]) for line in lines]
    quiet = [name for name in silent(HEADERS, lines, (UNKNOWN,)) if name in ONLY_WHERE_SILENT]
    one_host = ["Host"] if len({line[-1] for line in lines}) == 1 else []
    gives_way = (*one_host, *quiet, *LEFT_OUT)
    headers, narrow = left_out(HEADERS, lines, width, name_column=NAME_COLUMN, gives_way=gives_way)
    return render(headers, narrow, width=width, name_column=NAME_COLUMN)


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    job, usage = row.job, row.usage
    utils = [card.utilization_percent for card in row.cards if card.utilization_percent is not None]
    memory = [card.memory_used_bytes for card in row.cards if card.memory_used_bytes is not None]
    return (
        shown(job.job_id),
        shown(job.spec.name or command_line(job.spec)) if job.spec else UNKNOWN,
        UNKNOWN if row.cpu_percent is None else f"{row.cpu_percent:.0f}",
        size(usage.memory_bytes if usage else None),
        size(usage.peak_memory_bytes if usage else None),
        str(usage.processes) if usage else UNKNOWN,
        ",".join(str(card.index) for card in row.cards) or UNKNOWN,
        f"{sum(utils) / len(utils):.0f}" if utils else UNKNOWN,
        size(sum(memory) if memory else None),
        ago(job.started_at, now) or job.state.value,
        shown(job.host or UNKNOWN),
    )


def size(size_bytes: int | None) -> str:
    """E.g. "512M", "3.2G"; "-" for None."""
    if size_bytes is None:
        return UNKNOWN
    return f"{size_bytes / _GIB:.1f}G" if size_bytes >= _GIB else f"{size_bytes / _MIB:.0f}M"
