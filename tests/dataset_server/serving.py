"""A dataset server in this process: real sockets and files, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgather_spool.dataset.frames import MEDIA_TYPE, FrameReader
from forgather_spool.dataset_server import loading
from forgather_spool.dataset_server.handles import Load
from forgather_spool.dataset_server.serve import prepare, serve_on
from forgather_spool.dataset_server.settings import merged
from forgather_spool.dataset_server.stats import Stats
from forgather_spool.spool.paths import Paths
from forgather_spool.tls.contexts import client_context

ANSWER_TIMEOUT_S = 30.0


@dataclass
class Answer:
    """What came back, the body whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Served:
    """A server with these settings, its home in `home`; ends with the ``with``."""

    def __init__(self, home: Path, load: Load = loading.load, **given: object) -> None:
        self.paths = Paths(str(home))
        self.listening = prepare(merged({"port": 0, **given}, {}), self.paths)
        self.token = self.listening.token.text
        self.stats = Stats(1)
        self._load = load
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="dataset-server")

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=ANSWER_TIMEOUT_S)
        self.listening.sockets[0].close()

    def _run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mine = self.listening.sockets[0]
            serving = serve_on(self.listening, mine, self.stats, folder, self._load, self._stop)
            self._loop.run_until_complete(serving)
        self._loop.close()

    @property
    def port(self) -> int:
        return self.listening.port

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def connect(self, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        if context is None and self.listening.url.startswith("https:"):
            context = client_context()
        if context is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request with the token, unless `headers` says otherwise. A body that is no bytes is sent as JSON."""
        connection = self.connect()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {**self.auth, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def load(self, path: str, **rest: object) -> str:
        """The handle of a data set."""
        answer = self.ask("POST", "/v1/load", {"path": path, **rest})
        assert answer.status == 200, answer.body
        return str(answer.json["handle"])

    def arrow(self, handle: str, query: str = "") -> Any:
        """A whole Arrow stream as a table, its frames checked."""
        import pyarrow as pa

        connection = self.connect()
        try:
            connection.request("GET", f"/v1/datasets/{handle}/iter{query}", headers={**self.auth, "Accept": MEDIA_TYPE})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            reader = FrameReader(answer)
            return pa.Table.from_batches([batch for _, batch in reader], reader.schema)
        finally:
            connection.close()
