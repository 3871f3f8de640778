"""Data sets as JSON lines, read with the predecessor's client (httpx and json), which is what they are for.

That client sets the pace: `json.loads` alone takes longer for a row than the
server does. So beside FastAPI, the predecessor's server, stands a bare socket that sends
the very same bytes: more than its rate there is not to be had. What the server
itself could do is `dataset_server`'s, by its processor time.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from typing import Any

from benchmarks.dataset_programs import Reader, peer, peers_python
from benchmarks.lab import Lab
from benchmarks.measure import in_turns
from benchmarks.row import Row, at_least, from_samples, skipped

GROUP = "data sets, remote"
READ = "all read by httpx and json"


def beside_fastapi(lab: Lab, files: dict[str, list[str]], url: str) -> list[Row]:
    """`files` by the name that the server at `url` has them under."""
    python = peers_python(lab)
    if python is None:
        return [skipped(GROUP, "rows as JSON lines", "fastapi and httpx cannot be installed here")]
    rows = []
    with ExitStack() as stack:
        reader = stack.enter_context(Reader(python, "httpx"))
        for name, what, times in (("text", "texts", 10), ("tokens", "token rows", 1.5)):
            ours = f"{url}/v1/datasets/{handle(url, name)}/iter"
            fastapi = stack.enter_context(peer("fastapi", files[name], python))
            replay = stack.enter_context(peer("replay", [_stored(lab, name, ours)]))
            urls = {
                "ours": ours,
                "fastapi": f"http://127.0.0.1:{fastapi.port}/iter",
                "replay": f"http://127.0.0.1:{replay.port}",
            }
            actions = {key: (lambda place=place: reader.rate(place)) for key, place in urls.items()}
            taken = in_turns(actions, lab.rounds(10))
            shared: dict[str, Any] = {"unit": "rows/s", "note": READ}
            rows += [
                from_samples(
                    GROUP, f"{what} as JSON lines", taken["ours"], peer="FastAPI", against=taken["fastapi"],
                    bar=at_least(times, of="ratio"), **shared,
                ),
                from_samples(
                    GROUP, f"{what} as JSON lines, beside a bare socket", taken["ours"], peer="the same bytes",
                    against=taken["replay"], bar=at_least(0.8, of="ratio"), **shared,
                ),
            ]  # fmt: skip
    return rows


def _stored(lab: Lab, name: str, url: str) -> str:
    """A file with the lines of `url`."""
    path = lab.work / f"{name}.ndjson"
    with urllib.request.urlopen(url) as answer:
        path.write_bytes(answer.read())
    return str(path)


def handle(url: str, name: str) -> str:
    """Of the data set that the server at `url` has as local/`name`."""
    request = urllib.request.Request(f"{url}/v1/load", data=json.dumps({"path": f"local/{name}"}).encode())
    with urllib.request.urlopen(request) as answer:
        return str(json.loads(answer.read())["handle"])
