"""Cards as values: what NVML said of each, and what the owner allows on each.

A field NVML cannot give is None, never a guess. Knows nothing of NVML itself,
which is `host/nvml.py`, nor of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument
from forgather_spool.frozen import dataclass, field
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
    mig: bool = False  # partitioned: CUDA gives a job on this card its first slice, not the whole
    problem: str | None = None

    @property
    def ref(self) -> GpuRef:
        return GpuRef(index=self.index, uuid=self.uuid)

    @property
    def memory_free_bytes(self) -> int | None:
        if self.memory_total_bytes is None or self.memory_used_bytes is None:
            return None
        return self.memory_total_bytes - self.memory_used_bytes


MAX_INDEX_CHARACTERS = 20  # more is the index of no card, and far more is no integer to Python


def excluded_indices(visible: str | None, cards: Sequence[tuple[int, str | None]]) -> frozenset[int]:
    """The indices of `cards` that CUDA would hide from a program whose CUDA_VISIBLE_DEVICES is `visible`.

    `visible` None means the variable is not set: nothing is hidden. `cards` are
    (index, UUID) pairs; a pair more for each MIG slice, (index of its card,
    "MIG-..."), lets slices be named. A card is visible if one of its slices is.
    Indices count in NVML's order, so CUDA must run with CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Rules: "CUDA Environment Variables" in the CUDA C++ Programming Guide: the
    list ends before its first invalid entry, a UUID may be cut short while it
    fits one card only, empty means none. What the guide leaves out is as in
    PyTorch's ``torch.cuda._parse_visible_devices``: an index is what ``strtoul``
    reads ("1abc" is 1), the first entry decides whether indices or UUIDs
    follow, and a card named twice hides all.
    """
    every = frozenset(index for index, _ in cards)
    if visible is None:
        return frozenset()
    entries = visible.split(",")
    kind = _kind(entries[0])
    seen: set[tuple[int, str]] = set()
    for entry in entries:
        device = _device_named(entry, cards) if _kind(entry) == kind else None
        if device is None:
            break
        if device in seen:
            return every
        seen.add(device)
    return every - {index for index, _ in seen}


def _kind(entry: str) -> str:
    return entry[:4] if entry.startswith(("GPU-", "MIG-")) else "index"


def _device_named(entry: str, cards: Sequence[tuple[int, str | None]]) -> tuple[int, str] | None:
    """The one card or slice `entry` names, as its card's index and what tells it from its siblings."""
    kind = _kind(entry)
    if kind == "index":
        import re

        number = re.match(r"\s*([+-]?[0-9]+)", entry)
        index = int(number[1]) if number and len(number[1]) <= MAX_INDEX_CHARACTERS else -1
        return (index, "") if any(index == known for known, _ in cards) else None
    uuid, slash, instances = entry.partition("/")
    if uuid.startswith("MIG-GPU-"):  # MIG-<card's UUID>/<GPU instance>/<compute instance>, drivers before R470
        fits = [(index, instances) for index, known in cards if slash and known == uuid.removeprefix("MIG-")]
    else:
        fits = [(index, known) for index, known in cards if known is not None and known.startswith(entry)]
    return fits[0] if len(fits) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPolicy:
    """What the owner allows on one card. `min_priority` None: any will do."""

    disabled: bool = False
    min_priority: int | None = None

    def as_document(self) -> Document:
        return {"disabled": self.disabled, "min_priority": self.min_priority}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPolicy:
    """``server/gpu_policy.json``: cards by index ("0") or UUID ("GPU-..."); the UUID wins where both stand.

    A foreign process that computes with less than `foreign_memory_bytes` does not make a card busy.
    """

    cards: Mapping[str, CardPolicy] = field(default_factory=dict)
    ignore_foreign_processes: bool = False
    foreign_memory_bytes: int = 300 << 20

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
        return cls(
            cards=cards,
            ignore_foreign_processes=full["ignore_foreign_processes"],
            foreign_memory_bytes=full["foreign_memory_bytes"],
        )

    def as_document(self) -> Document:
        return {
            "version": schema.VERSION,
            "gpus": {key: card.as_document() for key, card in self.cards.items()},
            "ignore_foreign_processes": self.ignore_foreign_processes,
            "foreign_memory_bytes": self.foreign_memory_bytes,
        }
