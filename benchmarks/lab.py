"""Where it is measured: the product in a clean environment of its own, and spools in a temporary folder.

The package is built and installed by `make install`, the README's first way, with nothing else in
its environment: the developers' one has packages that slow every interpreter.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import BenchmarkFailed
from forgather_spool.spool.queue import Spool

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = (
    "forgather_spool", "bin", "units", "benchmarks", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE",
    "README.md",
)  # fmt: skip
SYSTEM_PYTHON = "/usr/bin/python3"
_homes = itertools.count()
STAMP_C = """
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec now;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int length = snprintf(text, sizeof text, "%lld\\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    return write(fd, text, length) != length;
}
"""
STAMP_SH = '#!/bin/sh\ndate +%s%N >"$1"\n'


@dataclass(frozen=True, slots=True)
class Lab:
    """`folder` holds everything: what `make install` makes, our code in `code`, `stamp`, and a folder for each user."""

    folder: Path
    quick: bool

    @property
    def venv(self) -> Path:
        return self.folder / "share/forgather-spool/venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin/python3"

    @property
    def forgather(self) -> Path:
        return self.folder / "bin/forgather"

    @property
    def stamp(self) -> Path:
        """A program that writes the wall clock, in ns, into the file its argument names, as its first act."""
        return self.folder / "stamp"

    @property
    def work(self) -> Path:
        """This user's own folder: in a test host it is not the one who opened the lab."""
        path = self.folder / f"of-{os.geteuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def rounds(self, many: int) -> int:
        return max(3, many // 10) if self.quick else many

    def env(self, home: Path | None = None, **more: str) -> dict[str, str]:
        """Of a user with a clean shell; `home` is the spool's."""
        env = {"PATH": f"{self.folder}/bin:{self.venv}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.work)}
        if "XDG_RUNTIME_DIR" in os.environ:
            env["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
        if home is not None:
            env |= {"FORGATHER_HOME": str(home), "FORGATHER_HOST": "bench"}
        return env | more

    def embedded(self, home: Path, **more: str) -> dict[str, str]:
        """The same, and jobs run without systemd."""
        return self.env(home, FORGATHER_HOST_KIND="process", **more)

    def home(self, name: str) -> Path:
        """A new spool. Those before it stay until the end: ext4 passes over inodes that were freed a moment ago."""
        path = self.work / f"{name}-{next(_homes)}"
        Spool(str(path)).create()
        return path


def open_lab(folder: Path, *, quick: bool) -> Lab:
    """Build, install, compile; about ten seconds. Raises BenchmarkFailed."""
    lab = Lab(folder, quick)
    folder.chmod(0o1777)  # a host's ordinary user measures in here too
    code = folder / "code"
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, code / part, ignore=ignore)
        else:
            shutil.copy(source, code / part)
    _run(["make", "-C", code, "install", f"PREFIX={folder}", f"PYTHON={interpreter()}"])
    shutil.rmtree(code / "forgather_spool")  # only what was installed is measured
    _make_stamp(lab.stamp)
    return lab


def interpreter() -> str:
    """What the product is installed with: ``BENCH_PYTHON``, the system's where it will do, or else our own.

    Python's start is most of a submit, and a distribution's build (with PGO and LTO) starts up to a third faster than
    one that was compiled as the source comes.
    """
    if "BENCH_PYTHON" in os.environ:
        return os.environ["BENCH_PYTHON"]
    asks = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", asks], capture_output=True, check=False)
    except FileNotFoundError:
        return sys.executable
    return SYSTEM_PYTHON if done.returncode == 0 else sys.executable


def _make_stamp(path: Path) -> None:
    """In C where there is a compiler; else a shell script, a millisecond slower on every side."""
    for flags in (["-static"], []):
        command = ["cc", "-O2", *flags, "-x", "c", "-", "-o", str(path)]
        try:
            if subprocess.run(command, input=STAMP_C, text=True, capture_output=True, check=False).returncode == 0:
                return
        except FileNotFoundError:
            break
    path.write_text(STAMP_SH)
    path.chmod(0o755)


def _run(command: list[object]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode != 0:
        raise BenchmarkFailed(f"{' '.join(map(str, command))}: {done.stderr.strip()[-2000:]}")
