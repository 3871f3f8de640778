"""A dispatcher killed at each of its system calls, with real scopes and a real user manager."""

from __future__ import annotations

import json
import sys

import pytest

from tests.hosts import REPOSITORY, TestHost
from tests.sweep import strace

PARTS = 4  # so that several processes share the work, each with a host of its own


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_it_loses_nothing_and_runs_nothing_twice(part: int, systemd_host: TestHost) -> None:
    if reason := strace.why_not():
        pytest.skip(reason)
    driver = [sys.executable, "-B", "-m", "tests.systemd.sweep_driver", str(part), str(PARTS)]

    done = systemd_host.run(*driver, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)}, timeout_s=600)

    came = json.loads(done.stdout)
    assert came["wrong"] == []
    assert came["hits"] > 20
