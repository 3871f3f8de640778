"""One line of the report: what was measured, against what, and the bar it must meet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.measure import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`at_most` or `at_least` this much; `of` says of what: the row's own figure or its ratio to the peer."""

    kind: Literal["at_most", "at_least"]
    limit: float
    of: Literal["value", "ratio"]

    def is_met_by(self, figure: float) -> bool:
        return figure <= self.limit if self.kind == "at_most" else figure >= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.kind == "at_most" else "≥"
        return f"{sign} {self.limit:g}{' x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`value` and `p95` in `unit`. `peer` names what `peer_value` is of; `ratio` is value / peer_value."""

    group: str
    what: str
    unit: str
    value: float | None
    p95: float | None = None
    count: int = 1
    peer: str | None = None
    peer_value: float | None = None
    bar: Bar | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if self.value is None or not self.peer_value:
            return None
        return self.value / self.peer_value

    @property
    def verdict(self) -> str:
        """ "met", "missed", or empty where there is no bar or no figure."""
        figure = None if self.bar is None else (self.ratio if self.bar.of == "ratio" else self.value)
        if self.bar is None or figure is None:
            return ""
        return "met" if self.bar.is_met_by(figure) else "missed"

    def as_document(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "bar": None if self.bar is None else str(self.bar),
            "ratio": self.ratio,
            "verdict": self.verdict,
        }


def at_most(limit: float, of: Literal["value", "ratio"] = "value") -> Bar:
    return Bar(kind="at_most", limit=limit, of=of)


def at_least(limit: float, of: Literal["value", "ratio"] = "value") -> Bar:
    return Bar(kind="at_least", limit=limit, of=of)


def from_samples(
    group: str,
    what: str,
    samples: Samples,
    *,
    unit: str = "ms",
    peer: str | None = None,
    against: Samples | None = None,
    bar: Bar | None = None,
    note: str = "",
) -> Row:
    """The medians side by side."""
    return Row(
        group=group,
        what=what,
        unit=unit,
        value=samples.median,
        p95=samples.p95,
        count=len(samples.values),
        peer=peer,
        peer_value=None if against is None else against.median,
        bar=bar,
        note=note,
    )


def skipped(group: str, what: str, why: str) -> Row:
    """A row without a figure: it could not be measured here."""
    return Row(group=group, what=what, unit="", value=None, count=0, note=f"skipped: {why}")
