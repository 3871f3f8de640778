"""Memory: what this process holds for itself, and giving back what it no longer needs.

The C library keeps what was freed. After an index was built, or sixteen slow
clients have left, that is tens of megabytes which nobody has, nor misses.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys

SOON_S = 1.0  # many streams that end together cost one pass over the free memory, some milliseconds

_libc = ctypes.CDLL(None)


def anonymous_bytes() -> int:
    """What this process holds of memory that is nobody else's (proc(5), RssAnon)."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def give_back() -> None:
    """Return to the kernel what is free; nothing on a C library other than glibc."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def leave_pandas_out() -> None:
    """Have Arrow find no pandas, which it looks for once, with the first value it converts: 35 MB, and half a second.

    For a process where nobody has DataFrames. Whoever imports pandas itself still can.
    """
    import pyarrow as pa

    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            pa.array([0])
        finally:
            sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder for `sys.meta_path` that says pandas is not installed."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(name)


class GivingBack:
    """Of one event loop: however often it is asked for, once in `SOON_S`."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_S, self._now)

    def _now(self) -> None:
        self._timer = None
        give_back()
