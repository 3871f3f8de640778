"""The cards of this host with who is on each, as `gpu status` and `gpu kill` need them.

A process is a job's when it runs in the scope of a job of this spool; every
other one that computes is foreign. Which job holds a card is said by its claim,
also while none of its processes has touched the card yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forgather_spool.dispatcher.published import cards_as_dispatched
from forgather_spool.dispatcher.view import cards_of, claims_on, job_of_pid
from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy, GpuProcess
from forgather_spool.host import proc
from forgather_spool.spool import settings
from forgather_spool.spool.queue import Spool


@dataclass(frozen=True, slots=True)
class OnCard:
    """A process on a card, and the job of ours it belongs to."""

    process: GpuProcess
    job_id: str | None

    @property
    def is_foreign(self) -> bool:
        """Computes for somebody else. A desktop, which only draws, does not count."""
        return self.job_id is None and self.process.kind == "compute"


@dataclass(frozen=True, slots=True)
class Card:
    """One card: NVML's reading, the owner's policy, the job that holds it, the processes on it."""

    gpu: Gpu
    policy: CardPolicy
    job_ids: tuple[str, ...]  # who holds it; several where they share
    processes: tuple[OnCard, ...]


@dataclass(frozen=True, slots=True)
class Cards:
    """All cards of this host by index. `problem`: why NVML shows none."""

    host_name: str
    cards: tuple[Card, ...]
    problem: str | None
    policy: GpuPolicy

    def unseen(self) -> Mapping[str, CardPolicy]:
        """What is set for cards this host does not have (now): a pulled one's, another host's."""
        known = {str(card.gpu.index) for card in self.cards} | {card.gpu.uuid for card in self.cards}
        return {key: card for key, card in self.policy.cards.items() if key not in known}


def look_at_cards(spool: Spool) -> Cards:
    """Every card now.

    Raises:
        BadDocument, UnreadableFile: the policy cannot be read; it is never taken for an empty one.
    """
    policy = settings.gpu_policy(spool.paths)
    host_name = proc.host_name()
    reading = cards_as_dispatched(spool, host_name)
    held = cards_of(claims_on(spool, host_name), reading.gpus)
    cards = tuple(
        Card(
            gpu=gpu,
            policy=policy.of(gpu),
            job_ids=held.get(gpu.index, ()),
            processes=tuple(OnCard(process, job_of_pid(spool, process.pid)) for process in gpu.processes),
        )
        for gpu in reading.gpus
    )
    return Cards(host_name, cards, reading.problem, policy)


def as_document(cards: Cards) -> dict[str, Any]:
    """What `gpu status --json` prints; the keys are a promise, null is what NVML does not say.

    version, host, problem (why there are no cards), ignore_foreign_processes,
    gpus [{index, uuid, name, ..., disabled, min_priority, job_id, job_ids, processes
    [{pid, kind, user, name, memory_used_bytes, job_id, foreign}]}],
    policy_for_unseen {index or uuid: {disabled, min_priority}}.
    """
    return {
        "version": 1,
        "host": cards.host_name,
        "problem": cards.problem,
        "ignore_foreign_processes": cards.policy.ignore_foreign_processes,
        "gpus": [_card_document(card) for card in cards.cards],
        "policy_for_unseen": {key: _policy_document(policy) for key, policy in cards.unseen().items()},
    }


_AS_READ = (
    "index", "uuid", "name", "memory_total_bytes", "memory_used_bytes", "memory_free_bytes", "utilization_percent",
    "temperature_c", "power_w", "fan_percent", "mig", "excluded", "problem",
)  # fmt: skip


def _card_document(card: Card) -> dict[str, Any]:
    return {
        **{name: getattr(card.gpu, name) for name in _AS_READ},
        **_policy_document(card.policy),
        "job_id": card.job_ids[0] if card.job_ids else None,
        "job_ids": list(card.job_ids),
        "processes": [
            {
                "pid": on_card.process.pid,
                "kind": on_card.process.kind,
                "user": on_card.process.user,
                "name": on_card.process.name,
                "memory_used_bytes": on_card.process.memory_used_bytes,
                "job_id": on_card.job_id,
                "foreign": on_card.is_foreign,
            }
            for on_card in card.processes
        ],
    }


def _policy_document(policy: CardPolicy) -> dict[str, Any]:
    return {"disabled": policy.disabled, "min_priority": policy.min_priority}
