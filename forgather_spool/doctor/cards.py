"""Checks of NVML: can the cards be read, and by the right package?"""

from __future__ import annotations

import os
from importlib import metadata

from forgather_spool.doctor.finding import Subject, Verdict, fail, note, ok, some, warn
from forgather_spool.host.nvml import read_gpus

DRIVER_FOLDER = "/proc/driver/nvidia"


def check_cards(subject: Subject) -> Verdict:
    reading = read_gpus(subject.environ.get("CUDA_VISIBLE_DEVICES"))
    if reading.problem is not None:
        if os.path.isdir(DRIVER_FOLDER):
            return fail(
                f"the driver is loaded and no card can be read: {reading.problem}", "make `nvidia-smi` work first"
            )
        return note(f"none: {reading.problem}; jobs without --gpus run", "to use cards, install the NVIDIA driver")
    broken = [f"gpu {gpu.index} {gpu.problem}" for gpu in reading.gpus if gpu.problem is not None]
    if broken:
        return warn(
            f"of {len(reading.gpus)}: {some(broken)}; the others are used", "look into `dmesg`; reset or reboot"
        )
    excluded = [str(gpu.index) for gpu in reading.gpus if gpu.excluded]
    if excluded:
        return note(
            f"of {len(reading.gpus)}, CUDA_VISIBLE_DEVICES hides {some(excluded)} from a dispatcher started here",
            "unset it before the first submit if that is not meant",
        )
    return ok(f"{len(reading.gpus)} can be read") if reading.gpus else note("NVML answers and has no card")


def check_packages(subject: Subject) -> Verdict:
    """Two packages bring a module called pynvml; the one of that name slows every start of this interpreter."""
    if _version("nvidia-ml-py") is None:
        return fail("not installed: no card can be read", "pip install nvidia-ml-py")
    if (version := _version("pynvml")) is not None:
        return warn(
            f"the package pynvml {version} is installed too, and slows every start of this Python by 17 ms",
            "pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py",
        )
    return ok(f"nvidia-ml-py {_version('nvidia-ml-py')}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
