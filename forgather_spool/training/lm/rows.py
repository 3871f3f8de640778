"""The column a section names, as rows of a data set: here or on a server, opened and never read to its end at once.

Knows nothing of tokens, blocks and ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from forgather_spool.dataset import ComposableIterableDataset, fast_load_iterable_dataset
from forgather_spool.dataset.address import SERVER_VARIABLE
from forgather_spool.errors import BadDocument
from forgather_spool.training.lm.section import WHERE, Section


def load_rows(section: Section) -> ComposableIterableDataset:
    """The column, in its order of rows. Raises BadDocument when there is no such column."""
    data = section.data
    if data["server"] is not None:
        os.environ[SERVER_VARIABLE] = data["server"]
    found = fast_load_iterable_dataset(data["stream"], split=data["split"])
    if data["column"] not in found.column_names:
        names = ", ".join(found.column_names)
        raise BadDocument(f"{WHERE}.data.column", f"there is no {data['column']!r}", hint=f"there are {names}")
    return found.select_columns(data["column"])


def texts_of(section: Section) -> Iterator[str]:
    """Each row's text."""
    for row in load_rows(section):
        yield str(row[section.data["column"]])
