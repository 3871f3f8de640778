"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.lab import interpreter
from forgather_spool.host.proc import file_system_of


def describe(folder: Path, scopes: str) -> dict[str, str]:
    """Facts for the report. `scopes` says where the scopes ran, or why they did not."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]),
        "processor": f"{os.cpu_count()} x {_cpu_model()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "systemd": _first_line(["systemctl", "--version"]),
        "scopes": scopes,
        "python": f"{_first_line([interpreter(), '--version'])}, {interpreter()}",
        "file system": file_system_of(str(folder)),
        "click, rich": f"{version('click')}, {version('rich')}",
        "load at the end": f"{os.getloadavg()[0]:.1f}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0] or "none"
    except FileNotFoundError:
        return "none"
