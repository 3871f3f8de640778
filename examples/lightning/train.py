"""Lightning under control: one callback, and nothing else changes.

forgather submit --name lit -- python train.py
forgather job save lit
"""

import argparse

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from forgather_spool.trainer import LightningControlCallback


class Sine(lightning.LightningModule):
    """A small network that learns a sine."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        x, y = batch
        loss = (self.model(x) - y).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--out", default="output")
    options = parser.parse_args()

    torch.manual_seed(0)
    x = torch.rand(4096, 1) * 6 - 3
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        default_root_dir=options.out,
        enable_progress_bar=False,
        logger=False,
        callbacks=[LightningControlCallback(on_sigterm="save_and_stop")],
    )
    trainer.fit(Sine(), DataLoader(TensorDataset(x, x.sin()), batch_size=32))
    print(f"ended at step {trainer.global_step}", flush=True)


if __name__ == "__main__":
    main()
