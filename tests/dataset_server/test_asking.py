"""`forgather dataset-server status` and its like, where what answers is no dataset server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click.testing
import pytest

from forgather_spool.cli.dataset import server_asking, server_chosen
from forgather_spool.errors import Missing
from forgather_spool.tls.store import default_store
from tests.dataset_server.serving import Served


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


@pytest.mark.parametrize("tls", [False, True])
def test_after_tls_init_this_hosts_server_is_asked_as_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[..., click.testing.Result], tls: bool
) -> None:
    """One that runs since before, or with --no-tls, answered the question for TLS with noise."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    default_store().init(["localhost", "127.0.0.1"], authority_name="of a test", force=False)
    with Served(tmp_path, tls=tls) as server:
        monkeypatch.setattr(server_chosen, "DEFAULT_PORT", server.listening.port)
        result = asked("status")

    assert result.stdout.startswith(f"server: {'https' if tls else 'http'}://127.0.0.1:"), result.exception
    assert "clients: 1 connected" in result.stdout, "with the token"


def test_of_several_servers_each_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[..., click.testing.Result]
) -> None:
    """The first one may be down: that is when one asks."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    with Served(tmp_path) as one, Served(tmp_path) as other:
        servers = ["http://127.0.0.1:9", one.listening.url, other.listening.url]
        monkeypatch.setenv("FORGATHER_DATASET_SERVER", ",".join(servers))
        text, document = asked("status"), asked("status", "--json")
        monkeypatch.setenv("FORGATHER_DATASET_SERVER", "auto")
        found = asked("list_", "--json")

    assert [line.partition(" ")[2] for line in text.stdout.splitlines() if line.startswith("server:")] == servers
    assert text.stdout.count("status: ok") == 2 and "error: no dataset server answers" in text.stdout
    assert isinstance(text.exception, Missing) and "1 of 3" in str(text.exception)
    told = json.loads(document.stdout)["servers"]
    assert [(each["server"], "error" in each) for each in told] == list(zip(servers, (True, False, False), strict=True))
    assert {each["server"] for each in json.loads(found.stdout)["servers"]} >= set(servers[1:])
