"""Real systemd hosts for tests: boot one, run commands in it, pull its cable or its plug.

A host is this machine's files under another PID 1 (`testhost` in this folder says how). It sees
this checkout and the virtual environment at their own paths, and `forgather` is on its PATH.
Each pytest process has a lab of its own: its hosts share a network with each other and nothing
with the hosts of any other process. The lab ends with the process; what a killed process left is
removed by the next that boots a host.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

REPOSITORY = Path(__file__).resolve().parents[2]
TESTHOST = Path(__file__).with_name("testhost")

# What a command in a host needs to see: the code, and the interpreter that would run it here.
SEEN = tuple(dict.fromkeys(os.path.realpath(path) for path in (REPOSITORY, sys.prefix, sys.base_prefix)))
PATH = ":".join([f"{sys.prefix}/bin", f"{REPOSITORY}/bin", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"])

_owner_pid = os.getpid()
_lab_env = {**os.environ, "TESTHOST_LAB": f"p{_owner_pid}", "TESTHOST_OWNER": str(_owner_pid)}


class TestHostFailed(AssertionError):
    """A host did not boot, or a command in it failed; the message carries what it printed."""

    __test__ = False


def missing() -> str:
    """What this machine lacks to boot hosts, as one line; empty when it lacks nothing."""
    lacks = subprocess.run([TESTHOST, "check"], capture_output=True, text=True, check=False).stdout
    return ", ".join(lacks.splitlines())


class TestHost:
    """One host. `forge` is its ordinary user, `mallory` another one, `root` is root.

    `share` maps a folder of this machine to where the host has it, writable on both sides; ordinary
    users of the host need its permissions. As a context manager it boots, and is removed at the end.
    """

    __test__ = False

    def __init__(self, name: str = "host", *, share: Mapping[Path, str] | None = None) -> None:
        """`name` is also the hostname: at most nine of a-z and 0-9, a letter first."""
        self.name = name
        self._shares = {os.path.realpath(folder): at for folder, at in (share or {}).items()}
        self._made = False

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> Self:
        """Boot, and wait for the users' managers. After `kill`, the same disk boots again; no-op when up."""
        options: list[str] = []
        if not self._made:
            atexit.unregister(_end_lab)
            atexit.register(_end_lab)
            options += [word for path in SEEN for word in ("--see", path)]
            options += [word for path, at in self._shares.items() for word in ("--share", f"{path}:{at}")]
        self._ask("up", *options)
        self._made = True
        return self

    def run(
        self,
        *argv: str | Path,
        user: str = "forge",
        cwd: str | Path | None = None,
        env: Mapping[str, str | None] | None = None,
        input: str | None = None,
        check: bool = True,
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as after a fresh login of `user`, in its home unless `cwd` says otherwise.

        Nothing of the caller's environment enters; `env` adds variables, and removes those that are None.

        Raises:
            TestHostFailed: it exited non-zero and `check` is set; the message has its output.
        """
        command = self._command(argv, user, cwd, env)
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout_s, env=_lab_env, **stdin
        )
        if check and done.returncode != 0:
            words = " ".join(map(str, argv))
            raise TestHostFailed(f"{self.name}: {words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(
        self,
        *argv: str | Path,
        user: str = "forge",
        cwd: str | Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: int | IO[str] = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start a command as `run` does and go on; its stdout and stderr are pipes of text.

        `kill` and `terminate` both kill the command at once: to send it a signal, `run` kill(1).
        """
        command = self._command(argv, user, cwd, env)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True, env=_lab_env)

    @property
    def addr(self) -> str:
        """Its address on the lab's network; the lab's other hosts also know it by its name."""
        return self._ask("addr")

    @property
    def disk(self) -> Path:
        """Its root folder as this machine sees it, booted or not: /home and /var, not /tmp and /run."""
        return Path(self._ask("disk"))

    @property
    def boot_id(self) -> str:
        """A different one after each boot, as in random(4)."""
        return self.run("cat", "/proc/sys/kernel/random/boot_id", user="root").stdout.strip()

    def cut(self) -> None:
        """Take it off the network: packets vanish, as with a pulled cable. Its loopback stays."""
        self._ask("cut")

    def heal(self) -> None:
        """Undo `cut`."""
        self._ask("heal")

    def kill(self) -> None:
        """Power off: every process dies at once, /tmp and /run are lost, the disk stays for `up`."""
        self._ask("kill")

    def fresh(self, user: str = "forge") -> None:
        """Give `user` an empty home and a new user manager, and end all that ran. Costs 0.2 s.

        The journal stays; network, power and the other users too.
        """
        self._ask("fresh", user)

    def down(self) -> None:
        """End it and its disk; a later `up` makes a new one. No-op when it is not there."""
        self._ask("down")
        self._made = False

    def _command(
        self, argv: tuple[str | Path, ...], user: str, cwd: str | Path | None, env: Mapping[str, str | None] | None
    ) -> list[str]:
        command = [str(TESTHOST), "run", self.name, "--user", user]
        if cwd is not None:
            command += ["--cwd", str(cwd)]
        for key, value in {"PATH": PATH, **(env or {})}.items():
            command += ["--unset", key] if value is None else ["--env", f"{key}={value}"]
        return [*command, "--", *map(str, argv)]

    def _ask(self, verb: str, *words: str) -> str:
        done = subprocess.run(
            [TESTHOST, verb, self.name, *words], capture_output=True, text=True, check=False, env=_lab_env
        )
        if done.returncode != 0:
            raise TestHostFailed(f"testhost {verb} {self.name}: {done.stderr.strip()}")
        return done.stdout.strip()


def _end_lab() -> None:
    if os.getpid() == _owner_pid:  # a forked child runs the exit handlers as well
        subprocess.run([TESTHOST, "down"], check=False, env=_lab_env)
