"""`forgather dataset-server status` and its like, where what answers is no dataset server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click.testing
import pytest

from forgather_spool.cli.dataset import server_asking
from forgather_spool.errors import Missing


@contextmanager
def answering(document: object) -> Iterator[str]:
    """The URL of a service that says this to whatever it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def asked() -> Callable[..., click.testing.Result]:
    return lambda *words: click.testing.CliRunner().invoke(getattr(server_asking, words[0]), words[1:])


@pytest.mark.parametrize("command", ["status", "list_", "cache", "local"])
@pytest.mark.parametrize("document", [{}, {"status": "ok", "policy": 1, "handles": [{}], "datasets": None, "local": 3}])
def test_what_another_service_says_is_no_bug_of_ours(
    asked: Callable[..., click.testing.Result], command: str, document: object
) -> None:
    with answering(document) as url:
        result = asked(command, "--server", url, "--token", "abc")

    assert isinstance(result.exception, Missing) and "no answer of a dataset server" in str(result.exception)


def test_it_is_shown_as_it_came_to_who_asks_for_json(asked: Callable[..., click.testing.Result]) -> None:
    with answering({"handles": 7}) as url:
        result = asked("list_", "--server", url, "--token", "abc", "--json")

    assert json.loads(result.stdout) == {"handles": 7}
