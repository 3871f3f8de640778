"""``python -m benchmarks.inside start|drain FOLDER [--quick]``: what needs a user manager, run where one is.

`measure_in_scopes` calls it: here when this login has a user manager, else in
a host booted for it (`tests/hosts`). The samples come back as JSON on stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import drain, start
from benchmarks.lab import REPOSITORY, Lab
from benchmarks.measure import BenchmarkFailed, Samples

QUESTIONS = {"start": start.measure, "drain": drain.measure}
LIMIT_S = 900


def measure_in_scopes(lab: Lab, questions: list[str]) -> tuple[dict[str, dict[str, Samples]] | None, str]:
    """The samples by question, and where they were taken; None and why not when nothing here can run systemd."""
    if os.path.exists(f"/run/user/{os.geteuid()}/systemd/private"):
        return {name: _ask(lab, name) for name in questions}, "this machine's user manager"
    sys.path.insert(0, str(REPOSITORY))
    try:
        from tests import hosts
    except ImportError as error:
        return None, f"no user manager here, and no test host: {error}"
    lacks = hosts.missing()
    if lacks:
        return None, f"no user manager here, and no test host: {lacks}"
    with hosts.TestHost("bench", share={lab.folder: str(lab.folder)}) as host:
        return {name: _ask(lab, name, host) for name in questions}, "a systemd host in a container"


def _ask(lab: Lab, question: str, host: object = None) -> dict[str, Samples]:
    command = [str(lab.python), "-m", "benchmarks.inside", question, str(lab.folder), *(["--quick"] * lab.quick)]
    env = {"PYTHONPATH": str(lab.folder / "code")}
    if host is None:
        done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
    else:
        done = host.run(*command, env=env, check=False, timeout_s=LIMIT_S)  # type: ignore[attr-defined]
    if done.returncode != 0:
        raise BenchmarkFailed(f"{question} in scopes: {done.stderr.strip()[-2000:]}")
    return {name: Samples(tuple(values)) for name, values in json.loads(done.stdout).items()}


def main() -> None:
    question, folder = sys.argv[1:3]
    lab = Lab(Path(folder), "--quick" in sys.argv)
    taken = QUESTIONS[question](lab, systemd=True)
    print(json.dumps({name: samples.values for name, samples in taken.items()}))


if __name__ == "__main__":
    main()
