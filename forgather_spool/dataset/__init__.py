"""Data sets as a training script sees them: by position, shuffled globally, resumed exactly.

`rows.py` says what a data set is, `order.py` in which sequence its rows come,
`walk.py` which of them one reader takes. Needs the extra `dataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgather_spool.dataset.iterable import ComposableIterableDataset
    from forgather_spool.dataset.load import fast_load_iterable_dataset
    from forgather_spool.dataset.resuming import global_state

HOMES = {
    "ComposableIterableDataset": "iterable",
    "fast_load_iterable_dataset": "load",
    "global_state": "resuming",
}
__all__ = ["ComposableIterableDataset", "fast_load_iterable_dataset", "global_state"]


def __getattr__(name: str) -> Any:
    """Imported when first asked for: pyarrow takes its time."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
