"""Many files as one range of addresses, so that one numpy view reaches every byte of a data set.

A range of virtual addresses is reserved (it costs no memory: 1.4 TB fit 90
times) and each file is mapped into it, read-only. Arrow buffers made of it keep
it alive; the last one to go unmaps it. Knows bytes, not rows.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from forgather_spool.dataset.errors import BadDataset
from forgather_spool.dataset.storage.opened import OpenFile, OpenFiles

if TYPE_CHECKING:
    import pyarrow as pa

PROT_NONE, PROT_READ = 0, 1
MAP_PRIVATE, MAP_SHARED, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 2, 1, 0x10, 0x20, 0x4000
FAILED = ctypes.c_void_p(-1).value
MADV_RANDOM, MADV_NORMAL = 1, 0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Region:
    """`paths` mapped one after the other, each at a page border; `offsets` says where.

    Raises:
        BadDataset: a file is shorter or longer than its entry in `sizes`.
        OSError: a file cannot be opened or mapped.
    """

    def __init__(self, paths: Sequence[str], sizes: Sequence[int]) -> None:
        self.offsets: list[int] = []
        total = 0
        for size in sizes:
            self.offsets.append(total)
            total += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.size = max(total, mmap.PAGESIZE)
        self.address = _map(None, self.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)
        weakref.finalize(self, _libc.munmap, self.address, self.size).atexit = False
        files = zip(paths, sizes, self.offsets, strict=True)
        self._opened = OpenFiles(list(paths), [self._map_file(path, size, offset) for path, size, offset in files])
        raw = (ctypes.c_char * self.size).from_address(self.address)
        self.memory = memoryview(raw).cast("B")
        self._raw = raw

    def _map_file(self, path: str, size: int, offset: int) -> tuple[int, int]:
        """Its device and inode."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            about = os.fstat(fd)
            if about.st_size != size:
                raise BadDataset(f"{path}: has another size than when it was indexed", hint="load it again")
            if size:
                _map(self.address + offset, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd)
            return about.st_dev, about.st_ino
        finally:
            os.close(fd)

    def view(self, dtype: str) -> np.ndarray:
        """The whole range as an array. It does not keep the range alive: whoever holds it holds the region."""
        return np.frombuffer(self._raw, dtype=dtype)

    def buffer(self, offset: int, size: int) -> pa.Buffer:
        """An Arrow buffer of the bytes at `offset`. It keeps the range alive."""
        import pyarrow as pa

        return pa.foreign_buffer(self.address + offset, size, self)

    def file_at(self, address: int) -> tuple[OpenFile, int] | None:
        """The file mapped at this address of the process, and where in it that is; None: none, or it cannot be had."""
        if not self.address <= address < self.address + self.size:
            return None
        number = bisect.bisect_right(self.offsets, address - self.address) - 1
        file = self._opened.get(number)
        return None if file is None else (file, address - self.address - self.offsets[number])


def _map(address: int | None, size: int, protection: int, flags: int, fd: int) -> int:
    found = _libc.mmap(address, size, protection, flags, fd, 0)
    if found is None or found == FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot map {size} bytes: {os.strerror(number)}")
    return int(found)
