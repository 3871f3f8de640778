"""Being a torch `IterableDataset` without importing torch for programs that do without.

A DataLoader asks ``isinstance(dataset, IterableDataset)``. So a class gets
that base when torch is there: when an object is made, or, for torch imported later, at the question
itself, which looks at `__class__`.
"""

from __future__ import annotations

import sys
from typing import Any


class Plain:
    """A base of our own: Python refuses to change the bases of a class whose only base is `object`."""


class MaybeTorch(Plain):
    """What derives from this directly is an `IterableDataset` as soon as torch is imported."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        become_torch(cls)
        return super().__new__(cls)

    @property
    def __class__(self) -> Any:
        become_torch(type(self))
        return type(self)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a data set stays what it is")


def become_torch(cls: Any) -> None:
    """Give `cls` the base `torch.utils.data.IterableDataset`, if torch is imported and it has not got it."""
    data = sys.modules.get("torch.utils.data")
    base = getattr(data, "IterableDataset", None)
    if base is None or base in cls.__mro__:
        return
    for one in cls.__mro__:
        if MaybeTorch in one.__bases__:
            one.__bases__ = (*one.__bases__, base)
            return


def reader_of_torch() -> tuple[int, int]:
    """Number of this process among a DataLoader's, and how many those are; (0, 1) outside."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return (0, 1) if info is None else (int(info.id), int(info.num_workers))


def loader_of_torch() -> int:
    """A number that is the same in all workers of one pass of a DataLoader, and another in the next; 0 outside."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return 0 if info is None else (int(info.seed) - int(info.id)) % (1 << 62) + 1


class Epoch:
    """The epoch, and whose the loaded state is; in memory shared with a DataLoader's workers once torch is there.

    So persistent workers see a new epoch. And workers take a loaded state from the copy they were
    started with, which the program they left behind cannot see: the state is for one pass, and claimed by it.
    The first pass of a worker is of the epoch in which it was started, however late it begins: else one that is
    slow would read another epoch than the others, once the program has gone on to the next.
    """

    def __init__(self, value: int) -> None:
        torch = sys.modules.get("torch")
        self._both: Any = [value, 0]
        self._known = value  # to this process; a worker's is that of its start
        self._begun = False  # by this process, a worker
        if torch is not None and hasattr(torch, "tensor"):
            self._both = torch.tensor(self._both, dtype=torch.int64).share_memory_()

    @property
    def value(self) -> int:
        late = loader_of_torch() and not self._begun
        return self._known if late else int(self._both[0])

    @value.setter
    def value(self, value: int) -> None:
        self._both[0] = self._known = value

    def begun(self) -> None:
        """A pass has begun. The next one of a worker is of the epoch that its program is in by then."""
        self._begun = bool(loader_of_torch())

    def free(self) -> None:
        self._both[1] = 0

    def claim(self, loader: int) -> bool:
        """Whether the loaded state is for `loader`: not when another pass, of workers, has begun there."""
        if int(self._both[1]) in (0, loader):
            self._both[1] = loader
            return True
        return False
