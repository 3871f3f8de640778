"""Stages: what `map` and `filter` do to examples on their way out.

Examples go through in groups. Without a batched stage a group is one source
row; with one it is as many as the first batched stage takes at a time, and a
later batched stage gets pieces of what that group became, never of two groups.
So a position is always "so many source rows, and so many examples of the next group".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forgather_spool.errors import UsageError

Example = dict[str, Any]
Numbered = tuple[int, Example]  # with its position in the order


@dataclass(frozen=True)
class Stage:
    """`filters`: the function says whether to keep an example, instead of what it becomes."""

    function: Callable[..., Any]
    filters: bool = False
    with_indices: bool = False
    input_columns: tuple[str, ...] | None = None
    batch_size: int = 0  # 0: one example at a time
    drop_last_batch: bool = False
    remove_columns: frozenset[str] = frozenset()
    fn_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a saved state remembers of a stage: not its code."""
        function = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"{'filter' if self.filters else 'map'}:{function}:{self.batch_size}"

    def one(self, index: int, example: Example) -> Example | None:
        """What becomes of one example; None when it is dropped."""
        found = self._call(example, index)
        if self.filters:
            return example if found else None
        if found is None:
            return None
        return self._merged(example, found)

    def many(self, numbered: Sequence[Numbered]) -> Iterator[Numbered]:
        """What becomes of a batch, which may be more or fewer examples. All carry the index of the first."""
        indices, examples = [index for index, _ in numbered], [example for _, example in numbered]
        columns = transposed(examples)
        found = self._call(columns, indices)
        if self.filters:
            yield from (one for one, kept in zip(numbered, self._truths(found, len(numbered)), strict=True) if kept)
            return
        if found is None:
            return
        merged = self._merged(columns, found)
        lengths = {name: self._length(name, values) for name, values in merged.items()}
        if len(set(lengths.values())) > 1:
            raise UsageError(
                f"{self.name}: columns of different lengths: {lengths}",
                hint="a batched map that changes the number of rows names the old columns in remove_columns",
            )
        for row in range(next(iter(lengths.values()), 0)):
            yield indices[0], {name: values[row] for name, values in merged.items()}

    def _call(self, example: Example, index: Any) -> Any:
        names = self.input_columns
        if names is not None and (absent := [name for name in names if name not in example]):
            raise UsageError(f"{self.name}: no column {absent[0]!r}", hint=f"there are {', '.join(example)}")
        given = [example] if names is None else [example[name] for name in names]
        return self.function(*given, *([index] if self.with_indices else []), **self.fn_kwargs)

    def _truths(self, found: Any, count: int) -> list[Any]:
        truths = list(found) if isinstance(found, Iterable) else []
        if len(truths) != count:
            raise UsageError(
                f"{self.name}: returned {len(truths) or type(found).__name__} for {count} examples",
                hint="a batched filter says true or false of each",
            )
        return truths

    def _length(self, name: str, values: Any) -> int:
        if not isinstance(values, (str, bytes, Mapping)):
            with contextlib.suppress(TypeError):  # no length, as of a number or an array of no dimension
                return len(values)
        raise UsageError(
            f"{self.name}: column {name!r} is {type(values).__name__}",
            hint="a batched map gives lists, a value a row",
        )

    def _merged(self, example: Example, found: Any) -> Example:
        if not isinstance(found, Mapping):
            raise UsageError(f"{self.name}: returned {type(found).__name__}, not a dict of columns")
        return {**{name: value for name, value in example.items() if name not in self.remove_columns}, **found}


def transposed(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Examples as columns. What only some of them have is None in the others, as the `datasets` library has it."""
    names: Iterable[str] = examples[0] if examples else ()
    if all(example.keys() == examples[0].keys() for example in examples):
        return {name: [example[name] for example in examples] for name in names}
    names = dict.fromkeys(name for example in examples for name in example)
    return {name: [example.get(name) for example in examples] for name in names}


def group_rows(stages: Sequence[Stage]) -> int:
    """Source rows in a group; 0 when every row is one of its own."""
    return next((stage.batch_size for stage in stages if stage.batch_size), 0)


def changes_counts(stages: Sequence[Stage]) -> bool:
    """Whether there may come more or fewer examples than there are source rows, as far as one can know."""
    return any(stage.filters or stage.batch_size for stage in stages)


def run_one(stages: Sequence[Stage], index: int, example: Example) -> Example | None:
    """One example through stages none of which is batched."""
    found: Example | None = example
    for stage in stages:
        if found is None:
            return None
        found = stage.one(index, found)
    return found


def run_group(stages: Sequence[Stage], group: list[Numbered]) -> list[Numbered]:
    """A whole group through all stages."""
    for stage in stages:
        if not stage.batch_size:
            kept = ((index, stage.one(index, example)) for index, example in group)
            group = [(index, example) for index, example in kept if example is not None]
            continue
        pieces = [group[start : start + stage.batch_size] for start in range(0, len(group), stage.batch_size)]
        if stage.drop_last_batch:
            pieces = [piece for piece in pieces if len(piece) == stage.batch_size]
        group = [one for piece in pieces for one in stage.many(piece)]
    return group
