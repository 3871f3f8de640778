"""A spool with real dispatchers, runners and jobs, on the embedded default, in a folder of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from forgather_spool.host import proc
from forgather_spool.job import Claim, Result
from forgather_spool.spool import files
from forgather_spool.spool.names import Entry
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.submit import submit
from tests.waiting import wait_until

HOST = "box"


class World:
    """Jobs are given as shell lines; files they name lie in `folder`, where they run."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "work"
        self.folder.mkdir(parents=True)
        self.spool = Spool(str(tmp_path / "home")).create()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "FORGATHER_HOME": self.spool.paths.home,
            "FORGATHER_HOST": HOST,
            "FORGATHER_HOST_KIND": "process",
            "FORGATHER_IDLE_S": "0.2",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        self.dispatchers: list[subprocess.Popen[str]] = []

    def submit(self, line: str = "true", **spec: Any) -> Entry:
        priority = spec.get("priority", 0)
        document = {"argv": ["sh", "-c", line], "cwd": str(self.folder), "priority": priority, **spec}
        return -priority, submit(self.spool, document)

    def dispatch(self, **env: str) -> subprocess.Popen[str]:
        """Start a dispatcher; what it says goes to dispatcher-<n>.log in the folder."""
        with open(self.folder / f"dispatcher-{len(self.dispatchers)}.log", "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "forgather_spool.dispatcher"],
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.dispatchers.append(process)
        return process

    def forgather(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours over this spool, to its end."""
        argv = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather"), *words]
        return subprocess.run(argv, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60)

    def said(self) -> str:
        """What all dispatchers said."""
        return "".join((self.folder / f"dispatcher-{n}.log").read_text() for n in range(len(self.dispatchers)))

    def dispatch_all(self, timeout_s: float = 60, **env: str) -> None:
        """Run a dispatcher until it has nothing left to do."""
        process = self.dispatch(**env)
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the dispatcher does not come to an end: {self.said()}") from None
        assert code == 0, self.said()

    def result(self, entry: Entry, attempt: int | None = None) -> Result | None:
        """Of its current attempt, if none is named."""
        path = self.spool.paths.result(entry[1], attempt or self.spool.attempt(entry[1]))
        try:
            return Result.from_document(files.read_document(path))
        except FileNotFoundError:
            return None

    def claim(self, entry: Entry) -> Claim:
        return Claim.from_document(
            files.read_document(self.spool.paths.started(entry[1], self.spool.attempt(entry[1])))
        )

    def wait_for(self, name: str, timeout_s: float = 30) -> str:
        """The content of a file a job writes, once it has a whole line."""
        path = self.folder / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), timeout_s, f"{name}; {self.said()}")
        return path.read_text()

    def wait_done(self, entry: Entry, timeout_s: float = 30) -> Result:
        """Its result, once its spec lies in done/."""
        wait_until(lambda: self.is_done(entry), timeout_s, f"the end of {entry[1]}; {self.said()}")
        result = self.result(entry)
        assert result is not None
        return result

    def is_done(self, entry: Entry) -> bool:
        done = Path(self.spool.paths.done)
        return any((day / f"{entry[1]}.json").exists() for day in done.iterdir())

    def output(self, entry: Entry, attempt: int | None = None) -> str:
        return Path(self.spool.paths.output(entry[1], attempt or self.spool.attempt(entry[1]))).read_text()

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def our_processes(self) -> list[int]:
        """Every process that was given this home: dispatchers, nurseries, runners, jobs."""
        return [pid for pid in proc.pids_with_env("FORGATHER_HOME", self.spool.paths.home) if pid != os.getpid()]

    def leftovers(self) -> list[str]:
        """Files that should not outlive a settled spool."""
        paths = self.spool.paths
        left = [f"tmp/{name}" for name in files.names(paths.tmp)]
        left += [f"batches/{name}" for name in files.names(paths.batches)]
        left += [f"queue/{name}" for name in files.names(paths.queue)]
        for host in files.names(paths.running):
            left += [f"running/{host}/{name}" for name in files.names(paths.running_on(host))]
        return left

    def end(self) -> None:
        for process in self.dispatchers:
            process.kill()
            process.wait()
        for _ in range(50):
            pids = self.our_processes()
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
