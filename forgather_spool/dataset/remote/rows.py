"""`RemoteRows`: the rows of servers, as if they were here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from forgather_spool.dataset.order import Order
from forgather_spool.dataset.remote.ahead import Ahead
from forgather_spool.dataset.remote.patience import max_retry_s
from forgather_spool.dataset.remote.reading import Reading
from forgather_spool.dataset.remote.replicas import Replicas
from forgather_spool.dataset.remote.server import Wanted
from forgather_spool.dataset.rows import BATCH_BYTES, BATCH_ROWS, BatchBytes, Rows, without_columns
from forgather_spool.dataset.walk import Walk
from forgather_spool.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class RemoteRows(Rows):
    """`length` rows of `schema`. Pickled, it carries tokens: it is to go to a DataLoader's processes, to no disk."""

    def __init__(self, replicas: Replicas, length: int, schema: pa.Schema) -> None:
        self._replicas = replicas
        self._length = length
        self._schema = schema

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    @property
    def fingerprint(self) -> str:
        return self._replicas.fingerprint

    @property
    def servers(self) -> list[str]:
        """URLs of those it may read from."""
        return [server.url for server in self._replicas.servers]

    def __len__(self) -> int:
        return self._length

    def batches(
        self, order: Order, walk: Walk, *, columns: Sequence[str] | None = None, batch_bytes: BatchBytes = BATCH_BYTES
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As `Rows.batches`. Fetches ahead where that is of use; a server that fails is replaced, or waited for.

        Raises, beside what `Rows.batches` does:
            ServerUnreachable, ServerRefused: see `remote/server.py`.
        """
        if order.total != self._length or walk.last >= len(order):
            raise UsageError(f"an order of {order.total} rows, positions up to {walk.last}: there are {self._length}")
        schema = self._projected(columns)
        names = None if columns is None else tuple(columns)
        if names == ():
            return _nothing_but_rows(walk.count)
        wanted_bytes = batch_bytes() if callable(batch_bytes) else batch_bytes
        wanted = Wanted(order, walk, names, wanted_bytes, self.fingerprint)
        reading = Reading(self._replicas, wanted, schema, max_retry_s())
        return iter(Ahead(reading.batches(), reading.cancel))

    def _projected(self, columns: Sequence[str] | None) -> pa.Schema:
        import pyarrow as pa

        if columns is None:
            return self._schema
        for name in columns:
            if self._schema.names.count(name) != 1:
                raise UsageError(f"no column {name!r}", hint=f"there are {', '.join(self._schema.names)}")
        return pa.schema([self._schema.field(name) for name in columns], metadata=self._schema.metadata)


def _nothing_but_rows(count: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """No server is asked for no columns."""
    for start in range(0, count, BATCH_ROWS[1]):
        yield start, without_columns(min(BATCH_ROWS[1], count - start))
