"""A training job that the queue runs again goes on where its last checkpoint lies, to the same losses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.document import dump
from forgather_spool.outcome import Exited
from forgather_spool.training.lm import checkpoints
from tests.fakes.nvml import FakeCards, build
from tests.story.world import World
from tests.training.lm_held import HELD
from tests.training.lm_runs import ROOT, STARTING_S, Run, config

for library in ("torch", "transformers", "tensorboard"):
    pytest.importorskip(library, reason=f"the built-in trainer needs {library}: pip install 'forgather-spool[train]'")

STEPS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All steps without a break."""
    folder = tmp_path_factory.mktemp("whole")
    return Run(folder, config(folder, max_steps=STEPS, save_steps=4)).ended_well()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world")
    yield world
    world.end()


def test_what_it_saved_in_an_earlier_attempt_is_gone_on_from_without_a_word(whole: Run, tmp_path: Path) -> None:
    """The first attempt was killed; nobody says --resume for the second."""
    document = config(tmp_path, max_steps=1_000_000, save_steps=4)
    first = Run(tmp_path / "first", document).wait_for_step(6)
    first.kill()
    assert first.checkpoints()

    second = Run(tmp_path / "second", config(tmp_path, max_steps=STEPS, save_steps=4), attempt=2).ended_well()

    resumed_at = min(second.losses()) - 1
    assert resumed_at >= 4
    assert second.losses() == {step: loss for step, loss in whole.losses().items() if step > resumed_at}


def test_a_training_that_had_come_to_its_end_takes_no_step_more(tmp_path: Path) -> None:
    """Its machine went down between its last checkpoint and its end."""
    Run(tmp_path / "first", config(tmp_path, max_steps=8, save_steps=4)).ended_well()

    second = Run(tmp_path / "second", config(tmp_path, max_steps=8, save_steps=4), attempt=2).ended_well()

    assert "ended after step 8" in second.output
    assert second.checkpoints() == {"checkpoint-4", "checkpoint-8"}


def test_what_another_job_left_there_is_not_gone_on_from(tmp_path: Path) -> None:
    """Its output directory may hold an older run's checkpoints, and its first attempt may have saved nothing."""
    out = tmp_path / "out"
    for step, job_id in ((4, "q_1738012412345_a1b2c3d4"), (8, None)):
        folder = out / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        marker = {"version": 1, "step": step, "saved_at": "2026-01-01T00:00:00+00:00", "job_id": job_id}
        (folder / "complete.json").write_bytes(dump(marker))

    assert checkpoints.newest(str(out), of_job="q_1738012412345_a1b2c3d4") == f"{out}/checkpoint-4"
    assert checkpoints.newest(str(out), of_job="q_1738012412345_ffffffff") is None


def test_a_preempted_training_job_comes_back_to_the_losses_of_one_without_a_break(whole: Run, world: World) -> None:
    """Through the queue: asked for its card it saves and stops, and its next attempt takes the other steps."""
    cards = FakeCards(world.folder / "cards", build(world.folder))
    cards.add()
    low = _training_job(world, config(world.folder, max_steps=STEPS, save_steps=1000))
    world.dispatch(**cards.env())
    world.wait_for(HELD, STARTING_S)

    high = world.submit("true", gpus=1, priority=5)

    assert world.wait_done(high, STARTING_S).outcome == Exited(0)
    assert world.wait_done(low, STARTING_S).outcome == Exited(0)
    losses: dict[int, float] = {}
    for log in sorted((world.folder / "out" / "runs").glob("*/trainer_logs.json")):
        losses |= {record["global_step"]: record["loss"] for record in json.loads(log.read_text()) if "loss" in record}
    assert world.spool.attempt(low[1]) == 2
    assert losses == whole.losses()


def _training_job(world: World, document: dict[str, Any]) -> tuple[int, str]:
    (world.folder / "config.json").write_text(json.dumps(document))
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    line = f"exec {sys.executable} -m tests.training.lm_held config.json"
    return world.submit(line, gpus=1, preemptible=True, env=env)
