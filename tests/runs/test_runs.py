"""What training runs logged: found, read, summed up. Real files; no matplotlib."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.errors import UnreadableFile, UsageError
from forgather_spool.runs.chain import with_what_it_continues
from forgather_spool.runs.curves import curves
from forgather_spool.runs.find import run_files
from forgather_spool.runs.read import read_run
from forgather_spool.runs.series import Series
from forgather_spool.runs.summary import as_document, as_lines, as_markdown, as_one_line
from forgather_spool.runs.terminal import drawing


def records(steps, *, loss=lambda step: 10 / (step + 1), start_unix_s=1000.0):
    return [
        {"timestamp": start_unix_s + 2 * step, "global_step": step, "epoch": step / 10, "loss": loss(step)}
        for step in steps
    ]


def write_run(folder: Path, rows, *, written_at_unix_s=None, **about) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trainer_logs.json"
    file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    if about:
        (folder / "run.json").write_text(json.dumps({"version": 1, **about}))
    if written_at_unix_s is not None:
        os.utime(file, (written_at_unix_s, written_at_unix_s))
    return file


def test_runs_are_found_below_a_project_newest_first(tmp_path):
    old = write_run(tmp_path / "output_models/m/runs/a", [], written_at_unix_s=100)
    new = write_run(tmp_path / "output_models/m/runs/b", [], written_at_unix_s=200)

    assert run_files(tmp_path) == [new, old]
    assert run_files(old.parent) == [old]
    assert run_files(old) == [old]


def test_checkpoints_are_not_looked_into(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5/trainer_state.json").write_text('{"log_history": []}')

    with pytest.raises(UsageError, match="no run at or below"):
        run_files(tmp_path)

    assert len(run_files(tmp_path / "checkpoint-5")) == 1


def test_a_state_beside_the_runs_it_sums_up_is_not_one_run_more(tmp_path):
    (tmp_path / "trainer_state.json").write_text('{"log_history": []}')
    log = write_run(tmp_path / "runs/a", [])

    assert run_files(tmp_path) == [log]


def test_a_link_that_leads_back_up_is_not_followed(tmp_path):
    log = write_run(tmp_path / "runs/a", [])
    (tmp_path / "runs/again").symlink_to(tmp_path)

    assert run_files(tmp_path) == [log]


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        run_files(tmp_path / "nowhere")


def test_a_run_knows_its_losses_speed_and_length(tmp_path):
    run = read_run(write_run(tmp_path / "runs/r", records(range(11)), name="base", job_id="q_1"))

    document = as_document(run)

    assert document["run_id"] == "r"
    assert (document["name"], document["job_id"]) == ("base", "q_1")
    assert document["final_loss"] == {"step": 10, "value": pytest.approx(10 / 11)}
    assert document["steps_per_s"] == pytest.approx(0.5)
    assert document["duration_s"] == 20


def test_the_axis_is_the_step_the_epoch_or_the_time_since_the_first_record(tmp_path):
    run = read_run(write_run(tmp_path / "r", records([4, 5])))

    assert run.series("loss").xs == (4, 5)
    assert run.series("loss", "epoch").xs == (0.4, 0.5)
    assert run.series("loss", "time").xs == (0, 2)


def test_an_axis_the_records_do_not_have_is_a_usage_error(tmp_path):
    run = read_run(write_run(tmp_path / "r", [{"global_step": 1, "loss": 2.0}]))

    with pytest.raises(UsageError, match="carry no time"):
        run.series("loss", "time")


def test_a_hugging_face_state_is_a_run(tmp_path):
    history = [{"step": 5, "epoch": 0.5, "loss": 3.0}, {"step": 5, "eval_loss": 3.5}, {"step": 5, "train_runtime": 7.5}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history, "global_step": 5}))

    run = read_run(tmp_path / "trainer_state.json")

    assert (run.last_step, run.duration_s) == (5, 7.5)
    assert run.series("eval_loss").final == (5, 3.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ('[{"global_step": 1, "loss": 2.0}, {"glob', "damaged: line 1"),
        ("{}", "expected a list"),
        ("17", "expected a list"),
        ("[1]", r"\$\[0\]: expected an object"),
        ('[{"global_step": 1}, {"loss": 2.0}]', r"\$\[1\]: has no global_step"),
        ('[{"global_step": NaN}]', "has no global_step"),
        ("[" * 100_000, "nested too deep"),
        ("[" + "9" * 5000 + "]", "a number too long"),
    ],
    ids=["empty", "torn", "object", "number", "no-object", "no-step", "nan-step", "deep", "long-number"],
)
def test_a_damaged_log_is_an_error_and_never_an_empty_run(tmp_path, text, problem):
    with pytest.raises(UnreadableFile, match=problem):
        read_run(write_run(tmp_path / "r", text))


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "trainer_logs.json").write_bytes(b"[\xff]")

    with pytest.raises(UnreadableFile, match="not UTF-8 at byte 1"):
        read_run(tmp_path / "trainer_logs.json")


def test_a_damaged_run_json_is_told_and_not_ignored(tmp_path):
    file = write_run(tmp_path / "r", [])
    (tmp_path / "r/run.json").write_text("{")

    with pytest.raises(UnreadableFile, match=r"run\.json"):
        read_run(file)


def test_odd_fields_of_run_json_are_as_if_not_there(tmp_path):
    file = write_run(tmp_path / "r", [], run_id=7, name=None, started_at="yesterday", resumed_from=["x"])

    run = read_run(file)

    assert (run.run_id, run.name, run.started_at, run.resumed_from) == ("r", None, None, None)


def test_a_run_that_has_not_logged_says_so(tmp_path):
    run = read_run(write_run(tmp_path / "r", "[]"))

    assert as_one_line(run) == "r: nothing logged yet"
    assert any("nothing logged yet" in line for line in as_lines(run))
    assert as_document(run)["final_loss"] is None


def test_one_record_is_enough_for_everything_but_speed(tmp_path):
    run = read_run(write_run(tmp_path / "r", records([3])))

    assert as_document(run)["last_step"] == 3
    assert as_document(run)["steps_per_s"] is None
    assert "steps/s" not in as_one_line(run)


@pytest.mark.parametrize("spelled", ['"NaN"', "NaN", '"inf"', "Infinity", "1e999", "1" + "0" * 400])
def test_a_loss_that_is_not_finite_is_seen_and_does_not_become_the_best(tmp_path, spelled):
    text = f'[{{"global_step": 1, "loss": 2.5}}, {{"global_step": 2, "loss": {spelled}}}]'

    document = as_document(read_run(write_run(tmp_path / "r", text)))

    assert document["best_loss"] == {"step": 1, "value": 2.5}
    assert document["final_loss"] == {"step": 2, "value": None}
    assert document["first_not_finite_step"] == 2
    json.dumps(document, allow_nan=False)


def test_what_is_no_number_is_no_metric(tmp_path):
    run = read_run(
        write_run(tmp_path / "r", [{"global_step": 1, "loss": 2, "note": "hi", "ok": True, "eval_loss": None}])
    )

    assert run.metrics == ("loss",)


def test_a_table_in_markdown_stays_one_whatever_a_run_is_called(tmp_path):
    run = read_run(write_run(tmp_path / "r", records([1]), run_id="a|b"))

    assert as_markdown([run])[-1].startswith(r"| a\|b | 1 |")


def test_a_resumed_run_is_drawn_as_one_line_with_the_run_it_continues(tmp_path):
    """The steps between the checkpoint and the crash were trained twice; the later run's count."""
    write_run(tmp_path / "runs/first", records(range(0, 8), loss=lambda step: 1.0))
    file = write_run(tmp_path / "runs/second", records(range(5, 10), loss=lambda step: 2.0), resumed_from="first")

    chain = with_what_it_continues(read_run(file))
    (curve,) = curves([("x", chain)], ["loss"], "step")["loss"]

    assert [run.run_id for run in chain] == ["first", "second"]
    assert curve.series == Series((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1.0,) * 5 + (2.0,) * 5)
    assert curve.resumed_at == (5,)


def test_in_training_time_the_pause_before_resuming_does_not_count(tmp_path):
    write_run(tmp_path / "runs/first", records([0, 1]))
    file = write_run(tmp_path / "runs/second", records([2, 3], start_unix_s=900_000), resumed_from="first")

    (curve,) = curves([("x", with_what_it_continues(read_run(file)))], ["loss"], "time")["loss"]

    assert curve.series.xs[-1] == 4


def test_a_checkpoint_leads_to_the_run_that_wrote_it(tmp_path):
    """Of several that came that far, the latest before this one; not one begun after it."""
    write_run(tmp_path / "runs/a", records(range(6), start_unix_s=1000))
    write_run(tmp_path / "runs/b", records(range(6), start_unix_s=2000))
    write_run(tmp_path / "runs/short", records(range(2), start_unix_s=3000))
    write_run(tmp_path / "runs/later", records(range(6), start_unix_s=9000))
    file = write_run(tmp_path / "runs/c", records([6], start_unix_s=4000), resumed_from="/gone/m/checkpoint-5")

    assert [run.run_id for run in with_what_it_continues(read_run(file))] == ["b", "c"]


@pytest.mark.parametrize("resumed_from", ["self", "nowhere", "..", "/", "a\0b", "checkpoint-x", "../../etc"])
def test_a_resumed_from_that_leads_nowhere_leaves_the_run_alone(tmp_path, resumed_from):
    file = write_run(tmp_path / "runs/self", records([1]), resumed_from=resumed_from)

    assert len(with_what_it_continues(read_run(file))) == 1


def test_two_runs_that_continue_each_other_end(tmp_path):
    write_run(tmp_path / "runs/a", records([1]), resumed_from="b")
    file = write_run(tmp_path / "runs/b", records([2]), resumed_from="a")

    assert len(with_what_it_continues(read_run(file))) == 2


def test_smoothing_starts_at_the_first_point_and_is_not_spoilt_by_nan():
    smooth = Series((0, 1, 2, 3), (4.0, math.nan, 4.0, 4.0)).smoothed(10)

    assert math.isnan(smooth.ys[1])
    assert [smooth.ys[i] for i in (0, 2, 3)] == pytest.approx([4.0, 4.0, 4.0])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(1, 50))
def test_a_moving_average_stays_between_the_least_and_the_greatest(ys, span):
    smooth = Series(tuple(range(len(ys))), tuple(ys)).smoothed(span)

    assert all(min(ys) - 1e-6 <= y <= max(ys) + 1e-6 for y in smooth.ys)


def test_a_metric_nobody_logged_names_those_there_are(tmp_path):
    run = read_run(write_run(tmp_path / "r", records([1])))

    with pytest.raises(UsageError, match="nothing logged of accuracy") as raised:
        curves([("r", (run,))], ["accuracy"], "step")

    assert raised.value.hint == "--metrics takes: loss"


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats()), max_size=30),
    st.integers(1, 120),
    st.integers(1, 40),
    st.booleans(),
)
def test_a_drawing_fits_whatever_is_drawn(points, width, height, log_scale):
    series = Series(tuple(x for x, _ in points), tuple(y for _, y in points))

    lines = drawing([("a", series)], x_label="step", width=width, height=height, log_scale=log_scale)

    assert len(lines) <= max(height, 6)
    assert len(lines) == 1 or all(len(line) <= max(width, 40) for line in lines)


def test_a_falling_loss_falls_in_the_drawing():
    lines = drawing([("loss", Series((0, 1), (8.0, 2.0)))], x_label="step", width=40, height=12)

    marked = [[c for c, cell in enumerate(line) if "\u2800" < cell <= "\u28ff"] for line in lines[:10]]
    assert [min(columns) for columns in marked] == sorted(min(columns) for columns in marked)
    assert lines[0].split()[0] == "8"
    assert lines[9].split()[0] == "2"
