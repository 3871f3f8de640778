"""The host as a decision goes on: who holds which card, how many run, what is kept for whom.

Made from a `View`; each start is entered at once, so that the next job looks
at the host as it will be. Lives for one decision, and is the one mutable thing
in this room.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection

from forgather_spool.frozen import replace
from forgather_spool.gpu import Gpu
from forgather_spool.job import GpuRef
from forgather_spool.policy.values import Holder, Kept, View, Waiting


class Board:
    """`view` with what this decision has added."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.gpus: dict[int, Gpu] = {gpu.index: gpu for gpu in sorted(view.gpus, key=lambda gpu: gpu.index)}
        self.holders: list[Holder] = []
        self.on_card: dict[int, list[Holder]] = {}
        self.in_group: Counter[str] = Counter()
        self.in_family: Counter[str] = Counter()
        self.without_gpu = 0
        self.may_go: list[Holder] = []  # those with cards that may be asked for them, or were
        self.kept: list[Kept] = []
        for holder in view.holders:
            self._enter(holder)

    def start(self, entry: Waiting, gpus: tuple[GpuRef, ...]) -> None:
        """It starts now, on these cards."""
        holder = Holder(
            job_id=entry.job_id,
            priority=entry.priority,
            cards=tuple(ref.index for ref in gpus),
            terms=entry.asks.terms,
            started_at=self.view.now,
            family=entry.asks.family,
        )
        self._enter(holder)

    def _enter(self, holder: Holder) -> None:
        self.holders.append(holder)
        for index in holder.cards:
            self.on_card.setdefault(index, []).append(holder)
        if holder.cards and (holder.terms.preemptible or holder.going):
            self.may_go.append(holder)
        if holder.ended:
            return
        if not holder.cards:
            self.without_gpu += 1
        if holder.terms.group is not None:
            self.in_group[holder.terms.group] += 1
        if holder.family is not None:
            self.in_family[holder.family] += 1

    def ask(self, job_ids: Collection[str], for_job_id: str) -> None:
        """These are asked to give way: their cards are on their way to somebody."""
        if not job_ids:
            return
        goes = {h.job_id: replace(h, going=True, going_for=for_job_id) for h in self.may_go if h.job_id in job_ids}
        self.holders = [goes.get(holder.job_id, holder) for holder in self.holders]
        self.may_go = [goes.get(holder.job_id, holder) for holder in self.may_go]
        self.on_card = {}
        for holder in self.holders:
            for index in holder.cards:
                self.on_card.setdefault(index, []).append(holder)

    def without(self, job_ids: Collection[str]) -> Board:
        """The same host had these jobs let go of their cards: a board to try on."""
        other = copy.copy(self)
        other.on_card = {
            index: [holder for holder in holders if holder.job_id not in job_ids]
            for index, holders in self.on_card.items()
        }
        return other

    def holders_on(self, gpu: Gpu) -> list[Holder]:
        return self.on_card.get(gpu.index, [])

    @property
    def has_room_without_gpu(self) -> bool:
        return self.without_gpu < self.view.no_gpu_limit

    def used_bytes(self, gpu: Gpu, job_id: str) -> int | None:
        """What the job uses on this card, as NVML shows its processes; None: it has none there or NVML does not say."""
        pids = self.view.our_pids
        used = [process.memory_used_bytes for process in gpu.processes if pids.get(process.pid) == job_id]
        if not used or None in used:
            return None
        return sum(size for size in used if size is not None)
