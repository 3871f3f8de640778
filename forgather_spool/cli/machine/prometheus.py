"""Prometheus' text format: https://prometheus.io/docs/instrumenting/exposition_formats/. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, with the labels that tell it from its metric's others."""

    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric that goes up and down. Without samples it says that there is nothing to say."""

    name: str
    help: str
    samples: Sequence[Sample]


def gauge(name: str, help: str, value: float | None) -> Gauge:
    """One without labels; no sample where there is no value."""
    return Gauge(name, help, [] if value is None else [Sample(value, {})])


def by_label(name: str, help: str, label: str, values: Mapping[str, float]) -> Gauge:
    return Gauge(name, help, [Sample(value, {label: word}) for word, value in values.items()])


def as_text(gauges: Sequence[Gauge]) -> str:
    """All of them, ready to be scraped; those without samples keep their HELP and TYPE."""
    lines: list[str] = []
    for one in gauges:
        lines += [f"# HELP {one.name} {_escaped(one.help)}", f"# TYPE {one.name} gauge"]
        lines += [f"{one.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in one.samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.encode("utf-8", "replace").decode().replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
