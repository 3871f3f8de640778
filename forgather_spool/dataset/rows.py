"""Rows: what a data set is to everything that reads one, here or on a server.

`storage/` has the rows of files on this machine, the remote client those of a
server. Both give the same bytes for the same order and walk. Rows have no
cursor: every call says where it begins, so any number of readers share one object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from forgather_spool.dataset.order import Order
from forgather_spool.dataset.walk import Walk

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 2 << 20  # what each batch costs beside its bytes is little then: a fifth more is gathered than with half
BATCH_ROWS = (16, 4096)
FIRST_BATCH_ROWS = 64  # so that the first example leaves in under a millisecond

BatchBytes = int | Callable[[], int]


class OpenFile(Protocol):
    """A file whose `fd` is open while this is held."""

    fd: int


def without_columns(rows: int) -> pa.RecordBatch:
    """So many rows of no column: what a batch made of no arrays has forgotten."""
    import pyarrow as pa

    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


class Rows(ABC):
    """One data set. Immutable; may be pickled (a DataLoader sends it to its readers)."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """As stored, metadata included (`huggingface` features among it)."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of the content: equal for copies of the same rows, however and wherever they are stored."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(
        self, order: Order, walk: Walk, *, columns: Sequence[str] | None = None, batch_bytes: BatchBytes = BATCH_BYTES
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows at the positions of `walk` in `order`: ``(t, batch)``, whose first row is the t-th of the walk.

        Complete and in sequence: ``t`` is the number of rows given before, and
        the iterator ends only after ``walk.count`` rows. Batches hold about
        `batch_bytes` (the first one less; a function is asked before each), never none.

        Raises:
            UsageError: `order` is of another number of rows, `walk` leaves it, or there is no such column.
            ContentChanged: the stored data are no longer those of `fingerprint`.
        """

    def file_at(self, address: int) -> tuple[OpenFile, int] | None:
        """The file that is mapped at this address, and the offset in it: what of a batch was not copied lies there."""
        return None

    @property
    def features(self) -> Mapping[str, Any] | None:
        """What the `datasets` library says of the columns, as plain JSON; None when it says nothing."""
        import json

        try:
            about = json.loads((self.schema.metadata or {})[b"huggingface"])
            found: Mapping[str, Any] = about["info"]["features"]
            return found
        except (KeyError, ValueError, TypeError):
            return None

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def close(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Give back what is held (maps, connections). Batches already given stay valid."""
