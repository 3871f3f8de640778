"""Fixtures for sweeps: they need strace(1), and say so where it does not work."""

from __future__ import annotations

import os

import pytest

from tests.sweep import strace


@pytest.fixture(scope="session", autouse=True)
def strace_works() -> None:
    """Skips, or fails where tests must not be skipped, saying why nothing can be traced."""
    if reason := strace.why_not():
        if os.environ.get("FORGATHER_TESTS_NEED_STRACE"):
            pytest.fail(reason)
        pytest.skip(reason)
