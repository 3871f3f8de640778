"""A machine after a restart, for the dispatcher's own steps: nothing runs on it, and every launch goes well."""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.host.base import ScopeStarted
from forgather_spool.runner.client import Hatched

GONE = {"pid": 4194304, "start_ticks": 1}  # above the kernel's largest


class EmptyMachine:
    """A host of plain processes, of which there are none."""

    kind = "process"

    def __init__(self) -> None:
        self.begun: list[ScopeStarted] = []

    def members(self, scope: str) -> list[int]:
        return []

    def begin(self, scope: str, pid: int, limits: object, description: str) -> None:
        self.begun.append(ScopeStarted(scope))

    def events(self) -> list[ScopeStarted]:
        told, self.begun = self.begun, []
        return told


class Nursery:
    """Its children are told to go and do what `run` says, at once."""

    def prepare(self) -> None:
        return None

    def hatch(self, request: Document) -> Hatched:
        return Hatched(GONE["pid"], GONE["start_ticks"], -1)

    def go(self, hatched: Hatched, *, keep: bool) -> None:
        return None
