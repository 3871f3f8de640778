"""The numbers a run reports, as floats and as JSON can have them."""

from __future__ import annotations

from math import isfinite

from forgather_spool.trainer.warn import warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def floats(numbers: Mapping[str, Any]) -> dict[str, float]:
    """What is no number is left out: a run does not end for a metric."""
    floats = {}
    for name, value in numbers.items():
        try:
            floats[name] = float(value)
        except (TypeError, ValueError, RuntimeError):  # RuntimeError: a tensor of several elements
            warn_once(f"the metric {name!r} is no number")
    return floats


def in_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinity, so those are words that `float` reads: "nan", "-inf"."""
    return {name: value if isfinite(value) else str(value) for name, value in metrics.items()}
