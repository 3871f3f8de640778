"""Cards as values: what NVML said of each, and what the owner allows on each.

A field NVML cannot give is None, never a guess. Knows nothing of NVML itself,
which is `host/nvml.py`, nor of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.job import GpuRef


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process NVML sees on a card. `kind` is "compute" or "graphics"."""

    pid: int
    kind: str
    memory_used_bytes: int | None
    name: str | None
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One card at one moment. `problem` says why it cannot be used at all, e.g. "fell off the bus"."""

    index: int
    uuid: str | None
    name: str | None
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilization_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    fan_percent: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    excluded: bool = False  # by CUDA_VISIBLE_DEVICES of the dispatcher's environment
    problem: str | None = None

    @property
    def ref(self) -> GpuRef:
        return GpuRef(index=self.index, uuid=self.uuid)

    @property
    def memory_free_bytes(self) -> int | None:
        if self.memory_total_bytes is None or self.memory_used_bytes is None:
            return None
        return self.memory_total_bytes - self.memory_used_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPolicy:
    """What the owner allows on one card."""

    disabled: bool = False
    min_priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPolicy:
    """``server/gpu_policy.json``: cards by index ("0") or UUID ("GPU-..."); the UUID wins where both stand."""

    cards: Mapping[str, CardPolicy] = field(default_factory=dict)
    ignore_foreign_processes: bool = False

    def of(self, gpu: Gpu) -> CardPolicy:
        if gpu.uuid is not None and gpu.uuid in self.cards:
            return self.cards[gpu.uuid]
        return self.cards.get(str(gpu.index), CardPolicy())

    @classmethod
    def from_document(cls, document: Document) -> Self:
        full: dict[str, Any] = schema.check(document, schema.GPU_POLICY)
        cards = {}
        for key, entry in full["gpus"].items():
            where = f"$.gpus.{key}"
            if not isinstance(entry, dict):
                raise BadDocument(where, "expected an object")
            card: dict[str, Any] = schema.check(entry, schema.GPU_POLICY_CARD, where=where)
            cards[key] = CardPolicy(disabled=card["disabled"], min_priority=card["min_priority"])
        return cls(cards=cards, ignore_foreign_processes=full["ignore_foreign_processes"])

    def as_document(self) -> Document:
        return {
            "version": schema.VERSION,
            "gpus": {k: {"disabled": c.disabled, "min_priority": c.min_priority} for k, c in self.cards.items()},
            "ignore_foreign_processes": self.ignore_foreign_processes,
        }
