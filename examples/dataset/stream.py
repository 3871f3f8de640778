"""Streams a data set from a server, kills the server in the middle, starts it again, and goes on.

    python examples/dataset/stream.py

Needs the extra `dataset`. Everything it writes lies in a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 50_000
SERVER = [sys.executable, "-m", "forgather_spool.dataset_server"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FORGATHER_HOME"] = str(folder / "home")
        os.environ["FORGATHER_CACHE"] = str(folder / "cache")
        write(folder / "stories.jsonl")
        sys.exit(0 if read(folder, *start(folder, 0)) else 1)


def write(path: Path) -> None:
    with path.open("w") as file:
        for number in range(ROWS):
            print(json.dumps({"number": number, "text": f"Once upon a time, {number} times. " * 20}), file=file)


def start(folder: Path, port: int) -> tuple[subprocess.Popen[bytes], int]:
    """A server of the stories, and its port once it answers."""
    log = folder / "server.log"
    words = ["--port", str(port), "--local", f"stories={folder}/stories.jsonl"]
    with log.open("wb") as sink:
        server = subprocess.Popen([*SERVER, *words], stderr=sink)
    while not (found := re.search(r"dataset server on \S+:(\d+),", log.read_text())):
        if server.poll() is not None:
            sys.exit(f"the server did not start: {log.read_text()}")
        time.sleep(0.02)
    return server, int(found[1])


def read(folder: Path, server: subprocess.Popen[bytes], port: int) -> bool:
    """Whether every example came once, in its place."""
    from forgather_spool.dataset import fast_load_iterable_dataset

    os.environ["FORGATHER_DATASET_SERVER"] = f"http://127.0.0.1:{port}"
    data = fast_load_iterable_dataset("local/stories").shuffle(seed=42)
    print(f"{len(data)} examples at {os.environ['FORGATHER_DATASET_SERVER']}, in the order {data.order.text}")
    seen = []
    try:
        for example in data:
            seen.append(example["number"])
            if len(seen) == 20_000:
                end(server)
                print(f"after {len(seen)} examples: the server is killed")
                server, _ = start(folder, port)
                print("and started again")
    finally:
        end(server)
    same = seen == data.order.rows(0, ROWS).tolist()
    print(f"{len(seen)} examples, {len(set(seen))} different ones, in the right order: {same}")
    return same


def end(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()


if __name__ == "__main__":
    main()
