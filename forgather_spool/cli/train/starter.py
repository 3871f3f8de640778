"""The files of the project that `forgather init` writes; `examples/stdlib-lm` is the same project."""

from __future__ import annotations

TRAIN_YAML = """\
# Trains a small GPT on the sources of the Python standard library, one byte a token.
#
#   forgather -t train.yaml train                       here, in this terminal
#   forgather -t train.yaml train --enqueue             as a job
#   forgather -t train.yaml train --help                with the arguments below

name: stdlib-bytes
description: A small GPT on the Python standard library's sources, byte by byte.

dynamic_args: # each is an option of `train`, and ${name} below
  learning_rate: {type: float, default: 2e-3, min: 0, max: 1, help: "The peak; it warms up and falls to nothing."}
  max_steps: {type: int, default: 300, min: 1, help: "Steps of the optimizer."}
  batch_size: {type: int, default: 8, min: 1, help: "Examples in a step, on each process."}
  seed: {type: int, default: 42, min: 0, help: "The same seed gives the same run."}

nproc_per_node: 1 # processes, one card each where there are cards; several are started by torchrun

train:
  model:
    config: {model_type: gpt2, n_layer: 4, n_head: 4, n_embd: 128, n_positions: 128}
  tokenizer: {kind: byte}
  data:
    text: python-stdlib # or files and globs: [corpus/*.txt]
    max_bytes: 8000000
    validation: 0.005
  block_size: 128
  seed: ${seed}
  args: # any field of transformers.TrainingArguments
    max_steps: ${max_steps}
    per_device_train_batch_size: ${batch_size}
    learning_rate: ${learning_rate}
    lr_scheduler_type: cosine
    warmup_steps: 20
    weight_decay: 0.01
    logging_steps: 10
    eval_strategy: steps
    eval_steps: 100
    save_strategy: steps
    save_steps: 100
    save_total_limit: 3
"""

README = """\
# A starter project

`train.yaml` trains a small language model on the sources of the Python standard library: no download, about two
minutes on two CPU cores. Make it yours by changing the data, the model and the arguments.

    forgather ls                                            # the configs here
    forgather -t train.yaml train --help                    # the arguments this one takes
    forgather -t train.yaml train                           # train, here
    forgather -t train.yaml train --enqueue --priority 5    # or as a job

While it trains, from any terminal:

    forgather job tail JOB         # follow it
    forgather job save JOB         # a checkpoint now
    forgather job save-stop JOB    # a checkpoint, then the end

And afterwards:

    forgather -t train.yaml train --resume                  # go on where it stopped
    forgather logs summary                                  # how it went
    forgather logs plot -o loss.png

Checkpoints and logs lie in `output_models/`.
"""

FILES = {"train.yaml": TRAIN_YAML, "README.md": README}
