"""Cards that are not there: a libnvidia-ml.so.1 of ours, which the real pynvml loads.

A program started with `FakeCards.env()` sees the cards described here, and
every later change at its next call. The library reads one text file, replaced
whole at each change, of lines ``<card>.<field> <value>``, besides ``cards <n>``,
``generation <n>`` (grows when the driver is reloaded), ``init <code>`` and
``fail <code>``. A field without a line is NOT_SUPPORTED.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

GPU_IS_LOST = 15  # nvmlReturn_t of nvml.h
GIB = 1 << 30


@functools.cache
def _compiled(source: Path, into: Path) -> Path:
    library = into / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    return into


def build(into: Path) -> Path:
    """The folder with the library, built there once. Skips the test where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to build the fake libnvidia-ml.so.1 with")
    return _compiled(Path(__file__).with_name("nvml.c"), into)


class FakeCards:
    """The cards of a machine; none at first. `state` is the file to write, `library` what `build` gave."""

    def __init__(self, state: Path, library: Path) -> None:
        self.state = state
        self.library = library
        self._lines: dict[str, list[str]] = {}
        self._count = 0
        self._generation = 0
        self._write()

    def env(self) -> dict[str, str]:
        """What to add to a program's environment."""
        return {"FAKE_NVML_STATE": str(self.state), "LD_LIBRARY_PATH": str(self.library)}

    def add(self, **fields: str | int | None) -> int:
        """One card more, idle and healthy but for `fields`. Gives its index."""
        index = self._count
        self._count += 1
        healthy: dict[str, str | int | None] = {
            "uuid": self.uuid(index),
            "name": "Fake H200",
            "memory_total_bytes": 141 * GIB,
            "memory_used_bytes": 0,
            "utilization_percent": 0,
            "temperature_c": 30,
            "power_mw": 75_500,
            "fan_percent": 20,
        }
        self.set(index, **healthy | fields)
        return index

    @staticmethod
    def uuid(index: int) -> str:
        """The UUID `add` gives; the first eight digits tell cards apart."""
        return f"GPU-{index:08x}-1111-2222-3333-444444444444"

    def set(self, index: int, **fields: str | int | None) -> None:
        """Change fields (those of `add`, and mig=1); None makes one NOT_SUPPORTED."""
        for field, value in fields.items():
            self._lines[f"{index}.{field}"] = [] if value is None else [str(value)]
        self._write()

    def slice(self, index: int, uuid: str) -> None:
        """One MIG slice more on a card; set mig=1 too. An empty UUID is a place without a slice."""
        self._lines.setdefault(f"{index}.slice", []).append(uuid)
        self._write()

    def process(self, index: int, pid: int, memory_used_bytes: int | None = GIB, kind: str = "compute") -> None:
        """One process more on a card; None for memory NVML cannot tell."""
        used_bytes = -1 if memory_used_bytes is None else memory_used_bytes
        self._lines.setdefault(f"{index}.{kind}", []).append(f"{pid} {used_bytes}")
        self._write()

    def end_processes(self, index: int) -> None:
        """The card has no processes any more."""
        self._lines.pop(f"{index}.compute", None)
        self._lines.pop(f"{index}.graphics", None)
        self._write()

    def fail(self, index: int, field: str, code: int) -> None:
        """Make one field fail with an NVML error code; 0 heals it.

        Fields: those of `add`, "memory", "mig", "slice", "compute", "graphics",
        "handle", and calls by version: "temperature_v", "processes_v3", "processes_v2".
        """
        self._lines[f"{index}.fail.{field}"] = [str(code)]
        self._write()

    def lose(self, index: int, code: int = GPU_IS_LOST) -> None:
        """Every call for this card fails; 0 brings it back."""
        self._lines[f"{index}.lost"] = [str(code)]
        self._write()

    def remove_last(self) -> None:
        """NVML counts one card fewer."""
        self._count -= 1
        self._write()

    def fail_init(self, code: int) -> None:
        """NVML cannot be initialised; 0 heals it."""
        self._lines["init"] = [str(code)]
        self._write()

    def fail_every_call(self, code: int) -> None:
        """NVML can be initialised and then answers nothing; 0 heals it."""
        self._lines["fail"] = [str(code)]
        self._write()

    def reload_driver(self) -> None:
        """Programs that have NVML initialised find it uninitialised."""
        self._generation += 1
        self._write()

    def log(self) -> list[str]:
        """Every "init" and "shutdown" so far, of all programs."""
        log = Path(f"{self.state}.log")
        return log.read_text().split() if log.exists() else []

    def _write(self) -> None:
        lines = [f"cards {self._count}", f"generation {self._generation}"]
        lines += [f"{key} {value}" for key, values in self._lines.items() for value in values]
        new = Path(f"{self.state}.new")
        new.write_text("".join(f"{line}\n" for line in lines))
        os.replace(new, self.state)
