"""What control costs a training run: its import, an idle poll, and how soon a command takes effect."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lab import Lab
from benchmarks.measure import BenchmarkFailed, Samples, await_that, in_turns, runs
from benchmarks.row import Row, at_most, from_samples, skipped
from forgather_spool import trainer_control
from forgather_spool.spool.paths import Paths

GROUP = "trainer control"
TORCH_PYTHON_VARIABLE = "BENCH_TORCH_PYTHON"
LOOP = """
import sys, time
from forgather_spool.trainer import TrainerControl
control = TrainerControl(sys.argv[1], enable_http=False)
step = 0
while not control.should_stop:
    step += 1
    time.sleep(0.01)
    control.poll(step)
"""


def rows(lab: Lab) -> list[Row]:
    return [_import(lab), *_commands(lab), *_polls(lab)]


def _import(lab: Lab) -> Row:
    env = lab.env()
    actions = {
        "floor": runs([lab.python, "-c", "pass"], env),
        "import": runs([lab.python, "-c", "import forgather_spool.trainer"], env),
    }
    taken = in_turns(actions, lab.rounds(40))
    over = Samples(
        tuple(with_ - bare for with_, bare in zip(taken["import"].values, taken["floor"].values, strict=True))
    )
    return from_samples(
        GROUP,
        "import forgather_spool.trainer",
        over,
        bar=at_most(15),
        note="beyond the bare interpreter, round by round",
    )


def _commands(lab: Lab) -> list[Row]:
    """Against one training loop of 10 ms a step, one process."""
    home = lab.home("trainer")
    env = lab.env(home)
    with _training(lab, env):
        words: list[str | Path] = [lab.forgather, "control", "status", "bench"]
        floor = runs([lab.python, "-c", "pass"], env)
        taken = in_turns({"floor": floor, "status": runs(words, env)}, lab.rounds(40))
        effect = in_turns({"save": lambda: _effect_ms(home)}, lab.rounds(40))
        ages = Samples(tuple(_status_age_s(home) for _ in range(lab.rounds(20))))
    return [
        from_samples(
            GROUP, "forgather control status", taken["status"], peer="python3 -c pass", against=taken["floor"],
            bar=at_most(3, "ratio"),
        ),
        from_samples(
            GROUP, "from a command's posting to its acknowledgement", effect["save"], bar=at_most(60),
            note="the step boundary after at most 50 ms, and a step takes 10 ms",
        ),
        from_samples(GROUP, "age of the status shown", ages, unit="s", bar=at_most(1)),
    ]  # fmt: skip


def _effect_ms(home: Path) -> float:
    begin = time.perf_counter()
    response = trainer_control.send("bench", "status", home=str(home))
    took_ms = (time.perf_counter() - begin) * 1000
    if not response.success:
        raise BenchmarkFailed(f"status: {response}")
    return took_ms


def _status_age_s(home: Path) -> float:
    time.sleep(0.05)
    timestamp: float = trainer_control.get_job_status("bench", home=str(home))["timestamp"]
    return time.time() - timestamp


@contextmanager
def _training(lab: Lab, env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen([lab.python, "-c", LOOP, "bench"], env=env)
    paths = Paths(env["FORGATHER_HOME"])
    try:
        await_that(lambda: Path(f"{paths.job('bench')}/endpoint.json").exists(), "the trainer's endpoint")
        yield
    finally:
        process.kill()
        process.wait()


def _polls(lab: Lab) -> list[Row]:
    """A poll with nothing to do, in one rank and in two."""
    steps = 20_000 if lab.quick else 200_000
    alone = _poll_script([str(lab.python)], lab, steps)
    found = [from_samples(GROUP, "idle poll, one rank", alone["poll_us"], unit="µs", bar=at_most(5))]
    python = torch_python()
    if python is None:
        why = f"torch is not installed ({TORCH_PYTHON_VARIABLE} names an interpreter that has it)"
        return [*found, skipped(GROUP, "idle poll, two ranks, gloo", why)]
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together = _poll_script(torchrun, lab, steps // 10)
    polls, broadcasts = together["poll_us"], together["broadcasts_us"]
    note = "a poll comes at each step; the predecessor's two broadcasts came at each log"
    peer, bar = "two broadcasts", at_most(30)
    what = "idle poll, two ranks, gloo"
    found.append(from_samples(GROUP, what, polls, unit="µs", peer=peer, against=broadcasts, bar=bar, note=note))
    return found


def torch_python() -> str | None:
    """An interpreter that has torch: the one the variable names, else this one."""
    named = os.environ.get(TORCH_PYTHON_VARIABLE)
    return named or (sys.executable if importlib.util.find_spec("torch") else None)


def _poll_script(python: list[str], lab: Lab, steps: int) -> dict[str, Samples]:
    script = lab.folder / "code/benchmarks/polling.py"
    env = lab.env(lab.home("polls"), PYTHONPATH=_package_folder(lab), OMP_NUM_THREADS="1")
    done = subprocess.run([*python, str(script), str(steps)], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkFailed(f"polling: {done.stderr.strip()[-2000:]}")
    return {name: Samples(tuple(values)) for name, values in json.loads(done.stdout.splitlines()[-1]).items()}


def _package_folder(lab: Lab) -> str:
    """A folder with nothing but the installed package: another interpreter must not see the rest of its environment."""
    folder = lab.folder / "package"
    if not folder.exists():
        folder.mkdir()
        (installed,) = lab.venv.glob("lib/python*/site-packages/forgather_spool")
        (folder / "forgather_spool").symlink_to(installed)
    return str(folder)
