"""Real training processes for tests: `tests/scripts/plain_loop.py` under control, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.paths import Paths
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
LOOP = ROOT / "tests" / "scripts" / "plain_loop.py"


class Training:
    """One running loop. `options` are those of the script; `environ` is added to its environment."""

    def __init__(self, folder: Path, home: Path, environ: dict[str, str] | None = None, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.job_id: str = options.get("job_id", "run")
        self.paths = Paths(str(home))
        self.mailbox = Mailbox(self.paths, self.job_id)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FORGATHER_")}
        self._err = (folder / "stderr").open("ab")
        self._out = (folder / "stdout").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(LOOP), json.dumps({"job_id": self.job_id} | options)],
            cwd=folder,
            env=inherited | {"FORGATHER_HOME": str(home), "PYTHONPATH": str(ROOT)} | (environ or {}),
            stdout=self._out,
            stderr=self._err,
        )

    def up(self) -> Training:
        """Once it can be asked and has made a step."""
        wait_until(lambda: self.step() > 0 or self.process.poll() is not None, what="the trainer's first step")
        assert self.process.poll() is None, self.stderr
        return self

    @property
    def status_file(self) -> Path:
        return Path(self.paths.job(self.job_id)) / "status.json"

    @property
    def endpoint_file(self) -> Path:
        return Path(self.paths.job(self.job_id)) / "endpoint.json"

    @property
    def control_folder(self) -> Path:
        return Path(self.mailbox.folder)

    @property
    def token(self) -> str:
        return (Path(self.paths.job(self.job_id)) / "auth_token").read_text().strip()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("checkpoint-*"))

    def step(self) -> int:
        """Its step as its status has it; 0 before the first."""
        status = self.mailbox.status()
        return 0 if status is None else int(str(status["global_step"] or 0))

    def goes_on(self) -> bool:
        """Whether it makes another step; waits for it."""
        before = self.step()
        return wait_until(lambda: self.step() > before, what="another step")

    def hold(self) -> None:
        """No step ends until `let_go`. Returns when the loop stands."""
        (self.folder / "hold").touch()
        wait_until((self.folder / "held").exists, what="a step that does not end")

    def hears(self) -> None:
        """Wait until the loop knows what was posted: a word nobody knows is refused once all before it is read."""
        self.answer(self.mailbox.post("no_such_word", by="a test"))

    def let_go(self) -> None:
        (self.folder / "hold").unlink()
        (self.folder / "held").unlink()

    def answer(self, command_id: str) -> dict[str, Any]:
        """The acknowledgement, waited for."""
        return wait_until(lambda: self.mailbox.acknowledgement(command_id), what=f"the answer to {command_id}")  # type: ignore[return-value]

    def ended(self) -> dict[str, Any]:
        """What it printed at its end, waited for; it must have exited 0."""
        assert self.process.wait(timeout=30) == 0, self.stderr
        last: dict[str, Any] = json.loads((self.folder / "stdout").read_text().splitlines()[-1])
        return last

    def kill(self, signum: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        if signum == signal.SIGKILL:
            self.process.wait(timeout=30)

    def close(self) -> None:
        self.kill()
        self._err.close()
        self._out.close()
