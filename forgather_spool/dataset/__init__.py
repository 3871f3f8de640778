"""Data sets as a training script sees them: by position, shuffled globally, resumed exactly.

`rows.py` says what a data set is, `order.py` in which sequence its rows come,
`walk.py` which of them one reader takes. Needs the extra `dataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgather_spool.dataset.iterable import ComposableIterableDataset, global_state

__all__ = ["ComposableIterableDataset", "global_state"]


def __getattr__(name: str) -> Any:
    """Imported when first asked for: pyarrow takes its time."""
    if name in __all__:
        from forgather_spool.dataset import iterable

        return getattr(iterable, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
