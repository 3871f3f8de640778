"""The HTTP endpoint: the predecessor's routes over the mailbox, and who is kept out."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from forgather_spool import guard
from forgather_spool.endpoint import listening, server
from forgather_spool.endpoint.server import EndpointServer
from forgather_spool.errors import Busy, Missing
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.queue import Spool
from tests.loops import Training
from tests.waiting import wait_until

TOKEN = "t0ken" * 8
POST = f"POST /jobs/run/control HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
GOOD = {"Authorization": f"Bearer {TOKEN}"}
ROUTES = {
    "/jobs": "GET",
    "/jobs/run/status": "GET",
    "/jobs/run/control": "POST",
    "/jobs/run/control/000001-status": "GET",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND")
Answer = tuple[int, dict[str, Any], dict[str, str]]


@pytest.fixture
def mailbox(home: Path) -> Mailbox:
    mailbox = Mailbox(Spool(str(home)).create().paths, "run")
    mailbox.create()
    return mailbox


@pytest.fixture
def endpoint(mailbox: Mailbox) -> Iterator[EndpointServer]:
    """An endpoint without a trainer: its mailbox is ours."""
    made = EndpointServer(mailbox.paths, "run", TOKEN)
    yield made
    made.close()


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, GOOD if headers is None else headers)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else {}, {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def raw(port: int, data: bytes) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def status_of(answer: bytes) -> int:
    """Of the bytes `raw` got; 0 for none."""
    return int(answer.split()[1]) if answer else 0


def command(name: str, **more: Any) -> bytes:
    return json.dumps({"command": name, **more}).encode()


# -- with a trainer -----------------------------------------------------------------------------------------------


@pytest.fixture
def training(train: Callable[..., Training]) -> Training:
    return train(control={"enable_http": True})


def told(training: Training, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {training.token}"}
    status, document, _ = ask(port_of(training), method, path, body, headers)
    assert status == 200, document
    return document


def port_of(training: Training) -> int:
    port = json.loads(training.endpoint_file.read_text())["port"]
    assert isinstance(port, int)
    return port


def test_the_predecessors_client_gets_what_it_knows(training: Training) -> None:
    status = told(training, "GET", "/jobs/run/status")
    jobs = told(training, "GET", "/jobs")
    posted = told(training, "POST", "/jobs/run/control", command("save_checkpoint"))

    assert {"job_id", "status", "timestamp", "loss", "global_step", "epoch", "max_steps"} <= set(status)
    assert [(job["job_id"], job["pid"]) for job in jobs["jobs"]] == [("run", training.process.pid)]
    assert (posted["status"], posted["command"]) == ("acknowledged", "save_checkpoint")
    assert posted["message"] == "save_checkpoint queued for execution"
    assert training.answer(posted["command_id"])["outcome"] == "done"


@pytest.mark.parametrize("how", ["query", "body"])
def test_whoever_waits_gets_the_acknowledgement(training: Training, how: str) -> None:
    path = "/jobs/run/control?wait=30" if how == "query" else "/jobs/run/control"
    more = {"wait_s": 30} if how == "body" else {}

    posted = told(training, "POST", path, command("save_checkpoint", **more))

    step = posted["acknowledgement"]["step"]
    assert posted["acknowledgement"]["checkpoint"] == str(training.folder / f"checkpoint-{step}")
    assert told(training, "GET", f"/jobs/run/control/{posted['command_id']}")["outcome"] == "done"


def test_whoever_waits_for_a_stop_gets_its_answer_before_the_endpoint_goes(training: Training) -> None:
    posted = told(training, "POST", "/jobs/run/control?wait=30", command("save_and_stop"))

    assert posted["acknowledgement"]["outcome"] == "done"
    training.ended()


def test_a_command_of_the_users_own_takes_its_data(training: Training) -> None:
    posted = told(training, "POST", "/jobs/run/control?wait=30", command("greet", data={"who": "you"}))

    assert posted["acknowledgement"]["data"] == {"hello": "you"}


def test_two_trainers_at_once_have_different_ports(train: Callable[..., Training]) -> None:
    both = [train(job_id=name, wait=False, control={"enable_http": True}) for name in ("one", "two")]

    ports = {port_of(training.up()) for training in both}

    assert len(ports) == 2


def test_a_taken_port_is_one_warning_and_files_work(train: Callable[..., Training]) -> None:
    with listening.listen("127.0.0.1", None) as taken:
        training = train(control={"enable_http": True, "port": taken.getsockname()[1]})

    assert training.answer(training.mailbox.post("save_checkpoint", by="a test"))["outcome"] == "done"
    assert json.loads(training.endpoint_file.read_text())["port"] is None
    assert training.stderr.count("\n") == 1 and "is taken" in training.stderr


@pytest.mark.parametrize(("wanted", "lines"), [(True, 1), (None, 0)], ids=["asked for", "not asked for"])
def test_without_aiohttp_files_work(
    train: Callable[..., Training], tmp_path: Path, wanted: bool | None, lines: int
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['aiohttp'] = None\n")
    path = f"{tmp_path / 'site'}:{Path(__file__).parents[3]}"

    training = train(control={"enable_http": wanted}, environ={"PYTHONPATH": path})

    assert training.answer(training.mailbox.post("save_checkpoint", by="a test"))["outcome"] == "done"
    assert training.stderr.count("pip install 'forgather-spool[http]'") == lines == training.stderr.count("\n")


def test_neither_the_trainer_nor_its_files_tell_the_token(training: Training) -> None:
    """Only auth_token holds it, not the log, also after requests that no server can parse."""
    port, token = port_of(training), training.token
    raw(port, f"GET /jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\0\r\n\r\n".encode())
    raw(port, f"BLA BLA {token}\r\n\r\n".encode())
    raw(port, f"GET /jobs?t={token} HTTP/1.1\r\nHost: evil\r\nAuthorization: Bearer {token}\r\n\r\n".encode())

    told(training, "POST", "/jobs/run/control?wait=30", command("save_and_stop"))
    training.ended()

    home = Path(training.paths.home)
    texts = [path.read_text() for path in (*home.rglob("*.json"), *training.folder.glob("std*"))]
    assert texts and not any(token in text for text in texts)


# -- who is kept out ----------------------------------------------------------------------------------------------

OTHERS = {
    "no token": {},
    "a bad token": {"Authorization": "Bearer " + "x" * len(TOKEN)},
    "a prefix of the token": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "an empty token": {"Authorization": "Bearer "},
    "another scheme": {"Authorization": f"Basic {TOKEN}"},
    "a token that is no ASCII": {"Authorization": "Bearer t\xf6ken"},
}


@pytest.mark.parametrize("who", OTHERS)
def test_no_route_and_no_method_answers_without_the_token(endpoint: EndpointServer, mailbox: Mailbox, who: str) -> None:
    for path, method in itertools.product([*ROUTES, "/", "/nothing", "/jobs/other/status"], METHODS):
        status, document, headers = ask(endpoint.port, method, path, command("abort"), OTHERS[who])

        assert status == 401, (method, path)
        assert headers["www-authenticate"] == 'Bearer realm="forgather-trainer"'
        assert method == "HEAD" or list(document) == ["detail"]
    assert mailbox.pending() == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost", "http://localhost:1", "http://"]
)
def test_no_route_and_no_method_answers_a_foreign_page(endpoint: EndpointServer, mailbox: Mailbox, origin: str) -> None:
    for path, method in itertools.product(ROUTES, METHODS):
        status, _, headers = ask(endpoint.port, method, path, command("abort"), GOOD | {"Origin": origin})

        assert status == 403, (method, path)
        assert "access-control-allow-origin" not in headers
    assert mailbox.pending() == []


def test_a_page_of_the_endpoints_own_origin_is_answered(endpoint: EndpointServer) -> None:
    origin = f"http://127.0.0.1:{endpoint.port}"

    assert ask(endpoint.port, "GET", "/jobs", headers=GOOD | {"Origin": origin})[0] == 200


OURS = ["localhost", "LocalHost:8900", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:8900"]
FOREIGN = [
    "evil.example", "127.0.0.1.evil.example", "127.0.0.1:8900.evil.example", "localhost.", "localhost.evil", "0.0.0.0",
    "[::]", "127.1", "2130706433", "", ":8900", "127.0.0.1:", "[::1", "::1", "[::1]x", "localhost:x", "localhost@evil",
    "127.0.0.2",
]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_our_own_names_are_answered(endpoint: EndpointServer, host: str) -> None:
    assert ask(endpoint.port, "GET", "/jobs", headers=GOOD | {"Host": host})[0] == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_is_not_ours_is_turned_away_with_the_right_token_too(endpoint: EndpointServer, host: str) -> None:
    for path, method in itertools.product(ROUTES, METHODS):
        assert ask(endpoint.port, method, path, headers=GOOD | {"Host": host})[0] in (400, 403), (method, path)


@pytest.mark.parametrize(
    "hosts", ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n"]
)
def test_exactly_one_host_is_named(endpoint: EndpointServer, hosts: str) -> None:
    request = f"GET /jobs HTTP/1.1\r\n{hosts}Authorization: Bearer {TOKEN}\r\n\r\n"

    assert status_of(raw(endpoint.port, request.encode())) == 400


@pytest.mark.parametrize("line", [f"hello {TOKEN}", "GET /jobs HTTP/9.x", f"GET http://[::1/{TOKEN} HTTP/1.1"])
def test_what_is_no_request_is_answered_as_every_error_is(endpoint: EndpointServer, line: str) -> None:
    head, _, body = raw(endpoint.port, f"{line}\r\nHost: localhost\r\n\r\n".encode()).partition(b"\r\n\r\n")

    assert status_of(head) == 400 and b"Content-Type: application/json" in head
    assert list(json.loads(body)) == ["error"] and TOKEN.encode() not in body


def test_of_several_tokens_none_counts(endpoint: EndpointServer) -> None:
    twice = f"Authorization: Bearer {TOKEN}\r\n" * 2

    answer = raw(endpoint.port, f"GET /jobs HTTP/1.1\r\nHost: localhost\r\n{twice}\r\n".encode())

    assert status_of(answer) in (400, 401)


@pytest.mark.parametrize(
    ("bound", "header", "ours"),
    [
        ("127.0.0.1", "192.168.1.5", False),
        ("192.168.1.5", "192.168.1.5:8900", True),
        ("192.168.1.5", "192.168.1.6", False),
        ("0.0.0.0", "192.168.1.6", True),
        ("::", "[fe80::1]:8900", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_whose_host_it_is_depends_on_what_it_is_bound_to(bound: str, header: str, ours: bool) -> None:
    assert guard.is_our_host(header, bound) is ours


def test_a_method_nobody_knows_does_nothing(endpoint: EndpointServer, mailbox: Mailbox) -> None:
    body = command("abort")

    answer = raw(
        endpoint.port, POST.replace("POST", "BREW").encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )

    assert status_of(answer) in (400, 405)
    assert mailbox.pending() == []


# -- what is asked wrongly ----------------------------------------------------------------------------------------


def test_a_route_takes_its_own_method_only(endpoint: EndpointServer) -> None:
    for path, method in itertools.product(ROUTES, METHODS):
        if method != ROUTES[path]:
            status, _, headers = ask(endpoint.port, method, path)
            assert (status, headers["allow"]) == (405, ROUTES[path]), (method, path)


@pytest.mark.parametrize(
    "path",
    ["/", "/jobs/", "/jobs/other/status", "/jobs/run", "/jobs/run/auth_token", "/jobs/run/control/",
     "/jobs/run/status/", "/jobs/run/control/../../../jobs/run/status", "/jobs/run/control/..%2fendpoint",
     "/jobs/run/control/000001-abort",
     "/jobs/..%2f..%2fx/status", "/jobs/run%00/status", "/jobs/run/control/%2e%2e", "//jobs", "/jobs/run/control/%ff"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(endpoint: EndpointServer, path: str) -> None:
    assert ask(endpoint.port, "GET", path)[0] in (400, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"command": 7}', b'{"command": "dance"}', b'{"command": "../up"}', b'{"command": ""}',
     b'{"command": "abort", "data": []}', b'{"command": "abort", "wait_s": "x"}', b'{"command": "abort", "wait_s": -1}',
     b'{"command": "abort", "wait_s": "nan"}', b"\xff", b'{"a":' * 5000, b'{"command": "abort", "command": "status"}'],
)  # fmt: skip
def test_a_body_that_is_no_command_is_told_what_is(endpoint: EndpointServer, mailbox: Mailbox, body: bytes) -> None:
    status, document, _ = ask(endpoint.port, "POST", "/jobs/run/control", body)

    assert status == 400 and "graceful_stop" in document["valid_commands"]
    assert mailbox.pending() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_64_kib_is_refused(endpoint: EndpointServer, mailbox: Mailbox, chunked: bool) -> None:
    body = command("status", data={"x": "y" * 70_000})
    if chunked:
        sent = f"{POST}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        assert status_of(raw(endpoint.port, sent)) == 413
    else:
        assert ask(endpoint.port, "POST", "/jobs/run/control", body)[0] == 413
    assert mailbox.pending() == []


def test_headers_without_end_are_refused(endpoint: EndpointServer) -> None:
    request = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"x" * 100_000 + b"\r\n\r\n"

    assert status_of(raw(endpoint.port, request)) == 400


def test_a_command_nobody_answers_is_still_pending(endpoint: EndpointServer) -> None:
    _, posted, _ = ask(endpoint.port, "POST", "/jobs/run/control?wait=0.2", command("status"))

    assert posted["acknowledgement"] is None
    assert ask(endpoint.port, "GET", f"/jobs/run/control/{posted['command_id']}")[0] == 202


def test_a_disk_that_is_full_is_said_to_whoever_asks(
    endpoint: EndpointServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forgather_spool.errors import StorageFailed

    def full(*args: object, **how: object) -> str:
        raise StorageFailed("cannot write: No space left on device")

    monkeypatch.setattr(Mailbox, "post", full)

    status, document, _ = ask(endpoint.port, "POST", "/jobs/run/control", command("status"))

    assert status == 503 and "No space left" in document["error"]


# -- clients that dawdle ------------------------------------------------------------------------------------------


def stopped_in_time(endpoint: EndpointServer) -> bool:
    closing = threading.Thread(target=endpoint.close)
    closing.start()
    closing.join(timeout=10)
    return not closing.is_alive() and not endpoint._thread.is_alive()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /jobs HT",
        f"{POST}Content-Length: 9\r\n\r\n{{".encode(),
    ],
    ids=["says nothing", "half a line", "half a body"],
)
def test_a_client_that_says_no_more_holds_nothing_up(endpoint: EndpointServer, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port)) as dawdler:
        dawdler.sendall(said)

        assert ask(endpoint.port, "GET", "/jobs")[0] == 200
        assert stopped_in_time(endpoint)


@pytest.mark.parametrize("said", [b"", b"GET /jobs HT"], ids=["says nothing", "half a line"])
def test_a_client_that_says_no_more_is_dropped(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.2)
    endpoint = EndpointServer(mailbox.paths, "run", TOKEN)

    assert raw(endpoint.port, said) == b""

    endpoint.close()


def test_half_a_body_is_dropped(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_S", 0.2)
    endpoint = EndpointServer(mailbox.paths, "run", TOKEN)

    assert status_of(raw(endpoint.port, f"{POST}Content-Length: 90\r\n\r\n{{".encode())) == 408

    endpoint.close()


def test_a_client_that_waits_for_an_hour_is_let_go_when_the_run_ends(
    endpoint: EndpointServer, mailbox: Mailbox
) -> None:
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(ask(endpoint.port, "POST", "/jobs/run/control?wait=3600", command("status")))
    )
    waiting.start()
    wait_until(mailbox.pending, what="its command")

    assert stopped_in_time(endpoint)

    waiting.join(timeout=10)
    assert answers[0][1]["acknowledgement"] is None


# -- the port -----------------------------------------------------------------------------------------------------


def test_ports_begin_at_8900_and_none_is_had_twice() -> None:
    sockets = [listening.listen("127.0.0.1", None) for _ in range(5)]

    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()

    assert len(set(ports)) == 5 and all(8900 <= port <= 8999 for port in ports)


def test_two_who_want_one_port_are_told_apart() -> None:
    with listening.listen("127.0.0.1", None) as first, pytest.raises(Busy, match="is taken"):
        listening.listen("127.0.0.1", first.getsockname()[1])


def test_a_port_just_left_may_be_had_again_at_once(mailbox: Mailbox) -> None:
    first = EndpointServer(mailbox.paths, "run", TOKEN)
    ask(first.port, "GET", "/jobs")
    first.close()

    again = EndpointServer(mailbox.paths, "run", TOKEN, port=first.port)

    assert ask(again.port, "GET", "/jobs")[0] == 200
    again.close()


@pytest.mark.parametrize("host", ["", "192.0.2.7", "no.such.host.invalid"])
def test_an_address_that_cannot_be_had_is_an_error_and_never_another_one(host: str) -> None:
    with pytest.raises(Missing):
        listening.listen(host, None)


def test_unless_told_it_is_reached_from_this_machine_only(endpoint: EndpointServer) -> None:
    assert guard.is_loopback(endpoint.host)
