"""The keys of a config, with their types: what checks them, and what the reference is made from."""

from __future__ import annotations

from forgather_spool.fields import Field

MAX_PROCESSES = 1024

CONFIG: dict[str, Field] = {
    "extends": Field("string", None, help="another config, found from this file's folder; what stands here wins"),
    "name": Field("string", None, maximum=200, help="the model's name, and the job's; default: the file's name"),
    "description": Field("string", "", help="a line for `forgather ls`"),
    "dynamic_args": Field("object", {}, help="what the command line may set: {NAME: {type, default, min, max, ...}}"),
    "env": Field("object", {}, help="environment variables of the training"),
    "nproc_per_node": Field("integer", 1, minimum=1, maximum=MAX_PROCESSES, help="processes; several: by torchrun"),
    "gpus": Field("integer", None, minimum=0, maximum=MAX_PROCESSES, help="cards; default: one a process; 0: CPU only"),
    "time_limit": Field("string", None, help="stopped after this long, e.g. 12h"),
    "python": Field("string", None, help="the interpreter for script and train; default: the one you are in"),
    "output_dir": Field("string", None, help="checkpoints and runs; default: output_models/NAME"),
    "command": Field("strings", None, help="any program: a list of words, or one line that is split as a shell would"),
    "script": Field("string", None, help="a Python script, from the project's folder"),
    "args": Field("strings", None, help="the script's arguments: a list"),
    "train": Field("object", None, help="the built-in trainer: a causal language model"),
}

MODEL: dict[str, Field] = {
    "config": Field("object", None, help="a transformers config: model_type, and what that model type takes"),
    "pretrained": Field("string", None, help="a folder `save_pretrained` wrote: train on from it"),
}
KINDS = ("byte", "bpe", "pretrained")
TOKENIZER: dict[str, Field] = {
    "kind": Field("string", "byte", choices=KINDS, help="byte: 256 and no training; bpe: trained on the data"),
    "vocab_size": Field("integer", 2048, minimum=257, maximum=1_000_000, help="bpe: how many tokens"),
    "path": Field("string", None, help="pretrained: a folder with a tokenizer"),
}
DATA: dict[str, Field] = {
    "text": Field("strings", None, help="files, globs, or the word python-stdlib; each file is a document"),
    "dataset": Field("string", None, help="a folder `Dataset.save_to_disk` wrote"),
    "stream": Field("string", None, help="a data set read while training: a file, folder or name, or one of a server"),
    "server": Field("string", None, help="stream: its dataset server, as FORGATHER_DATASET_SERVER; null: as that says"),
    "shuffle": Field("boolean", True, help="stream: in another order each epoch"),
    "column": Field("string", "text", help="dataset, stream: the column that holds the text (stream: or token ids)"),
    "split": Field("string", None, help="dataset, stream: which one, if there are several [default: train]"),
    "validation": Field(
        "number",
        None,
        minimum=0,
        maximum=0.5,
        help="the share of blocks (stream: of rows) held out; 0: none [default: 0.02, of a stream 0]",
    ),
    "max_bytes": Field(
        "integer",
        None,
        minimum=1,
        help="use this much text at most; stream: this much for a bpe tokenizer [default: 64 MiB]",
    ),
}
TRAIN: dict[str, Field] = {
    "model": Field("object", None, help="required"),
    "tokenizer": Field("object", {}, help="default: byte, or the one of the pretrained model"),
    "data": Field("object", None, help="required"),
    "block_size": Field("integer", 128, minimum=2, maximum=1 << 20, help="tokens in one example"),
    "seed": Field("integer", 42, minimum=0, maximum=2**32 - 1, help="of weights, order and dropout"),
    "args": Field("object", {}, help="any field of transformers.TrainingArguments"),
}

PROGRAMS = ("command", "script", "train")
LISTS = {("command",), ("args",), ("train", "data", "text")}  # of plain values; one text will do
NUMBERS_TOO = {("name",), ("time_limit",)}  # texts, where a number will do
