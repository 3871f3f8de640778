"""Who gets in: every route and method, with and without what it takes."""

from __future__ import annotations

import itertools
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

trustme = pytest.importorskip("trustme")

from forgather_spool import guard
from forgather_spool.cli.dataset.server_asking import get
from forgather_spool.dataset.address import parse_address
from forgather_spool.dataset.remote.server import Server
from forgather_spool.dataset_server.routes import ROUTES
from forgather_spool.errors import Busy, ForgatherError, UsageError
from forgather_spool.tls.contexts import client_context
from forgather_spool.tls.store import default_store
from tests.dataset_server.serving import Served

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PATHS = (
    *dict.fromkeys(route.path for route in ROUTES),
    "/",
    "/v1",
    "/v2/health",
    "/v1/health/",
    "//v1/datasets",
    "/v1/load/../local",
)
OPEN = {("GET", route.path) for route in ROUTES if route.open}
OPEN_PATHS = {path for _, path in OPEN}


def paths(handle: str) -> list[str]:
    return [path.replace("{handle}", handle) for path in PATHS]


@pytest.fixture
def other(tmp_path: Path, stories: Path) -> Iterator[Served]:
    """A second server on another port, with a token of its own."""
    with Served(tmp_path / "home", local={"stories": str(stories)}) as server:
        yield server


def test_without_the_token_of_this_port_nothing_is_told(served: Served, other: Served) -> None:
    """Every route and method, known or not, with no token, a wrong one and another server's."""
    handle = served.load("local/stories")
    assert other.token != served.token
    wrong = [{}, {"Authorization": f"Bearer {other.token}"}, {"Authorization": f"Basic {served.token}"}]
    wrong += [{"Authorization": f"Bearer {served.token}x"}, {"Authorization": f"bearer{served.token}"}]
    wrong += [{"Authorization": "Bearer "}, {"Authorization": f"Bearer {(served.token or '')[:-1]}"}]

    for method, path, headers in itertools.product(METHODS, paths(handle), wrong):
        answer = served.ask(method, path, headers={"Authorization": "", **headers})

        if path in OPEN_PATHS:
            assert answer.status == (200 if method == "GET" else 405), (method, path)
        else:
            assert answer.status in (401, 403), (method, path, headers)
            assert answer.headers.get("WWW-Authenticate") == 'Bearer realm="forgather-dataset"' or answer.status == 403
            assert served.token is not None and served.token.encode() not in answer.body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1:port"}, 403),
    ],
)
def test_no_page_of_a_browser_gets_in_even_with_the_token(served: Served, headers: dict[str, str], status: int) -> None:
    """On open routes too: DNS rebinding asks with our address under a foreign name."""
    handle = served.load("local/stories")

    for method, path in itertools.product(METHODS, paths(handle)):
        assert served.ask(method, path, headers=headers).status == status, (method, path)


@pytest.mark.parametrize(
    ("hosts", "origins", "status"),
    [
        (["localhost", "localhost"], [], 400),
        (["localhost", "evil.example"], [], 400),
        ([], [], 400),
        (["localhost:1"], ["http://localhost:1", "https://evil.example"], 403),
        (["localhost:1"], ["https://evil.example", "http://localhost:1"], 403),
    ],
)
def test_of_two_headers_of_a_name_none_is_believed(hosts: list[str], origins: list[str], status: int) -> None:
    """Whatever an HTTP library makes of them before they come here."""
    with pytest.raises(guard.Refused) as error:
        guard.check_host(hosts, origins, "127.0.0.1")

    assert error.value.status == status


def test_with_the_token_a_route_answers_its_methods_and_says_which(served: Served) -> None:
    handle = served.load("local/stories")
    for route in ROUTES:
        path = route.path.replace("{handle}", handle)
        for method in METHODS:
            known = any(one.method == method and one.path == route.path for one in ROUTES)
            answer = served.ask(method, path)
            assert (answer.status == 405) is not known, (method, path)
            if not known:
                assert route.method in answer.headers["Allow"]
        handle = served.load("local/stories")  # the DELETE among them took it away


def raw(server: Served, text: bytes) -> bytes:
    """What a server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(text)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    "text",
    [
        b"GET /v1/datasets HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /v1/datasets HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /v1/datasets HTTP/1.1\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET http://evil.example/v1/datasets HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer %b\r\n\r\n",
        b"GET /v1/datasets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nAuthorization: Bearer x\r\n\r\n",
        b"POST /v1/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/load HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /v1/datasets HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 1000,
        b"GET http://[::1/?token=%b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%b HTTP/9.x\r\nHost: localhost\r\n\r\n",
        b"POST /v1/load HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz%b\r\n",
    ],
)
def test_what_is_no_clear_request_is_refused(served: Served, text: bytes) -> None:
    """Two Hosts, no Host, two lengths, no HTTP at all; each answer is JSON as all are, and none repeats the token."""
    token = (served.token or "").encode()

    answer = raw(served, text.replace(b"%b", token))

    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 401", b"HTTP/1.1 403")
    assert token not in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head and list(json.loads(body)) == ["error"]


def test_without_auth_the_host_still_has_to_be_ours(tmp_path: Path, stories: Path) -> None:
    """`--no-auth` opens it to who reaches the port, not to every web page they visit."""
    with Served(tmp_path / "home", local={"stories": str(stories)}, no_auth=True) as server:
        assert server.token is None
        assert server.ask("GET", "/v1/auth/status").json == {"auth_required": False}
        assert server.ask("GET", "/v1/datasets").status == 200
        assert server.ask("GET", "/v1/datasets", headers={"Host": "evil.example"}).status == 403
        assert server.ask("GET", "/v1/datasets", headers={"Origin": "http://evil.example"}).status == 403


def test_a_further_name_is_taken_when_it_is_allowed(tmp_path: Path) -> None:
    with Served(tmp_path / "home", allow_host=["Data.Example"]) as server:
        assert server.ask("GET", "/v1/datasets", headers={"Host": "data.example:9000"}).status == 200
        assert server.ask("GET", "/v1/datasets", headers={"Host": "other.example"}).status == 403


def test_no_token_is_logged_whoever_sends_it_wherever(
    served: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In its header, in a URL by mistake, in a request that cannot be parsed."""
    caplog.set_level(logging.DEBUG)
    token = served.token or ""
    handle = served.load("local/stories")

    served.get(f"/v1/datasets/{handle}/iter?limit=3")
    served.get(f"/v1/datasets/{handle}/iter?token={token}")
    served.ask("GET", f"/v1/datasets?token={token}", headers={"Authorization": ""})
    served.ask("POST", "/v1/load", {"path": token})
    raw(served, b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token.encode() + b"\r\nbroken\r\n\r\n")

    assert token not in caplog.text
    assert token not in "".join(capfd.readouterr())


def test_others_are_not_served_in_the_clear(tmp_path: Path) -> None:
    """Without TLS a server that others can reach does not start, unless told so."""
    with pytest.raises(UsageError, match="no TLS"):
        Served(tmp_path / "home", host="0.0.0.0")

    with Served(tmp_path / "home", host="0.0.0.0", insecure=True) as server:
        assert server.get("/v1/datasets").status == 200


def test_a_port_is_taken_by_one_server_also_when_it_has_several_processes(tmp_path: Path) -> None:
    """Who shares a port by accident answers half of another server's requests."""
    with Served(tmp_path / "home") as server:
        for workers in (1, 2):
            with pytest.raises(Busy):
                Served(tmp_path / "home", port=server.port, workers=workers)


def test_tls_is_spoken_once_init_was_run_and_clients_verify_it(tmp_path: Path, stories: Path) -> None:
    default_store().init(["127.0.0.1", "localhost"], authority_name="lab", force=False)

    with Served(tmp_path / "home", host="0.0.0.0", local={"stories": str(stories)}) as server:
        connection = server.connect(client_context())
        connection.request("GET", "/v1/datasets", headers=server.auth)
        assert connection.getresponse().status == 200
        connection.close()

        stranger = ssl.create_default_context()
        trustme.CA().configure_trust(stranger)
        with pytest.raises(ssl.SSLCertVerificationError):
            server.connect(stranger).request("GET", "/v1/health")


def test_whoever_meets_tls_the_wrong_way_is_told_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each said "forgather dataset-server status" or "import-ca", which do not help."""

    def hint(url: str) -> str:
        with pytest.raises(ForgatherError) as said:
            Server(parse_address(url, "token")).load({"path": "local/stories"})
        with pytest.raises(ForgatherError) as shown:
            get(parse_address(url, "token"), "/v1/health")
        assert shown.value.hint == said.value.hint
        return said.value.hint

    with Served(tmp_path / "home") as server:
        assert f"http://127.0.0.1:{server.port}" in hint(f"https://127.0.0.1:{server.port}")
    default_store().init(["127.0.0.1"], authority_name="lab", force=False)
    with Served(tmp_path / "home") as server:
        assert f"https://127.0.0.1:{server.port}" in hint(f"http://127.0.0.1:{server.port}")
        assert "--add-hostname" in hint(f"https://localhost:{server.port}")
        monkeypatch.setenv("FORGATHER_TLS_DIR", str(tmp_path / "elsewhere"))
        assert "import-ca" in hint(f"https://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    "url", ["http://a b:1", "http://a\x7fb", "http://127.0.0.1:0", "http://", "127.0.0.1:8766", "http://a..b",
            f"http://{'x' * 64}.example", "http://a/ä"]
)  # fmt: skip
def test_what_is_no_url_is_said_before_anything_is_asked(url: str) -> None:
    with pytest.raises(UsageError, match="no URL of a dataset server"):
        parse_address(url)


@pytest.mark.parametrize("place", ["a..b:1", "a b:1", "127.0.0.1:0"])
def test_nor_does_a_bundle_name_what_is_no_host(place: str) -> None:
    with pytest.raises(UsageError, match="bundle names no host"):
        parse_address(f"forgather-dataset://{place}/?token=abc")


def test_streams_over_tls_are_whole(tmp_path: Path, stories: Path) -> None:
    default_store().init(["127.0.0.1"], authority_name="lab", force=False)
    with Served(tmp_path / "home", local={"stories": str(stories)}) as server:
        assert server.listening.url.startswith("https:")

        assert server.arrow(server.load("local/stories"), "?seed=1").num_rows == 1000
