"""Fixtures for every ring: real systemd hosts, or a reason why there are none.

A test that asks for a host is skipped where none can be booted, unless
FORGATHER_TESTS_NEED_HOSTS is set: then it fails, so that CI cannot go green on skips.

The files of a test lie in memory where there is room, unless TMPDIR says where: thousands of
spools are made and removed, each step of each is synced, and a disk that others use as well
takes fifty times as long. What a killed program leaves is the same there; what a power cut
leaves is the power-cut model's and the virtual machines' to show.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck

from tests import hosts
from tests.hosts import TestHost

hypothesis.settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("shared-machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun with `&` by a script: our programs would ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

HOST_FIXTURES = {"systemd_host", "new_host"}


IN_MEMORY = "/dev/shm"
ROOM_BYTES = 4 << 30  # several times what the tests hold at once
MEMORY_BYTES = 8 << 30


def pytest_configure() -> None:
    """Decide where `tmp_path` and `tempfile` make their folders; the environment of what tests start stays."""
    if "TMPDIR" not in os.environ and _has_room_in_memory():
        tempfile.tempdir = IN_MEMORY


def _has_room_in_memory() -> bool:
    try:
        about = os.statvfs(IN_MEMORY)
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available_bytes = int(memory["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError):
        return False
    may_run_there = not about.f_flag & os.ST_NOEXEC
    return may_run_there and about.f_bavail * about.f_frsize >= ROOM_BYTES and available_bytes >= MEMORY_BYTES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that boots a host `systemd`, so that ``-m "not systemd"`` leaves them out."""
    for item in items:
        if HOST_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.systemd)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they need to be, whatever terminal the tests were started from."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def hosts_can_boot() -> None:
    """Skips, or fails where hosts are required, saying what this machine lacks."""
    if lacks := hosts.missing():
        reason = f"no systemd host can be booted here; missing: {lacks}"
        if os.environ.get("FORGATHER_TESTS_NEED_HOSTS"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _booted_host(hosts_can_boot: None) -> Iterator[TestHost]:
    with TestHost("host") as host:
        yield host


@pytest.fixture
def systemd_host(_booted_host: TestHost) -> TestHost:
    """A booted host where forge and mallory have just logged in for the first time.

    Shared by the tests of one process. A test may `kill` and `cut` it: it is up and healed again for the next.
    """
    _booted_host.up()
    _booted_host.heal()
    for user in ("forge", "mallory"):
        _booted_host.fresh(user)
    return _booted_host


@pytest.fixture
def new_host(hosts_can_boot: None) -> Iterator[Callable[..., TestHost]]:
    """``new_host("a", share={folder: "/mnt"})`` boots a host of this test alone; it is removed at the end."""
    made: list[TestHost] = []

    def make(name: str, **options: object) -> TestHost:
        made.append(TestHost(name, **options))  # type: ignore[arg-type]
        return made[-1].up()

    yield make
    for host in made:
        host.down()
