"""Cards that are lost, drivers that are reloaded, an NVML that is broken or not there: all are values."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forgather_spool.errors import Missing
from forgather_spool.host import nvml
from tests.fakes.nvml import FakeCards
from tests.fakes.nvml.reader import ROOT


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (2, "there is no such card (any more)"),
        (4, "no permission to use it"),
        (6, "vanished"),
        (15, "fell off the bus"),
        (16, "needs a reset"),
        (17, "blocked by the operating system (a device cgroup?)"),
        (28, "vanished"),
        (31, "NVML says 'Fake failure 31' (code 31)"),
        (999, "NVML says 'Unknown Error' (code 999)"),
    ],
)
def test_a_card_that_cannot_be_opened_says_why_and_the_others_stay(cards, reader, code, problem):
    for _ in range(3):
        cards.add()

    cards.fail(1, "handle", code)

    gpus = reader.read().gpus
    assert [gpu.problem for gpu in gpus] == [None, problem, None]
    assert (gpus[1].index, gpus[1].memory_free_bytes) == (1, None)
    with pytest.raises(Missing, match="gpu 1: "):
        reader.call("compute_pids", 1)


@pytest.mark.parametrize("code", [15, 16, 28])
@pytest.mark.parametrize("field", ["uuid", "memory", "fan_percent", "compute", "mig"])
def test_a_card_lost_halfway_through_its_reading_has_a_problem(cards, reader, field, code):
    cards.add()

    cards.fail(0, field, code)

    assert reader.gpu().problem


def test_a_lost_card_keeps_its_uuid_and_index(cards, reader):
    """A policy by UUID must still find it, and the cards after it keep their numbers."""
    for _ in range(2):
        cards.add()
    reader.read()

    cards.lose(0)

    for _ in range(3):
        assert [(gpu.index, gpu.uuid) for gpu in reader.read().gpus] == [(0, cards.uuid(0)), (1, cards.uuid(1))]
    assert [gpu.excluded for gpu in reader.read(cards.uuid(0) + "," + cards.uuid(1)).gpus] == [False, False]


def test_a_card_that_comes_back_is_as_before(cards, reader):
    cards.add()
    before = reader.gpu()
    cards.lose(0)
    assert reader.gpu().problem == "fell off the bus"

    cards.lose(0, code=0)

    assert reader.gpu() == before


def test_a_card_that_nvml_no_longer_counts_is_no_longer_listed(cards, reader):
    cards.add()
    cards.add()
    assert len(reader.read().gpus) == 2

    cards.remove_last()

    assert [gpu.index for gpu in reader.read().gpus] == [0]
    with pytest.raises(Missing, match="gpu 1: there is no such card"):
        reader.call("compute_pids", 1)


def test_nvml_is_initialised_once_however_often_cards_are_read(cards, reader):
    cards.add()
    for _ in range(3):
        reader.read()
    reader.call("compute_pids", 0)

    assert cards.log() == ["init"]


def test_closing_lets_go_of_the_driver_and_a_reading_takes_it_again(cards, reader):
    cards.add()
    reader.call("close")
    reader.read()
    reader.call("close")
    reader.call("close")
    assert cards.log() == ["init", "shutdown"]

    assert reader.gpu().problem is None
    assert cards.log() == ["init", "shutdown", "init"]


def test_a_reloaded_driver_is_not_noticed_by_the_reader(cards, reader):
    cards.add()
    before = reader.read()

    cards.reload_driver()

    assert reader.read() == before
    cards.reload_driver()
    assert reader.call("compute_pids", 0) == []


def test_a_newly_lost_card_has_nvml_initialised_again_and_a_long_lost_one_has_not(cards, reader):
    """Initialising wakes every idle card of the machine: not at every reading, please."""
    cards.add()
    cards.add()
    reader.read()

    cards.lose(0)
    for _ in range(4):
        reader.read()
    assert cards.log() == ["init", "shutdown", "init"]

    cards.lose(1)
    for _ in range(4):
        reader.read()
    assert cards.log() == ["init", "shutdown", "init", "shutdown", "init"]


PROBLEMS = [
    (1, "NVML does not stay initialised"),
    (4, "no permission to ask the NVIDIA driver"),
    (9, "the NVIDIA driver is not loaded"),
    (12, "NVML is not installed"),
    (13, "too old"),
    (18, "differ in version"),
    (31, "code 31"),
    (999, "code 999"),
]


@pytest.mark.parametrize(("code", "problem"), PROBLEMS)
@pytest.mark.parametrize("break_nvml", [FakeCards.fail_init, FakeCards.fail_every_call])
def test_a_broken_nvml_is_named_and_a_mended_one_used(cards, reader, break_nvml, code, problem):
    cards.add()
    break_nvml(cards, code)

    reading = reader.read()
    assert reading.gpus == ()
    assert problem in (reading.problem or "")
    with pytest.raises(Missing):
        reader.call("compute_pids", 0)

    break_nvml(cards, 0)
    assert reader.gpu().problem is None


@pytest.mark.parametrize(("code", "problem"), [(1, "does not stay initialised"), (9, "not loaded")])
@pytest.mark.parametrize("field", ["handle", "memory", "compute"])
def test_a_driver_that_goes_away_while_a_card_is_read_is_the_machines_problem(cards, reader, field, code, problem):
    cards.add()

    cards.fail(0, field, code)

    reading = reader.read()
    assert reading.gpus == ()
    assert problem in (reading.problem or "")


def test_a_library_that_is_none_is_as_good_as_not_installed(tmp_path, start):
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")

    reader = start({"LD_LIBRARY_PATH": str(tmp_path)})

    assert reader.read() == nvml.GpuReading(gpus=(), problem="NVML is not installed (no usable libnvidia-ml.so.1)")


def test_a_missing_nvidia_ml_py_is_named(tmp_path, start):
    (tmp_path / "pynvml.py").write_text("raise ImportError")

    reader = start({"PYTHONPATH": f"{tmp_path}:{ROOT}"})

    assert reader.read().problem == "the package nvidia-ml-py is not installed"
    reader.call("close")


def test_importing_the_module_does_not_import_pynvml():
    code = "import sys, forgather_spool.host.nvml; print('pynvml' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("False\n", "")
