"""Fixtures for every ring: real systemd hosts, or a reason why there are none.

A test that asks for a host is skipped where none can be booted, unless
FORGATHER_TESTS_NEED_HOSTS is set: then it fails, so that CI cannot go green on skips.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck

from tests import hosts
from tests.hosts import TestHost

hypothesis.settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("shared-machine")

HOST_FIXTURES = {"systemd_host", "new_host"}


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
