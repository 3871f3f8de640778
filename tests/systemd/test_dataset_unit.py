"""The dataset server's unit on a real systemd: it serves, and what its sandbox promises has effect."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("pyarrow")
pytest.importorskip("cryptography")

from tests.hosts import REPOSITORY, TestHost
from tests.systemd.desk import Desk
from tests.waiting import wait_until

UNIT = "forgather-dataset@8766.service"
# Where these tests run from may lie under /tmp, of which the unit has its own.
SEEN = f"[Service]\nBindReadOnlyPaths={REPOSITORY} {sys.prefix}\n"
PROBE = """
import ctypes, json, os, pathlib, resource, socket
home = pathlib.Path.home()
def tried(what):
    try:
        return str(what())[:60]
    except OSError as error:
        return error.strerror
found = {
    "write home": tried(lambda: (home / "mine").write_text("x")),
    "write spool": tried(lambda: (home / ".config/forgather/spool/incoming/x.json").write_text("{}")),
    "read ssh": tried(lambda: (home / ".ssh/id").read_text()),
    "write etc": tried(lambda: pathlib.Path("/etc/mine").write_text("x")),
    "write token folder": tried(lambda: (home / ".config/forgather/dataset_server/probe").write_text("x")),
    "write cache": tried(lambda: (home / ".cache/forgather/probe").write_text("x")),
    "read data": tried(lambda: (home / "stories/a.txt").read_text()),
    "tmp": tried(lambda: sorted(os.listdir("/tmp"))),
    "unshare": tried(lambda: ctypes.CDLL(None).unshare(0x20000)),
    "write sysctl": tried(lambda: pathlib.Path("/proc/sys/kernel/domainname").write_text("x")),
    "write cgroup": tried(lambda: os.mkdir("/sys/fs/cgroup/mine")),
    "set-user-id": tried(lambda: os.chmod(home / ".config/forgather/dataset_server/probe", 0o4700)),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "real time": tried(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "personality": tried(lambda: ctypes.CDLL(None).personality(0x0008)),
    "reboot": tried(lambda: ctypes.CDLL(None).reboot(0)),
    "core": str(resource.getrlimit(resource.RLIMIT_CORE)[1]),
    "umask": oct(os.umask(0o77)),
    "privileges": "".join(l for l in open("/proc/self/status") if l.startswith(("NoNewPrivs", "Seccomp:", "CapBnd"))),
    "disks": tried(lambda: [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme", "kmsg"))]),
}
(home / ".config/forgather/dataset_server/found.json").write_text(json.dumps(found) + "\\n")
"""


@pytest.fixture
def desk(systemd_host: TestHost) -> Desk:
    desk = Desk(systemd_host)
    desk.environment({"PYTHONPATH": str(REPOSITORY)})
    desk.write("stories/a.txt", "one\ntwo\n")
    desk.write(".ssh/id", "secret\n")
    desk.write(".config/forgather/dataset_server/config.yaml", "local: {stories: /home/forge/stories}\nno_hf: true\n")
    desk.forgather("units", "install")
    desk.drop_in(UNIT, SEEN)
    return desk


def test_the_unit_serves_on_its_port_with_a_token_of_its_own(desk: Desk) -> None:
    """By name, from the config; clients of the same user find the token; systemd shows it as one service."""
    desk.systemctl("start", UNIT)
    wait_until(lambda: "status: ok" in desk.forgather("dataset-server", "status", check=False), 60, "the server")

    said = desk.forgather("dataset-server", "local")

    assert "local/stories" in said
    assert desk.systemctl("is-active", UNIT) == "active"
    token = desk.file(".config/forgather/dataset_server/8766.token")
    assert token is not None and len(token.strip()) == 64
    journal = desk.host.run("journalctl", "--user", "-u", UNIT, "-o", "cat", user="forge", check=False).stdout
    assert token.strip() not in journal
    desk.systemctl("stop", UNIT)


def test_what_the_sandbox_promises_has_effect(desk: Desk) -> None:
    """Effects, not settings: without PrivateUsers most of these are silently nothing."""
    desk.write("probe.py", PROBE)
    desk.host.run("touch", "/tmp/outside", user="forge")
    desk.drop_in(UNIT, f"{SEEN}Type=oneshot\nRestart=no\nExecStart=\nExecStart={sys.executable} /home/forge/probe.py\n")

    desk.systemctl("start", UNIT)

    text = desk.file(".config/forgather/dataset_server/found.json")
    assert text is not None
    found = json.loads(text)
    closed = {"Read-only file system", "Permission denied", "No such file or directory"}
    for what in ("write home", "write spool", "read ssh", "write etc"):
        assert found[what] in closed, (what, found)
    assert found["write token folder"] == found["write cache"] == "1"
    assert found["read data"].startswith("one")
    assert "outside" not in found["tmp"]
    assert found["disks"] == "[]"
    assert found["unshare"] == "-1"
    assert found["write sysctl"] in closed and found["write cgroup"] in closed
    for what in ("set-user-id", "real time"):
        assert found[what] == "Operation not permitted", (what, found)
    assert found["netlink"] == "Address family not supported by protocol"
    assert found["personality"] == found["reboot"] == "-1"
    assert found["core"] == "0" and found["umask"] == "0o77"
    assert found["privileges"].split() == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]


def test_its_exposure_is_low(desk: Desk) -> None:
    """systemd's own score of the settings, 0 to 10; it says nothing of effects."""
    said = desk.host.run("systemd-analyze", "--user", "security", UNIT, user="forge", check=False).stdout

    level = said.rpartition("Overall exposure level for")[2].split(":")[1].split()[0]
    assert float(level) <= 3.5, said
