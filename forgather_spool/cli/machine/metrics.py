"""`forgather metrics`: the queue in numbers, for Prometheus.

A look and no service: whoever scrapes runs it, or has it write the file that
node_exporter's textfile collector reads. The names are a promise. Counts come
from names; only what ended within the last hour is read.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import click

from forgather_spool import __version__
from forgather_spool.cli.gpu.cards import Card, look_at_cards
from forgather_spool.cli.machine.prometheus import Gauge, Sample, as_text, by_label, gauge
from forgather_spool.dispatcher.published import host_document
from forgather_spool.dispatcher.wake import is_awake
from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from forgather_spool.host import proc
from forgather_spool.job import State, parse_at
from forgather_spool.outcome import outcome_as_document
from forgather_spool.schema import OUTCOME
from forgather_spool.spool import files, settings
from forgather_spool.spool.ended import ended_count, ended_places
from forgather_spool.spool.look import read_all
from forgather_spool.spool.names import submitted_unix_s
from forgather_spool.spool.place import (
    active_places,
    rejected_places,
    state_at,
)
from forgather_spool.spool.queue import Spool

RECENT_S = 3600.0
LIVING = (State.WAITING, State.HELD, State.LAUNCHING, State.RUNNING, State.ENDING)
CARD_STATES = ("used", "foreign", "free", "disabled", "excluded", "broken")


@click.command()
@click.option("--output", metavar="FILE", help="Replace FILE in one step instead; its name ends in .prom. - is stdout.")
def metrics(output: str | None) -> None:
    """The queue as Prometheus metrics: jobs by state, outcomes, cards, is a dispatcher awake.

    For node_exporter: --collector.textfile.directory=DIR, and every minute
    `forgather metrics --output DIR/forgather.prom`.
    """
    target = None if output in (None, "-") else _file_at(str(output))
    spool = Spool()
    spool.check()
    text = as_text(list(gauges(spool, time.time())))
    if target is None:
        click.echo(text, nl=False)
    else:
        files.publish(target, text.encode())


def _file_at(output: str) -> str:
    """The file to replace, where it lies. Raises UsageError: replacing what is there would do harm."""
    path = os.path.realpath(output)
    if os.path.lexists(path) and not os.path.isfile(path):  # root could replace /dev/null for all
        raise UsageError(f"--output {output}: is there, and no plain file", hint="name a file, or - for stdout")
    return path


def gauges(spool: Spool, now: float) -> Iterator[Gauge]:
    """Everything there is to tell; `now` in Unix seconds."""
    host = proc.host_name()
    yield Gauge("forgather_info", "Which forgather this is.", [Sample(1, {"version": __version__, "host": host})])
    yield from _jobs(spool, now)
    yield from _dispatcher(spool, host)
    yield from _cards(spool)


def _jobs(spool: Spool, now: float) -> Iterator[Gauge]:
    waiting = spool.waiting()
    states = Counter(state_at(spool, place) for place in active_places(spool))
    states[State.WAITING], states[State.HELD] = len(waiting), len(spool.held())
    oldest = min((submitted_unix_s(job_id) for _, job_id in waiting), default=None)
    age = None if oldest is None else max(0.0, now - oldest)
    yield by_label("forgather_jobs", "Jobs by state.", "state", {state.value: states[state] for state in LIVING})
    yield gauge("forgather_oldest_waiting_seconds", "Since the longest waiting job was submitted.", age)
    yield gauge("forgather_ended_jobs", "Ended jobs that nobody has cleaned up.", ended_count(spool))
    yield by_label(
        "forgather_ended_last_hour_jobs", "Jobs that ended within an hour.", "outcome", _recent_outcomes(spool, now)
    )
    yield gauge("forgather_rejected_files", "What could not be a job.", len(rejected_places(spool)))
    yield gauge("forgather_untold_ends", "Ends that somebody is still to be told of.", len(_notices(spool)))


def _notices(spool: Spool) -> list[str]:
    return files.names(spool.paths.notices)


def _recent_outcomes(spool: Spool, now: float) -> dict[str, float]:
    """By kind, `exited` split into `succeeded` and `failed`; all of them, so that none has gaps."""
    kinds = OUTCOME["kind"].choices or ()
    counts = dict.fromkeys(["succeeded", "failed", *(kind for kind in kinds if kind != "exited"), "unreadable"], 0.0)
    for job in read_all(spool, ended_places(spool)):
        if job.result is None:
            counts["unreadable"] += 1
            continue
        if job.result.ended_at.timestamp() < now - RECENT_S:
            break
        outcome = outcome_as_document(job.result.outcome)
        kind = str(outcome["kind"])
        counts[kind if kind != "exited" else "failed" if outcome["exit_code"] else "succeeded"] += 1
    return counts


def _dispatcher(spool: Spool, host: str) -> Iterator[Gauge]:
    published = host_document(spool, host)
    try:
        seen_at = None if published is None else parse_at(str(published["last_seen_at"])).timestamp()
    except BadDocument:
        seen_at = None
    try:
        paused = float(bool(settings.dispatch(spool.paths)["paused"]))
    except (BadDocument, UnreadableFile):
        paused = None  # damaged: nothing starts, and nobody has said so
    yield gauge("forgather_dispatch_paused", "1 while nothing new is to start.", paused)
    yield gauge("forgather_dispatch_readable", "0 while dispatch.json is damaged: nothing starts.", paused is not None)
    yield gauge("forgather_dispatcher_awake", "1 while a dispatcher is; none is needed for nothing.", _awake(spool))
    yield gauge("forgather_dispatcher_last_seen_timestamp_seconds", "When one last said that it looks.", seen_at)


def _awake(spool: Spool) -> float:
    return float(is_awake(spool.paths))


def _cards(spool: Spool) -> Iterator[Gauge]:
    cards = look_at_cards(spool).cards
    states = Counter(_state(card) for card in cards)
    yield by_label("forgather_cards", "Cards by state.", "state", {state: states[state] for state in CARD_STATES})
    for name, help, values in (
        ("forgather_card_memory_used_bytes", "As NVML says.", [(c, c.gpu.memory_used_bytes) for c in cards]),
        ("forgather_card_memory_total_bytes", "As NVML says.", [(c, c.gpu.memory_total_bytes) for c in cards]),
        ("forgather_card_utilization_percent", "As NVML says.", [(c, c.gpu.utilization_percent) for c in cards]),
    ):
        yield Gauge(name, help, [Sample(value, _names(card)) for card, value in values if value is not None])


def _names(card: Card) -> dict[str, str]:
    return {"index": str(card.gpu.index), "uuid": card.gpu.uuid or ""}


def _state(card: Card) -> str:
    """What a job that wants a card would find; `used` comes first: by a job of ours."""
    if card.job_ids:
        return "used"
    if card.gpu.problem is not None:
        return "broken"
    if card.gpu.excluded:
        return "excluded"
    if card.policy.disabled:
        return "disabled"
    return "foreign" if any(on_card.is_foreign for on_card in card.processes) else "free"
