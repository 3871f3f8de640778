"""A project's YAML config, and a trainer's log: files people write by hand, and that other programs write."""

from __future__ import annotations

from pathlib import Path

from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from forgather_spool.runs.read import read_run
from forgather_spool.training import config, config_file, yaml_file
from tests.fuzz import mutate, seeds
from tests.fuzz.endure import endure, put

CONFIGS = [
    "extends: base.yaml\nname: tiny\ndynamic_args:\n  lr: {type: float, default: 1e-3, min: 0, max: 1}\n"
    "  size: {type: int, default: 4}\ntrain:\n  model: {config: {model_type: gpt2, n_embd: '${size}'}}\n"
    "  data: {text: [python-stdlib]}\n  learning_rate: ${lr}\n",
    "description: any program\nenv: {A: '${B:-1}', C: x}\ncommand: python train.py --out ${output_dir}\ngpus: 0\n"
    "nproc_per_node: 2\ntime_limit: 12h\n",
    "script: train.py\nargs:\n  - --depth\n  - 3\noutput_dir: ~/out\npython: null\n",
]
LOGS = [
    [{"global_step": 1, "loss": 2.5, "epoch": 0.1, "timestamp": 1.7e9}, {"global_step": 2, "loss": "NaN"}],
    {"log_history": [{"step": 1, "loss": 2.5, "epoch": 0.1}, {"step": 2, "train_runtime": 10.5}]},
]


def test_a_spoilt_config_is_used_or_refused_with_its_line(tmp_path: Path) -> None:
    """As far as the values the training would be given."""
    (tmp_path / "base.yaml").write_text("train:\n  tokenizer: {kind: byte}\n")
    path = tmp_path / "train.yaml"

    def read(text: str) -> None:
        put(path, text)
        found = config.resolve(config_file.load(str(path)), {}, {"B": "b"}).as_document()
        assert yaml_file.parse(yaml_file.written(found), "again") == found

    taken, refused = endure(mutate.texts(CONFIGS, seed=10), read, BadDocument, UnreadableFile, UsageError, share=100)

    assert taken > 20 and refused > 100, "these configs try nothing"


def test_a_spoilt_log_is_a_run_or_is_refused(tmp_path: Path) -> None:
    """With its curves against each axis, and what `run.json` beside it says spoilt as well."""
    path = tmp_path / "trainer_logs.json"
    abouts = mutate.documents(
        [{"run_id": "a", "name": "b", "job_id": seeds.JOB, "started_at": seeds.AT, "resumed_from": "c"}], seed=11
    )

    def read(data: bytes) -> None:
        put(path, data)
        put(path.with_name("run.json"), next(abouts))
        run = read_run(path)
        assert (run.last_step is None) == (not run.records)
        _ = run.duration_s, run.steps_per_s
        for metric in run.metrics[:3]:
            run.series(metric)

    taken, refused = endure(mutate.documents(LOGS, seed=12), read, UnreadableFile, share=20)

    assert taken > 100 and refused > 100, "these logs try nothing"
