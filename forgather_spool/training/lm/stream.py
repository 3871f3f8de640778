"""Data read while training: from files or a dataset server, rows into blocks, and where a checkpoint was.

Rows come in the order of a shuffle, another one each epoch, without end. They
are joined in groups, each document followed by an end-of-text token, and cut into blocks; the
last block of a group is filled up, so that no token is lost. What is held out for
evaluation is read before training, by every rank. A checkpoint
holds each rank's position, counted by the batches it was trained on: resuming reads nothing twice, and nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from forgather_spool.dataset import ComposableIterableDataset, global_state
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, UsageError
from forgather_spool.spool import files
from forgather_spool.training.lm.data import Blocks
from forgather_spool.training.lm.rows import load_rows
from forgather_spool.training.lm.section import WHERE, Section

GROUP_ROWS = 64
HELD_OUT_SEED = 0  # whatever the run's seed: runs over the same data are evaluated on the same rows
IGNORED = -100  # a label the loss leaves out
STATE = "data_{rank}_of_{ranks}.json"


def load_blocks(
    section: Section, tokenizer: Any, *, rank: int, ranks: int
) -> tuple[ComposableIterableDataset, Blocks | None]:
    """The rank's share, in blocks of `section.block_size` tokens with their labels; and all that is held out."""
    rows, held_out = parted(load_rows(section), section.data.get("validation", 0.0), section.data["shuffle"])
    if section.data["shuffle"]:
        rows = rows.shuffle(section.seed)
    if len(rows.order) < ranks:
        raise BadDocument(f"{WHERE}.data.stream", f"{len(rows.order)} rows are too few for {ranks} ranks")
    column = section.data["column"]

    def blocks(group: dict[str, list[Any]]) -> dict[str, np.ndarray]:
        return cut(_tokens(group[column], tokenizer), section.block_size, tokenizer.eos_token_id)

    share = rows.shard(ranks, rank).map(blocks, batched=True, batch_size=GROUP_ROWS, remove_columns=column)
    return share, None if held_out is None else _whole_blocks(held_out, section, tokenizer)


def parted(
    rows: ComposableIterableDataset, share: float, shuffled: bool
) -> tuple[ComposableIterableDataset, ComposableIterableDataset | None]:
    """`rows` without a `share` of them, and those: drawn from anywhere, or the last ones where order matters.

    The same ones in every epoch and in every run over the same data.
    """
    count = len(rows.order)
    kept = max(count - round(count * share), min(count, 1))
    if kept == count:
        return rows, None
    if shuffled:
        rows = rows.shuffle(HELD_OUT_SEED)
    return rows.slice(0, kept), rows.slice(kept, count)


def _whole_blocks(rows: ComposableIterableDataset, section: Section, tokenizer: Any) -> Blocks | None:
    """All tokens of `rows`, in memory, but those behind the last whole block; None when there is none."""
    groups = (_tokens(group[section.data["column"]], tokenizer) for group in rows.iter(GROUP_ROWS))
    tokens = np.concatenate([group.astype(np.int32) for group in groups])
    whole = len(tokens) // section.block_size
    if not whole:
        return None
    return Blocks(torch.from_numpy(tokens[: whole * section.block_size].reshape(whole, -1)))


def cut(tokens: np.ndarray, size: int, filler: int) -> dict[str, np.ndarray]:
    """Blocks of `size`; what fills up the last one counts for no loss."""
    count = -(-len(tokens) // size)
    ids = np.full(count * size, filler, np.int64)
    labels = np.full(count * size, IGNORED, np.int64)
    ids[: len(tokens)] = labels[: len(tokens)] = tokens
    return {"input_ids": ids.reshape(count, size), "labels": labels.reshape(count, size)}


def _tokens(rows: list[Any], tokenizer: Any) -> np.ndarray:
    """Of a group of rows: texts, or token ids as they are."""
    parts: list[Any] = [row for row in rows if not isinstance(row, str) and row is not None]
    if not parts:
        texts = [row for row in rows if row]
        encoded = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        parts = [[*one.ids, tokenizer.eos_token_id] for one in encoded]
    return np.concatenate([np.asarray(part, np.int64) for part in parts]) if parts else np.zeros(0, np.int64)


class Batches:
    """Batches of `data` without end, epoch after epoch; each of `size` blocks.

    Read in this process and none ahead, so that the data set's own state is
    the position after the last batch given out.
    """

    def __init__(self, data: ComposableIterableDataset, size: int) -> None:
        self.dataset = data
        self.batch_size = size

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        held: list[dict[str, np.ndarray]] = []
        while True:
            given = False
            for block in self.dataset:
                given = True
                held.append(block)
                if len(held) == self.batch_size:
                    yield {name: torch.from_numpy(np.stack([one[name] for one in held])) for name in block}
                    held = []
            if not given and not held:
                raise BadDocument(f"{WHERE}.data.stream", "there is no text in it")
            self.dataset.set_epoch(self.dataset.epoch + 1)


def save_position(data: ComposableIterableDataset, folder: str, *, rank: int, ranks: int) -> None:
    """Into a checkpoint that is not complete yet."""
    files.note(f"{folder}/{STATE.format(rank=rank, ranks=ranks)}", data.state_dict(), folder)


def load_position(data: ComposableIterableDataset, folder: str, *, rank: int, ranks: int) -> None:
    """Go on where the checkpoint was saved, also when it was saved by another number of ranks.

    Raises:
        UsageError: it holds no position.
        ContentChanged, StateMismatch: it is of other data, or its ranks were in different epochs.
    """
    saved = _positions(folder)
    if len(saved) == ranks:
        data.load_state_dict(saved[rank])
    else:
        data.load_state_dict(global_state(saved))


def _positions(folder: str) -> list[Document]:
    """Those of all ranks."""
    names = files.names(folder)
    for ranks in range(1, len(names) + 1):
        if STATE.format(rank=0, ranks=ranks) in names:
            try:
                return [
                    files.read_document(f"{folder}/{STATE.format(rank=rank, ranks=ranks)}") for rank in range(ranks)
                ]
            except FileNotFoundError:
                break
    raise UsageError(f"--resume: {folder} holds no position in the data", hint="start without --resume")
