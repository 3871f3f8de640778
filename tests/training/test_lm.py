"""The built-in trainer, as real processes: what it leaves behind, resumes, answers and survives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.training.lm import checkpoints
from tests.training.lm_runs import Run, config

for library in ("torch", "transformers", "tensorboard"):
    pytest.importorskip(library, reason=f"the built-in trainer needs {library}: pip install 'forgather-spool[train]'")

ENDLESS = 1_000_000
Starter = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts a run in a folder of its own: ``start(config(...), "--resume")``. All are ended with the test."""
    started: list[Run] = []

    def begin(document: dict[str, Any], *words: str, **how: int) -> Run:
        started.append(Run(tmp_path / f"run{len(started)}", document, *words, **how))
        return started[-1]

    yield begin
    for run in started:
        run.kill()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twelve steps without a break, with checkpoints in the first epoch, at its end, and in the second."""
    folder = tmp_path_factory.mktemp("whole")
    document = config(folder, max_steps=12, save_steps=4, eval_strategy="steps", eval_steps=6)
    return Run(folder, document).ended_well()


def test_a_run_leaves_a_model_that_loads_and_logs_that_say_how_it_went(whole: Run) -> None:
    """Model and tokenizer load by from_pretrained; the run's folder has its losses, facts and event files."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(whole.out)
    tokenizer = AutoTokenizer.from_pretrained(whole.out)

    assert model.config.n_layer == 2
    assert tokenizer.decode(tokenizer("naïve\n\tx  y")["input_ids"]) == "naïve\n\tx  y"
    assert tokenizer("A\n")["input_ids"] == [65, 10]
    assert whole.checkpoints() == {"checkpoint-4", "checkpoint-8", "checkpoint-12"}
    (run,) = (whole.out / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["job_id"] == "lm"
    assert list(run.glob("events.out.tfevents.*"))
    assert list(whole.losses()) == list(range(1, 13))
    assert [record["global_step"] for record in whole.records() if "eval_loss" in record] == [6, 12]
    assert whole.losses()[12] < whole.losses()[1]
    assert "12/12" in whole.output


@pytest.mark.parametrize("step", [4, 8])
def test_a_resumed_run_has_the_losses_of_one_without_a_break(
    whole: Run, start: Starter, tmp_path: Path, step: int
) -> None:
    """To the last bit: weights, optimizer, schedule, dropout and the order of the data; in an epoch and at its end."""
    document = config(tmp_path, max_steps=12, save_steps=4, eval_strategy="steps", eval_steps=6)
    document["train"]["data"] = json.loads((whole.out.parent / "config.json").read_text())["train"]["data"]
    shutil.copytree(whole.out, tmp_path / "out")

    resumed = start(document, "--resume", str(tmp_path / "out" / f"checkpoint-{step}")).ended_well()

    assert resumed.losses() == {at: loss for at, loss in whole.losses().items() if at > step}
    assert "warning" not in resumed.output


def test_resume_takes_the_newest_whole_checkpoint_and_skips_a_torn_one(whole: Run, tmp_path: Path) -> None:
    shutil.copytree(whole.out, tmp_path / "out")
    out = str(tmp_path / "out")
    os.remove(f"{out}/checkpoint-12/{checkpoints.MARKER}")
    Path(f"{out}/checkpoint-8/{checkpoints.MARKER}").write_text('{"version": 1, "st')

    assert checkpoints.to_resume("", out) == f"{out}/checkpoint-4"


def test_a_run_saves_by_command_goes_on_and_resumes_to_the_same_losses(start: Starter, tmp_path: Path) -> None:
    """Saved in the middle of an epoch, at a step nobody planned."""
    document = config(tmp_path, max_steps=ENDLESS, save_strategy="no")
    run = start(document).wait_for_step(3)

    saved = run.ask("save_checkpoint")
    run.wait_for_step(saved["step"] + 5)
    stopped = run.ask("save_and_stop")

    assert (saved["outcome"], stopped["outcome"]) == ("done", "done")
    assert run.ended_well().checkpoints() == {f"checkpoint-{saved['step']}", f"checkpoint-{stopped['step']}"}
    assert f"stopped after step {stopped['step']}" in run.output

    before = run.losses()
    document["train"]["args"]["max_steps"] = stopped["step"]
    resumed = start(document, "--resume", saved["checkpoint"]).ended_well()
    assert resumed.losses() == {at: loss for at, loss in before.items() if at > saved["step"]}


def test_a_graceful_stop_saves_unless_the_strategy_is_no(start: Starter, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    saving = start(config(tmp_path / "a", max_steps=ENDLESS, save_steps=ENDLESS)).wait_for_step(1)
    answer = saving.ask("graceful_stop")
    assert saving.ended_well().checkpoints() == {f"checkpoint-{answer['step']}"}
    assert (saving.out / "model.safetensors").exists()

    unsaving = start(config(tmp_path / "b", max_steps=ENDLESS, save_strategy="no")).wait_for_step(1)
    assert unsaving.ask("graceful_stop")["outcome"] == "done"
    assert unsaving.ended_well().checkpoints() == set()
    assert not (unsaving.out / "model.safetensors").exists()


def test_an_aborted_run_saves_nothing(start: Starter, tmp_path: Path) -> None:
    run = start(config(tmp_path, max_steps=ENDLESS, save_steps=ENDLESS)).wait_for_step(1)

    assert run.ask("abort")["outcome"] == "done"

    run.ended_well()
    assert run.checkpoints() == set()
    assert not (run.out / "model.safetensors").exists()
    assert "aborted after step" in run.output


def test_sigterm_saves_and_ends_well(start: Starter, tmp_path: Path) -> None:
    run = start(config(tmp_path, max_steps=ENDLESS, save_strategy="no")).wait_for_step(1)

    run.process.terminate()

    assert len(run.ended_well().checkpoints()) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few checkpoints' size."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_save_and_not_the_run(start: Starter, tmp_path: Path, small_disk: Path) -> None:
    """Whoever asked is told, the previous checkpoint stands, training goes on, and saves again once there is room."""
    document = config(tmp_path, max_steps=ENDLESS, save_strategy="no", logging_steps=1000)
    run = start(document | {"output_dir": str(small_disk / "out")}).wait_for_step(1)
    first = run.ask("save_checkpoint")
    filler = small_disk / "filler"
    free_bytes = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(b"\0" * (free_bytes - 200_000))

    failed = run.ask("save_checkpoint")

    assert first["outcome"] == "done"
    assert failed["outcome"] == "failed"
    assert run.checkpoints() == {f"checkpoint-{first['step']}"}
    assert checkpoints.newest(str(run.out)) == first["checkpoint"]
    run.wait_for_step(failed["step"] + 5)
    assert "could not be saved, training goes on" in run.output

    filler.unlink()
    last = run.ask("save_and_stop")
    assert last["outcome"] == "done"
    assert checkpoints.newest(str(run.ended_well().out)) == last["checkpoint"]


def test_two_ranks_train_together_and_resume_to_the_same_losses(start: Starter, tmp_path: Path) -> None:
    """With gloo, the first by torchrun; each rank has its data and its random state; a mean spans the break."""
    document = config(tmp_path, max_steps=6, save_steps=3, logging_steps=2)
    whole = start(document, torchrun=2).ended_well()
    losses = whole.losses()
    assert list(losses) == [2, 4, 6]

    resumed = start(document, "--resume", f"{whole.out}/checkpoint-3", ranks=2).ended_well()

    assert resumed.losses() == {4: losses[4], 6: losses[6]}
