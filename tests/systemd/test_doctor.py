"""`forgather doctor` where systemd answers."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.hosts import REPOSITORY, TestHost

FORGATHER = [sys.executable, "-B", str(REPOSITORY / "bin" / "forgather")]


def forgather(host: TestHost, *words: str) -> str:
    return host.run(*FORGATHER, *words, env={"PYTHONPATH": str(REPOSITORY)}).stdout


def findings(host: TestHost) -> dict[str, Any]:
    told = json.loads(forgather(host, "doctor", "--json"))
    return {found["name"]: found for found in told["findings"]}


def test_on_a_fresh_host_nothing_fails_and_no_check_breaks(systemd_host: TestHost) -> None:
    """The manager answers and says its version; the units are not installed yet."""
    found = findings(systemd_host)

    assert {name: one for name, one in found.items() if one["level"] == "fail"} == {}
    assert (found["user manager"]["level"], found["lingering"]["level"]) == ("ok", "ok")
    assert found["systemd version"]["says"].startswith("systemd 2")
    assert found["units"]["mend"] == "forgather units install"
    assert "enforced" in found["limits"]["says"]


def test_installed_units_are_found_and_an_edited_one_is_named(systemd_host: TestHost) -> None:
    forgather(systemd_host, "units", "install")
    assert findings(systemd_host)["units"]["level"] == "ok"

    systemd_host.run("sh", "-c", "echo '# mine' >> ~/.config/systemd/user/forgather-dispatch.timer")

    edited = findings(systemd_host)["units"]
    assert (edited["level"], "forgather-dispatch.timer" in edited["says"]) == ("warn", True)
