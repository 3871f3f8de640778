"""A program of its own that reads cards through the real pynvml, whenever a test asks it to."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from forgather_spool.gpu import Gpu
from forgather_spool.host import nvml

ROOT = Path(nvml.__file__).parents[2]

READER = """
import pickle, sys
from forgather_spool.host import nvml
while True:
    try:
        name, arguments = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        answer = getattr(nvml, name)(*arguments)
    except Exception as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))
    sys.stdout.buffer.flush()
"""


class Reader:
    """A program that reads cards when asked to, and goes on running in between."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.program = subprocess.Popen(
            [sys.executable, "-c", READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]} | environment,
        )

    def call(self, name: str, *arguments: Any) -> Any:
        assert self.program.stdin and self.program.stdout
        pickle.dump((name, arguments), self.program.stdin)
        self.program.stdin.flush()
        answer = pickle.load(self.program.stdout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, visible: str | None = None) -> nvml.GpuReading:
        reading = self.call("read_gpus", visible)
        assert isinstance(reading, nvml.GpuReading)
        return reading

    def gpu(self, index: int = 0) -> Gpu:
        reading = self.read()
        assert reading.problem is None
        return reading.gpus[index]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.communicate()
