"""Memory: what this process holds for itself, and giving back what it no longer needs.

The C library keeps what was freed. After an index was built, or sixteen slow
clients have left, that is tens of megabytes which nobody has, nor misses.
"""

from __future__ import annotations

import asyncio
import ctypes

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
