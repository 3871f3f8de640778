"""`forgather logs`: its words, its pictures and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from forgather_spool.cli.logs_group import logs
from forgather_spool.errors import Missing, StorageFailed, UnreadableFile, UsageError
from tests.runs.test_runs import records, write_run


def says(*words: object) -> str:
    result = CliRunner().invoke(logs, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*words: object) -> BaseException:
    result = CliRunner().invoke(logs, [str(word) for word in words])
    assert result.exception is not None
    return result.exception


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_run(tmp_path / "m/runs/old", records(range(20)), written_at_unix_s=100, name="first try")
    write_run(tmp_path / "m/runs/new", records(range(30)), written_at_unix_s=200)
    return tmp_path


def test_without_a_path_it_is_the_newest_run_here(project, monkeypatch):
    monkeypatch.chdir(project / "m")

    assert says("summary", "--format", "one-line").startswith("new: step 29, loss 0.3333")


def test_of_a_run_one_is_in_it_knows_the_name(project, monkeypatch):
    monkeypatch.chdir(project / "m/runs/old")

    assert says("summary").splitlines()[0].split() == ["run", "old", "(first", "try)"]


def test_json_is_an_object_for_one_run_and_a_list_for_all(project):
    assert json.loads(says("summary", project, "--format", "json"))["run_id"] == "new"
    assert [run["run_id"] for run in json.loads(says("summary", project, "--all", "--format", "json"))] == [
        "new",
        "old",
    ]


def test_a_summary_can_go_into_a_file(project, tmp_path):
    assert says("summary", project, "--all", "--format", "md", "-o", tmp_path / "runs.md") == ""

    assert len((tmp_path / "runs.md").read_text().splitlines()) == 4


def test_list_shows_each_run_with_its_file(project):
    lines = says("list", project).splitlines()

    assert [line.split()[0] for line in lines] == ["RUN", "new", "old"]
    assert lines[1].endswith("trainer_logs.json")


def test_one_damaged_run_does_not_hide_the_others(project):
    write_run(project / "m/runs/torn", '[{"glo', written_at_unix_s=300)

    result = CliRunner().invoke(logs, ["list", str(project)])

    assert isinstance(result.exception, UnreadableFile)
    assert "new" in result.stdout
    assert "old" in result.stdout


def test_of_several_damaged_runs_each_is_told(project):
    for name in ("torn", "worn"):
        write_run(project / "m/runs" / name, "[", written_at_unix_s=300)

    result = CliRunner().invoke(logs, ["summary", str(project), "--all", "--format", "one-line"])

    assert "error:" in result.stderr
    assert {name for name in ("torn", "worn") if name in result.stderr + str(result.exception)} == {"torn", "worn"}


def test_a_damaged_newest_run_is_not_passed_over(project):
    write_run(project / "m/runs/torn", "", written_at_unix_s=300)

    assert isinstance(fails("summary", project), UnreadableFile)


@pytest.mark.parametrize("form", ["text", "one-line", "md", "json"])
def test_a_hostile_name_cannot_move_the_cursor(tmp_path, form):
    write_run(tmp_path / "r", records([1]), run_id="a\x1b[2J\u202eb", name="\x1b]0;x\x07\nline")

    for output in (says("summary", tmp_path, "--format", form), says("list", tmp_path)):
        assert "\x1b" not in output
        assert "\u202e" not in output


def test_a_terminal_plot_needs_nothing_and_names_every_line(project):
    output = says("plot", project, "--compare", "--terminal", "--labels", "now,then")

    assert "a = now" in output
    assert "b = then" in output


def test_labels_must_be_as_many_as_lines(project):
    assert str(fails("plot", project, "--labels", "a,b", "--terminal")) == "--labels names 2 lines, there are 1"


def test_a_metric_nobody_logged_is_a_usage_error(project):
    assert isinstance(fails("plot", project, "--metrics", "accuracy", "--terminal"), UsageError)


def test_an_ending_that_is_no_format_is_a_usage_error(project):
    assert isinstance(fails("plot", project, "-o", "plot.bmp"), UsageError)


def test_without_matplotlib_it_says_what_to_install(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)

    missing = fails("plot", project)

    assert isinstance(missing, Missing)
    assert "pip install 'forgather-spool[plot]'" in missing.hint


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_is_of_the_kind_its_name_says(project, tmp_path, form, begins):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'forgather-spool[plot]'")
    file = tmp_path / f"out.{form}"

    assert says("plot", project, "--smooth", 5, "--log-scale", "-o", file).strip() == str(file)

    assert file.read_bytes().startswith(begins)


def test_names_that_are_formulas_or_hidden_are_in_the_legend_as_they_are(project):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'forgather-spool[plot]'")
    from matplotlib import rc_context

    file = project / "out.svg"
    with rc_context({"svg.fonttype": "none"}):  # words stay words
        says("plot", project, "--compare", "--labels", "_hidden $x_{,b", "--title", r"$\frac{", "-o", file)

    drawn = file.read_text()
    assert "_hidden $x_{" in drawn
    assert r"$\frac{" in drawn


def test_a_loss_that_is_never_finite_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'forgather-spool[plot]'")
    write_run(tmp_path / "r", [{"global_step": 1, "loss": "NaN"}, {"global_step": 2, "loss": "inf"}])

    says("plot", tmp_path, "--log-scale", "-o", tmp_path / "p.png")

    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_directory_that_is_not_there_is_a_usage_error_and_a_full_disk_is_not(project):
    assert isinstance(fails("summary", project, "-o", project / "no/such.txt"), UsageError)
    if Path("/dev/full").exists():
        assert isinstance(fails("summary", project, "-o", "/dev/full"), StorageFailed)


@pytest.mark.parametrize("words", [["summary", ""], ["list", ""], ["plot", ""], ["plot", "-o", "", "."]])
def test_an_empty_word_is_not_this_directory(words: list[str]) -> None:
    """A script's variable that is not set: below `/` the search would take minutes."""
    result = CliRunner().invoke(logs, words)

    assert result.exit_code == 2
    assert "a path is empty" in result.output
