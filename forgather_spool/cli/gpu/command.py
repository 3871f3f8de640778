"""`forgather gpu`: the cards, what the owner allows on each, and clearing a wedged one.

Parses, calls one function, prints. A card is named by its index, its UUID or
the beginning of one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from forgather_spool.cli import complain, warn
from forgather_spool.cli.gpu.card_table import as_table, least, process_words
from forgather_spool.cli.gpu.cards import Card, as_document, look_at_cards
from forgather_spool.cli.gpu.names import Named, card_named
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.quantities import size_bytes
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import terminal_width
from forgather_spool.errors import JobFailed, Missing, UsageError
from forgather_spool.gpu import CardPolicy, GpuPolicy
from forgather_spool.schema import PRIORITY_LIMIT
from forgather_spool.spool import settings
from forgather_spool.spool.queue import Spool


class _LeastPriority(click.IntRange):
    """A priority, or `any`, which is None."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "any":
            return None
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither {-PRIORITY_LIMIT} to {PRIORITY_LIMIT} nor the word any", param, ctx)


PRIORITY = _LeastPriority(-PRIORITY_LIMIT, PRIORITY_LIMIT)
BY_UUID = click.option(
    "--by-uuid", is_flag=True, help="Keep it under the card's UUID, which stays when cards change places."
)
STATUS_JSON = click.option("--json", "json_", is_flag=True, help="What `gpu status --json` says then.")


@click.group()
def gpu() -> None:
    """Look at the cards; say which of them jobs may use."""


@gpu.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
def status(json_: bool) -> None:
    """Every card of this host, with the job that holds it and others' processes.

    `-` is what NVML does not say. `(excluded)`: CUDA_VISIBLE_DEVICES of the
    dispatcher's environment hides the card from all jobs. A host without cards
    is no error: it says so, and why, and exits 0.
    """
    spool = Spool()
    spool.check()
    cards = look_at_cards(spool)
    if json_:
        click.echo(as_json(as_document(cards)))
        return
    click.echo("\n".join(as_table(cards, width=terminal_width())))


@gpu.command()
@click.argument("cards", metavar="CARD...", nargs=-1, required=True)
@BY_UUID
@STATUS_JSON
def disable(cards: tuple[str, ...], by_uuid: bool, json_: bool) -> None:
    """Take cards out of rotation. Jobs that run on them go on."""
    _change(cards, by_uuid, json_, disabled=True)


@gpu.command()
@click.argument("cards", metavar="CARD...", nargs=-1, required=True)
@BY_UUID
@STATUS_JSON
def enable(cards: tuple[str, ...], by_uuid: bool, json_: bool) -> None:
    """Put cards back into rotation."""
    _change(cards, by_uuid, json_, disabled=False)


# Unknown options pass: else `priority 0 -5` would read -5 as an option.
@gpu.command(context_settings={"ignore_unknown_options": True})
@click.argument("card")
@click.argument("priority", metavar="N|any", type=PRIORITY)
@BY_UUID
@STATUS_JSON
def priority(card: str, priority: int | None, by_uuid: bool, json_: bool) -> None:
    """Give CARD only to jobs whose priority is at least N; `any`, the default, to all."""
    _change((card,), by_uuid, json_, min_priority=priority)


@gpu.command()
@click.argument("what", type=click.Choice(["ignore", "respect"]))
@click.option("--from", "least", metavar="SIZE", help="Only processes that use this much or more count; 300M at first.")
@STATUS_JSON
def foreign(what: str, least: str | None, json_: bool) -> None:
    """Whether a card on which others compute counts as free (ignore) or as taken (respect, the default)."""
    ignore = what == "ignore"
    changes: dict[str, Any] = {} if least is None else {"foreign_memory_bytes": size_bytes(least)}
    spool = Spool().create()
    settings.change_gpu_policy(spool.paths, lambda policy: replace(policy, ignore_foreign_processes=ignore, **changes))
    _tell_waiting(spool)
    meaning = "ignored: a card others compute on is free" if ignore else "respected: a card others compute on is taken"
    click.echo(as_json(as_document(look_at_cards(spool))) if json_ else f"foreign processes are {meaning}")


@gpu.command()
@click.argument("card")
@click.option("--yes", is_flag=True, help="Really; nobody is asked and nothing is saved.")
def kill(card: str, yes: bool) -> None:
    """SIGKILL every process that computes on CARD: jobs and other programs alike.

    For a card that is wedged. Exits 1 when one of them is still there. Programs
    that only draw are left alone.
    """
    from forgather_spool.host import gpu_kill, nvml

    spool = Spool()
    spool.check()
    found = _card_here(spool, card)
    computing = [on_card for on_card in found.processes if on_card.process.kind == "compute"]
    index = found.gpu.index
    if not computing:
        click.echo(f"gpu {index}: nothing computes on it")
        return
    words = {on_card.process.pid: process_words(on_card) for on_card in computing}
    if not yes:
        raise UsageError(
            f"this would kill, on gpu {index}: {'; '.join(words.values())}", hint=f"forgather gpu kill --yes {card}"
        )
    failed = gpu_kill.kill(gpu_kill.targets_of(list(words)))
    if failed:
        on_it = nvml.compute_pids(index)
        failed = {pid: why for pid, why in failed.items() if pid in on_it}
    for pid in words.keys() - failed.keys():
        click.echo(f"gpu {index}: killed {shown(words[pid])}")
    for pid, why in failed.items():
        complain(f"gpu {index}: not killed: {shown(words[pid])}: {why}")
    if failed:
        raise JobFailed(f"gpu {index}: {len(failed)} of {len(words)} processes are still there")


def _card_here(spool: Spool, text: str) -> Card:
    """The card to kill on: it must be one NVML can speak of."""
    cards = look_at_cards(spool)
    if cards.problem is not None:
        raise Missing(f"no GPUs on this host: {cards.problem}", hint="forgather doctor")
    named = card_named(text, [card.gpu for card in cards.cards])
    found = next((card for card in cards.cards if card.gpu == named.gpu), None)
    if found is None:
        raise UsageError(f"no gpu {text} on this host", hint="forgather gpu status")
    if found.gpu.problem is not None:
        raise Missing(f"gpu {found.gpu.index} {found.gpu.problem}: who is on it is not known", hint="nvidia-smi; dmesg")
    return found


def _change(texts: tuple[str, ...], by_uuid: bool, json_: bool, **changes: object) -> None:
    """Set the same on each card, in one edit, and say what holds now."""
    from forgather_spool.host.nvml import read_gpus

    spool = Spool().create()
    reading = read_gpus(None)
    named = [card_named(text, reading.gpus, by_uuid=by_uuid) for text in texts]
    policy = settings.change_gpu_policy(spool.paths, lambda old: _changed(old, named, changes))
    _tell_waiting(spool)
    for card in named:
        _warn_if_not_here(card, reading.problem)
        now = card.policy_now(policy)
        if not json_:
            click.echo(f"gpu {card.effective_key(policy)}: disabled={now.disabled} min_priority={least(now)}")
    if json_:
        click.echo(as_json(as_document(look_at_cards(spool))))


def _changed(policy: GpuPolicy, named: list[Named], changes: dict[str, object]) -> GpuPolicy:
    cards: dict[str, CardPolicy] = dict(policy.cards)
    for card in named:
        cards[card.effective_key(policy)] = replace(card.policy_now(policy), **changes)  # type: ignore[arg-type]
        policy = replace(policy, cards=cards)
    return policy


def _warn_if_not_here(card: Named, problem: str | None) -> None:
    if card.gpu is None:
        why = f" ({problem})" if problem else ""
        warn(f"this host has no gpu {card.key}{why}; the setting is kept for when it has, and for other hosts")


def _tell_waiting(spool: Spool) -> None:
    """A card given back may be what the first in the queue waits for."""
    if spool.waiting():
        nudge(spool)
