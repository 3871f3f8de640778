"""What is read of a card that works: the real pynvml, with a library whose cards we describe."""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from forgather_spool.gpu import Gpu, GpuProcess
from forgather_spool.host import nvml
from tests.fakes.nvml import GIB

NO_SUCH_PID = 2**22 + 1  # past the kernel's largest pid_max


def test_a_card_is_read_field_by_field(cards, reader):
    cards.add(memory_used_bytes=3 * GIB, utilization_percent=87, power_mw=123_456)

    assert reader.read().gpus == (
        Gpu(
            index=0,
            uuid=cards.uuid(0),
            name="Fake H200",
            memory_total_bytes=141 * GIB,
            memory_used_bytes=3 * GIB,
            utilization_percent=87,
            temperature_c=30,
            power_w=123.456,
            fan_percent=20,
        ),
    )


def test_a_machine_with_nvml_and_no_cards_has_no_problem(cards, reader):
    assert reader.read() == nvml.GpuReading(gpus=(), problem=None)


def test_a_change_is_seen_at_the_next_reading(cards, reader):
    cards.add()
    assert reader.gpu().memory_used_bytes == 0

    cards.set(0, memory_used_bytes=GIB)

    assert reader.gpu().memory_used_bytes == GIB


FIELDS = {
    "uuid": ["uuid"],
    "name": ["name"],
    "memory": ["memory_total_bytes", "memory_used_bytes"],
    "utilization_percent": ["utilization_percent"],
    "temperature_c": ["temperature_c"],
    "power_mw": ["power_w"],
    "fan_percent": ["fan_percent"],
}  # as the fake library names them: what `Gpu` makes of them


@pytest.mark.parametrize("code", [3, 4, 6, 13, 21, 31, 999])
def test_a_field_that_fails_is_none_and_the_others_stay(cards, reader, code):
    """NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, FUNCTION_NOT_FOUND, NO_DATA, a code pynvml has no name for, UNKNOWN."""
    cards.add()
    whole = reader.gpu()

    for nvml_field, names in FIELDS.items():
        cards.fail(0, nvml_field, code)

        assert reader.gpu() == replace(whole, **dict.fromkeys(names))
        cards.fail(0, nvml_field, 0)


def test_a_card_that_shares_the_machines_memory_has_none_of_its_own(cards, reader):
    cards.add(name="NVIDIA GB10", memory_total_bytes=None, memory_used_bytes=None)
    cards.add(memory_total_bytes=0)

    for gpu in reader.read().gpus:
        assert (gpu.memory_total_bytes, gpu.memory_used_bytes, gpu.memory_free_bytes) == (None, None, None)
        assert gpu.problem is None


def test_an_older_driver_tells_temperature_and_processes_its_own_way(cards, reader):
    cards.add()
    cards.process(0, NO_SUCH_PID)
    cards.fail(0, "temperature_v", 13)
    cards.fail(0, "processes_v3", 13)

    assert reader.gpu().temperature_c == 30
    assert [process.pid for process in reader.gpu().processes] == [NO_SUCH_PID]
    assert reader.call("compute_pids", 0) == [NO_SUCH_PID]


def test_a_process_is_named_with_its_memory_and_user(cards, reader):
    cards.add()
    cards.process(0, os.getpid(), 5 * GIB)

    assert reader.gpu().processes == (
        GpuProcess(
            pid=os.getpid(),
            kind="compute",
            memory_used_bytes=5 * GIB,
            name=Path("/proc/self/comm").read_text().strip(),
            user=pwd.getpwuid(os.getuid()).pw_name,
        ),
    )


def test_a_process_that_is_gone_by_now_stays_listed_without_a_name(cards, reader):
    """Its memory may still be taken, and its pid is all anybody can tell of it."""
    cards.add()
    cards.process(0, NO_SUCH_PID)

    (process,) = reader.gpu().processes
    assert (process.pid, process.name, process.user) == (NO_SUCH_PID, None, None)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may start a process as a user who has no name")
def test_a_user_without_a_name_is_a_number(cards, reader):
    cards.add()
    with subprocess.Popen(["sleep", "60"], user=54321) as stranger:
        cards.process(0, stranger.pid)
        (process,) = reader.gpu().processes
        stranger.kill()

    assert (process.name, process.user) == ("sleep", "54321")


def test_memory_that_nvml_cannot_tell_of_a_process_is_none(cards, reader):
    cards.add()
    cards.process(0, NO_SUCH_PID, None)

    assert reader.gpu().processes[0].memory_used_bytes is None


def test_a_process_that_computes_and_draws_is_listed_once(cards, reader):
    cards.add()
    cards.process(0, NO_SUCH_PID)
    cards.process(0, NO_SUCH_PID, kind="graphics")
    cards.process(0, NO_SUCH_PID + 1, kind="graphics")

    kinds = {process.pid: process.kind for process in reader.gpu().processes}
    assert kinds == {NO_SUCH_PID: "compute", NO_SUCH_PID + 1: "graphics"}
    assert len(reader.gpu().processes) == 2
    assert reader.call("compute_pids", 0) == [NO_SUCH_PID]


def test_a_crowd_of_processes_is_listed_whole(cards, reader):
    cards.add()
    for number in range(50):
        cards.process(0, NO_SUCH_PID + number)

    assert len(reader.gpu().processes) == 50


@pytest.mark.parametrize("kind", ["compute", "graphics"])
def test_a_list_of_processes_that_fails_hides_only_its_own_kind(cards, reader, kind):
    cards.add()
    cards.process(0, NO_SUCH_PID, kind="compute")
    cards.process(0, NO_SUCH_PID + 1, kind="graphics")
    cards.fail(0, kind, 4)

    assert [process.kind for process in reader.gpu().processes] == list({"compute", "graphics"} - {kind})


def test_cards_hidden_by_cuda_visible_devices_are_listed_as_excluded(cards, reader):
    for _ in range(3):
        cards.add()

    assert [gpu.excluded for gpu in reader.read("2,0").gpus] == [False, True, False]
    assert [gpu.excluded for gpu in reader.read(cards.uuid(1)).gpus] == [True, False, True]
    assert [gpu.excluded for gpu in reader.read("").gpus] == [True, True, True]


def test_a_partitioned_card_says_so_and_is_visible_when_one_of_its_slices_is(cards, reader):
    for _ in range(3):
        cards.add()
    cards.set(1, mig=1, utilization_percent=None)
    for uuid in ["MIG-aaaa0000", "", "MIG-bbbb0000"]:
        cards.slice(1, uuid)
    cards.set(2, mig=1)

    assert [gpu.mig for gpu in reader.read().gpus] == [False, True, True]
    assert [gpu.excluded for gpu in reader.read("MIG-bbbb0000").gpus] == [True, False, True]
    assert [gpu.excluded for gpu in reader.read("MIG-cccc0000").gpus] == [True, True, True]


def test_slices_that_cannot_be_read_hide_their_card(cards, reader):
    cards.add(mig=1)
    cards.slice(0, "MIG-aaaa0000")
    cards.fail(0, "slice", 4)

    gpu = reader.read("MIG-aaaa0000").gpus[0]
    assert (gpu.excluded, gpu.problem) == (True, None)


def machine_has_nvml() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(machine_has_nvml(), reason="this machine has NVML")
def test_a_machine_without_nvml_says_so(start):
    assert start({}).read().problem == "NVML is not installed (no usable libnvidia-ml.so.1)"


@pytest.mark.skipif(not machine_has_nvml(), reason="this machine has no NVML")
def test_the_cards_of_this_machine_are_read(start):
    reader = start({name: os.environ[name] for name in ["LD_LIBRARY_PATH"] if name in os.environ})
    reading = reader.read()
    if reading.problem or not reading.gpus:
        pytest.skip(f"this machine has no card that works: {reading.problem or 'none listed'}")

    gpu = next(gpu for gpu in reading.gpus if gpu.problem is None)
    assert gpu.uuid and gpu.uuid.startswith("GPU-") and gpu.name
    assert gpu.memory_total_bytes is None or gpu.memory_free_bytes is not None
    assert isinstance(reader.call("compute_pids", gpu.index), list)
