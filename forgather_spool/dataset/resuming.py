"""Where a data set is: its epoch, its state, and going on from a state, with these or other ranks and workers.

`state_dict` and `load_state_dict` are as torchdata's StatefulDataLoader wants
them. What an epoch's order is made of lies here too, for a state is of an order.
Knows nothing of columns, formats and maps but their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from forgather_spool.dataset.bounds import bound, whole
from forgather_spool.dataset.cursor import Cursor, State, check_content, merged, parse_state, skipped
from forgather_spool.dataset.errors import StateMismatch
from forgather_spool.dataset.iteration import Iteration
from forgather_spool.dataset.lanes import Lane, Rest
from forgather_spool.dataset.order import Layer, Order, Shuffle, Window, parse_order
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset.stages import Stage, changes_counts, group_rows
from forgather_spool.dataset.torch_base import Epoch, MaybeTorch
from forgather_spool.errors import UsageError

MAX_EPOCH = (1 << 62) - 1


class Resumable(MaybeTorch):
    """`rows` in an order, and a place in it."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._layers: tuple[Layer, ...] = ()
        self._seed_given = True
        self._lane = Lane()
        self._stages: tuple[Stage, ...] = ()
        self._epoch = Epoch(0)
        self._pending: State | None = None  # where the next iteration begins
        self._iteration: Iteration | None = None  # the latest

    @property
    def order(self) -> Order:
        """The sequence of this epoch."""
        layers = list(self._layers)
        if layers and isinstance(layers[-1], (Shuffle, Window)):
            layers[-1] = replace(layers[-1], epoch=self.epoch)
        return Order(len(self.rows), tuple(layers))

    @property
    def epoch(self) -> int:
        return self._epoch.value

    @property
    def fingerprint(self) -> str:
        return self.rows.fingerprint

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew. From the beginning, unless this is the epoch that is being resumed."""
        epoch = whole(epoch, "the epoch", 0)
        if epoch > MAX_EPOCH:
            raise UsageError(f"the epoch is {epoch}", hint=f"at most {MAX_EPOCH}")
        if epoch != self.epoch:
            self._epoch.value = epoch
            self._pending = self._iteration = None

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration is, counted by what was given out. Plain JSON, small, cheap at every step."""
        return self._now().document()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration goes on where `state` was saved, also with another number of ranks or workers.

        Raises:
            ContentChanged: it is of other data.
            StateMismatch: it is of another order or other maps, or one worker's of several.
        """
        found = parse_state(state)
        check_content(found, self.fingerprint)
        if found.stages != tuple(stage.name for stage in self._stages):
            raise StateMismatch(f"saved with the maps {list(found.stages)}, and there are {self._stage_names}")
        self._adopt(found)
        self._go_on_at(found)

    def _adopt(self, state: State) -> None:
        """The order of `state`: its epoch always, its seed when ours was drawn."""
        mine, saved = self._layers[-1:], parse_order(state.order, len(self.rows)).layers[-1:]
        if not self._seed_given and mine and saved and type(saved[0]) is type(mine[0]):
            self._layers = (*self._layers[:-1], *saved)
        before, self._epoch.value = self.epoch, state.epoch
        if self.order.text != state.order:
            ours, self._epoch.value = self.order.text, before
            raise StateMismatch(
                f"saved in the order {state.order}, and this is {ours}", hint="use the same seed and slices"
            )

    def skip_to(self, position: int) -> None:
        """The next iteration begins at `position` of the whole epoch's order, for all ranks together."""
        size = len(self.order)
        self._go_on_at(replace(self._fresh(), cursor=Cursor(Rest(bound(position, size, 0), size))))

    def skip_next(self, count: int) -> None:
        """Leave out the next `count` positions, counted over all ranks, from where the latest iteration is."""
        count = whole(count, "the number to skip", 0)
        state = merged([self._now()])
        self._go_on_at(replace(state, cursor=skipped(state.cursor, count)))

    def state_after(self, batches: int, batch_size: int = 1, workers: int = 0) -> dict[str, Any]:
        """The state when every rank's loader has given out `batches` since the latest pass began.

        For loaders that do not ask their workers, such as torch's own. The
        program around workers does not see their passes: call `set_epoch` before each.
        """
        batches, workers = whole(batches, "the number of batches", 0), whole(workers, "the number of workers", 0)
        batch_size = whole(batch_size, "batch_size", 1)
        start = self._iteration.start if self._iteration else self._now()
        if changes_counts(self._stages):
            raise StateMismatch("with filters or batched maps batches do not tell how many rows were taken")
        cursor = merged([start]).cursor
        states = []
        for reader in range(max(1, workers)):
            lane = replace(self._lane, readers=max(1, workers), reader=reader)
            mine = (batches - reader + lane.readers - 1) // lane.readers
            taken = min(mine * batch_size, lane.count(len(cursor.rest)))
            states.append(replace(start, cursor=replace(cursor, lane=lane, taken=taken)))
        return merged(states).document()

    def _go_on_at(self, state: State) -> None:
        self._pending, self._iteration = state, None
        self._epoch.free()

    def _of_these_stages(self, state: State | None) -> State | None:
        """A place in the same order, for what was made of a data set that was to begin there."""
        if state is None or state.stages == self._stage_names:
            return state
        if state.cursor.begun or state.cursor.emitted:
            raise UsageError("the state that was loaded is within a batch of a map", hint="load it after all maps")
        return replace(state, stages=self._stage_names, group=group_rows(self._stages))

    def _now(self) -> State:
        """Where the latest iteration is, or where the next will begin."""
        if self._iteration is not None and self._pending is None:
            return self._iteration.state
        return self._pending or self._fresh()

    def _fresh(self) -> State:
        order = self.order
        cursor = Cursor(Rest(0, len(order)))
        return State(
            self.fingerprint, order.text, len(order), self.epoch, self._stage_names, group_rows(self._stages), cursor
        )

    @property
    def _stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self._stages)


def global_state(states: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One state of many readers', from which any number of ranks and workers may go on.

    Give the `state_dict()` of each rank's data set, or of each rank's
    StatefulDataLoader; all saved at the same step.

    Raises:
        StateMismatch: some reader is missing, or they do not belong together.
    """
    given = [states] if isinstance(states, Mapping) else list(states or ())
    found = [parse_state(one) for state in given for one in _within(state)]
    if not found:
        raise StateMismatch("no data set's state in what was given")
    return merged(found).document()


def _within(state: Any) -> Iterator[Mapping[str, Any]]:
    """Every data set's state in a loader's, however deep."""
    if isinstance(state, Mapping):
        if "fingerprint" in state and "rest" in state:
            yield state
            return
        for value in state.values():
            yield from _within(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _within(value)
