"""`forgather -t CONFIG train`, `ls`, `show` and `init` as a user runs them; small scripts stand for trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forgather_spool.cli.train.starter import FILES
from forgather_spool.spool.queue import Spool

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]
CONFIG = """
name: tiny
description: Says what it was given.
dynamic_args:
  learning_rate: {type: float, default: 1e-3, min: 0, max: 1, help: the peak}
  flavour: {choices: [sweet, sour], default: sweet}
  corpus: {type: path, default: corpus.txt}
  bold: {type: bool, default: false}
env: {RATE: "${learning_rate}"}
script: say.py
args: ["${flavour}", "${corpus}", "${bold}"]
"""
SAY = """
import json, os, sys
json.dump([sys.argv[1:], os.getcwd(), os.environ["RATE"], os.environ.get("CUDA_VISIBLE_DEVICES")], sys.stdout)
sys.exit(3)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.yaml").write_text(CONFIG)
    (folder / "say.py").write_text(SAY)
    return folder


@pytest.fixture
def forgather(tmp_path: Path, project: Path) -> Run:
    """Runs the command in the project's folder, and wakes nobody."""

    def run(*words: str, cwd: Path = project, **env: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "FORGATHER_HOME": str(tmp_path / "home"),
            "FORGATHER_HOST_KIND": "process",
            "FORGATHER_NO_WAKE": "1",
            "COLUMNS": "100",
        }
        words = (sys.executable, str(ROOT / "bin" / "forgather"), *words)
        return subprocess.run(words, cwd=cwd, env=environ | env, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def queued(tmp_path: Path) -> Callable[[], list[dict]]:
    def read() -> list[dict]:
        spool = Spool(str(tmp_path / "home"))
        return [spool.queued_spec(entry) for entry in spool.waiting()]

    return read


# -- here and now -----------------------------------------------------------------------------------------------------


def test_a_training_takes_the_commands_place(forgather, project):
    """Its output, its folder, its exit code; the arguments as the config passes them on."""
    answer = forgather("-t", "train.yaml", "train", "--learning-rate", "3e-4", "--flavour", "sour", "--bold")

    assert answer.returncode == 3
    assert json.loads(answer.stdout) == [["sour", f"{project}/corpus.txt", "true"], str(project), "0.0003", None]


def test_both_ways_to_give_an_argument_do_the_same(forgather):
    answer = forgather("-t", "train", "train", "--dynamic-arg", "learning_rate=3e-4", "--dynamic-arg", "bold=yes")

    words, _, rate, _ = json.loads(answer.stdout)
    assert (words[2], rate) == ("true", "0.0003")


def test_another_project_is_named_with_p(forgather, project, tmp_path):
    """A path on the command line counts from where one is, a default from the project."""
    answer = forgather("-p", "project", "-t", "train.yaml", "train", "--corpus", "mine.txt", cwd=tmp_path)

    words, folder, _, _ = json.loads(answer.stdout)
    assert (words[1], folder) == (f"{tmp_path}/mine.txt", str(project))


def test_a_config_may_lie_in_the_folder_configs(forgather, project):
    (project / "configs").mkdir()
    (project / "configs" / "sour.yaml").write_text("extends: ../train.yaml\ndynamic_args: {flavour: {default: sour}}")

    words, folder, _, _ = json.loads(forgather("-t", "sour", "train").stdout)

    assert (words[0], folder) == ("sour", str(project))


@pytest.mark.parametrize(("devices", "visible"), [("0", "0"), ("1,0", "1,0"), ("cpu", ""), ("GPU-abc", "GPU-abc")])
def test_devices_choose_the_cards_of_a_local_run(forgather, devices, visible):
    assert json.loads(forgather("-t", "train", "train", "-d", devices).stdout)[3] == visible


def test_a_config_without_cards_hides_them(forgather, project):
    (project / "train.yaml").write_text(CONFIG + "gpus: 0\n")

    assert json.loads(forgather("-t", "train", "train").stdout)[3] == ""


def test_dry_run_shows_the_command_and_runs_nothing(forgather, project):
    answer = forgather("-t", "train", "train", "--dry-run", "-d", "1", PYTHONPATH=str(ROOT))

    line = f"CUDA_VISIBLE_DEVICES=1 RATE=0.001 {sys.executable} {project}/say.py sweet {project}/corpus.txt false"
    assert (answer.returncode, answer.stdout) == (0, f"cd {project} && {line}\n")


def test_several_processes_are_started_by_torchrun(forgather, project):
    (project / "train.yaml").write_text(CONFIG + "nproc_per_node: 2\n")

    line = forgather("-t", "train", "train", "--dry-run").stdout

    assert f" -m torch.distributed.run --standalone --nproc-per-node 2 {project}/say.py sweet" in line


def test_a_script_runs_in_the_environment_one_is_in(forgather, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    assert f" {python} " in forgather("-t", "train", "train", "--dry-run", VIRTUAL_ENV=str(tmp_path / "venv")).stdout


# -- as a job ---------------------------------------------------------------------------------------------------------


def test_an_enqueued_training_is_a_job_that_says_where_it_came_from(forgather, project, queued):
    answer = forgather(
        "-t", "train", "train", "--enqueue", "--priority", "5", "--requested-gpus", "2", "--time", "1h30m",
        "--name", "mine", "--flavour", "sour", "--env", "SEED=1",
    )  # fmt: skip

    [job] = queued()
    assert answer.returncode == 0
    assert answer.stdout.startswith("queued: q_") and answer.stdout.endswith(" (priority=5, gpus=2)\n")
    assert (job["name"], job["priority"], job["gpus"], job["time_limit_s"], job["type"]) == (
        "mine",
        5,
        2,
        5400,
        "train",
    )
    assert job["argv"] == [sys.executable, f"{project}/say.py", "sour", f"{project}/corpus.txt", "false"]
    assert job["cwd"] == str(project)
    assert (job["env"]["RATE"], job["env"]["SEED"]) == ("0.001", "1")
    assert job["job_params"] == {
        "project": str(project),
        "config": "train.yaml",
        "dynamic_args": {"learning_rate": 0.001, "flavour": "sour", "corpus": f"{project}/corpus.txt", "bold": False},
        "output_dir": f"{project}/output_models/tiny",
    }


def test_cards_follow_the_processes_unless_something_else_is_said(forgather, project, queued):
    """The config's `gpus` goes before nproc_per_node, --requested-gpus before both."""
    (project / "train.yaml").write_text(CONFIG + "nproc_per_node: 2\ngpus: 4\ntime_limit: 2h\n")
    forgather("-t", "train", "train", "--enqueue")
    forgather("-t", "train", "train", "--enqueue", "--requested-gpus", "0")

    assert [(job["gpus"], job["time_limit_s"]) for job in queued()] == [(4, 7200), (0, 7200)]


def test_a_training_that_no_known_host_can_run_is_not_queued(forgather, project, queued, tmp_path):
    hosts = Path(Spool(str(tmp_path / "home")).create().paths.hosts)
    (hosts / "box.json").write_text('{"version": 1, "gpus": [{"index": 0}]}')
    (project / "train.yaml").write_text(CONFIG + "gpus: 4\n")

    by_config = forgather("-t", "train", "train", "--enqueue")
    by_option = forgather("-t", "train", "train", "--enqueue", "--requested-gpus", "2")

    assert (by_config.returncode, by_option.returncode, queued()) == (2, 2, [])
    assert "gpus in the config 4: no known host has that many (box has 1)" in by_config.stderr
    assert "--requested-gpus 2: no known host has that many (box has 1)" in by_option.stderr


def test_where_no_host_has_a_card_a_training_is_queued_for_the_cpu_and_told_so(forgather, queued):
    answer = forgather("-t", "train", "train", "--enqueue", FORGATHER_NVML_LIBRARY="/nowhere")

    if "no host here has a card" not in answer.stderr:
        pytest.skip("this machine has a card")
    assert queued()[0]["gpus"] == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--learning-rate", "2"], 1, "error: --learning-rate: 2.0 is more than 1"),
        (["--learning-rate", "fast"], 1, "error: --learning-rate: 'fast' is not a number"),
        (["--flavour", "bitter"], 1, "error: --flavour: bitter is not one of sweet, sour"),
        (["--dynamic-arg", "bold=maybe"], 1, "error: --bold: 'maybe' is not true or false"),
        (["--dynamic-arg", "colour=red"], 1, "error: --dynamic-arg colour: the config has no such argument"),
        (["--colour", "red"], 2, "error: no such option"),
        (["--enqueue", "-d", "0"], 2, "error: --enqueue with -d/--devices: the queue chooses the cards"),
        (["--priority", "3"], 2, "error: --priority is for a job"),
        (["--enqueue", "--time", "soon"], 2, "error: --time: 'soon' is not a duration"),
        (["--enqueue", "--priority", "99999999"], 2, "error: priority: 99999999 is more than"),
        (["-d", "zero"], 2, "error: --devices zero: expected indices"),
        (["--resume"], 2, "error: --resume goes with the built-in trainer"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_queued(forgather, queued, words, code, says):
    answer = forgather("-t", "train", "train", *words)

    assert (answer.returncode, answer.stdout) == (code, "")
    assert answer.stderr.startswith(says)
    assert queued() == []


def test_a_missing_argument_is_named_by_its_flag(forgather, project):
    (project / "train.yaml").write_text("script: say.py\ndynamic_args: {batch_size: {type: int}}")

    answer = forgather("-t", "train", "train")

    assert (answer.returncode, answer.stderr.splitlines()[0]) == (1, "error: missing: --batch-size")


def test_an_argument_cannot_take_an_options_name(forgather, project):
    (project / "train.yaml").write_text("script: say.py\ndynamic_args: {name: {}}")

    answer = forgather("-t", "train", "train", "--help")

    assert answer.returncode == 65
    assert "$.dynamic_args.name: `forgather train` has an option --name of its own" in answer.stderr


def test_help_shows_a_configs_own_arguments(forgather):
    text = " ".join(forgather("-t", "train", "train", "--help").stdout.split())

    assert "--learning-rate FLOAT the peak [0<=x<=1; default: 0.001]" in text
    assert "--flavour STR [sweet or sour; default: sweet]" in text
    assert "--bold / --no-bold [default: false]" in text


# -- looking, and beginning -------------------------------------------------------------------------------------------


def test_ls_lists_configs_and_what_is_wrong_with_them(forgather, project):
    (project / "base.yaml").write_text("description: for others to extend")
    (project / "broken.yaml").write_text("scrpt: a")

    lines = forgather("ls").stdout.splitlines()

    assert [line.split(maxsplit=2) for line in lines[1:]] == [
        ["base.yaml", "-", "for others to extend"],
        ["broken.yaml", "-", "broken.yaml: $.scrpt: no such key"],
        ["train.yaml", "script", "Says what it was given."],
    ]


def test_show_gives_the_config_filled_in(forgather, project):
    answer = forgather("-t", "train", "show", "--json", "--dynamic-arg", "flavour=sour")

    shown = json.loads(answer.stdout)
    assert shown["args"] == ["sour", f"{project}/corpus.txt", "false"]
    assert shown["output_dir"] == f"{project}/output_models/tiny"
    assert forgather("-t", "train", "show", "--args").stdout.startswith("learning_rate:\n  type: float\n")


def test_a_starter_project_can_be_trained_at_once(forgather, tmp_path):
    """Its config resolves to a command; what stood in the folder is never written over."""
    assert forgather("init", str(tmp_path / "new")).returncode == 0

    line = forgather("-t", "train", "train", "--dry-run", "--max-steps", "5", cwd=tmp_path / "new").stdout
    resumed = forgather("-t", "train", "train", "--dry-run", "--resume", cwd=tmp_path / "new").stdout
    again = forgather("init", str(tmp_path / "new"))

    assert f"-m forgather_spool.training.lm {tmp_path}/new/output_models/stdlib-bytes/configs/" in line
    assert resumed.endswith(".json --resume\n")
    assert again.returncode == 2
    assert "has a train.yaml already" in again.stderr


@pytest.mark.parametrize("name", FILES)
def test_the_starter_project_is_the_example(name):
    assert (ROOT / "examples" / "stdlib-lm" / name).read_text() == FILES[name]
