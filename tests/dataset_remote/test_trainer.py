"""As `train_dataset` of the Hugging Face Trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'forgather-spool[train]'")
transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'forgather-spool[train]'")

from forgather_spool.dataset import ComposableIterableDataset
from tests.dataset_server.serving import Served

Load = Callable[..., ComposableIterableDataset]


class Seen(torch.nn.Module):
    """Learns one number, and remembers which examples it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.numbers: list[int] = []

    def forward(self, number: Any) -> dict[str, Any]:
        self.numbers += number.tolist()
        return {"loss": (self.weight - number.float()).pow(2).mean()}


def trained(data: ComposableIterableDataset, folder: Path, *, resume: bool = False, **args: Any) -> list[int]:
    model = Seen()
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=8, use_cpu=True, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, **args,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=data)
    trainer.train(resume_from_checkpoint=resume)
    return model.numbers


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_shown_each_example_in_its_order_anew_in_each_epoch(
    served: Served, from_servers: Load, tmp_path: Path, workers: int
) -> None:
    data = from_servers(served).select_columns("number").shuffle(1).reader_blocks(8).with_format("torch")
    first = data.order.rows(0, 1000).tolist()

    seen = trained(data, tmp_path / "out", num_train_epochs=2, dataloader_num_workers=workers, save_strategy="no")

    assert seen[:1000] == first
    assert seen[1000:] != first and sorted(seen[1000:]) == list(range(1000))


def test_it_goes_on_at_a_saved_position_without_reading_what_was_before(
    served: Served, from_servers: Load, tmp_path: Path
) -> None:
    data = from_servers(served).select_columns("number").shuffle(1).with_format("torch")
    whole = trained(data, tmp_path / "whole", max_steps=20, save_strategy="no")
    data.set_epoch(0)
    begun = trained(data, tmp_path / "out", max_steps=12, save_steps=12)
    state = data.state_after(12, 8)

    again = from_servers(served).select_columns("number").shuffle(1).with_format("torch")
    again.load_state_dict(state)
    rest = trained(again, tmp_path / "out", max_steps=20, save_strategy="no", resume=True, ignore_data_skip=True)

    assert begun + rest == whole
