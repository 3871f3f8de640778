"""The Hugging Face Trainer under control: one callback, and nothing else changes.

forgather submit --name hf -- python train.py
forgather job save-stop hf
"""

import argparse

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from forgather_spool.trainer import TrainerControlCallback


class Counting(torch.utils.data.Dataset):
    """Sequences that count modulo 64: a small model learns them in a minute."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.arange(index, index + 32) % 64
        return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", default="output")
    parser.add_argument("--save-strategy", default="no")
    options = parser.parse_args()

    torch.manual_seed(0)
    size = {"vocab_size": 64, "n_positions": 32, "n_embd": 64, "n_layer": 2, "n_head": 2}
    trainer = Trainer(
        model=GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)),
        args=TrainingArguments(
            output_dir=options.out,
            max_steps=options.steps,
            per_device_train_batch_size=16,
            learning_rate=1e-3,
            logging_steps=10,
            save_strategy=options.save_strategy,
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Counting(),
        callbacks=[TrainerControlCallback(on_sigterm="save_and_stop")],
    )
    trainer.train()
    print(f"ended at step {trainer.state.global_step}", flush=True)


if __name__ == "__main__":
    main()
