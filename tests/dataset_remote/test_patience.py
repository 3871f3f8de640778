"""When a client asks again and when it gives up, by a clock that goes only while it waits."""

from __future__ import annotations

import http.server
import threading

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from forgather_spool.dataset.address import parse_address
from forgather_spool.dataset.errors import ServerUnreachable
from forgather_spool.dataset.remote.patience import LONGEST_S, Patience, delay_s
from forgather_spool.dataset.remote.server import Server


class Clock:
    """Seconds, and the waits they are made of."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def patience(self, limit_s: float | None) -> Patience:
        return Patience(limit_s, wait=self.wait, clock=lambda: self.now)


DOWN = ServerUnreachable("nobody there")


@pytest.mark.parametrize("asked_s", [0.0, 7.0, 3600.0])
def test_the_last_wait_ends_with_the_limit(asked_s: float) -> None:
    """Not a wait later: with a server that asks for an hour, that would be an hour."""
    clock = Clock()
    patience = clock.patience(limit_s=20.0)

    with pytest.raises(ServerUnreachable, match="given up after 20 s"):
        for _ in range(100):
            patience.failed(ServerUnreachable("nobody there"), asked_s)

    assert sum(clock.waits) == pytest.approx(20.0)


def test_waits_grow_to_half_a_minute_and_no_longer() -> None:
    """A client that lost its server over night goes on half a minute after it is back."""
    waits = [delay_s(failures, chance=lambda: 1.0) for failures in range(1, 3000)]

    assert waits[:4] == [0.0, 0.1, 0.2, 0.4]
    assert waits == sorted(waits)
    assert waits[-1] == max(waits) == LONGEST_S == 30.0
    assert delay_s(3000, chance=lambda: 0.0) == 15.0


def test_without_a_limit_it_is_asked_for_ever() -> None:
    clock = Clock()
    patience = clock.patience(limit_s=None)

    for _ in range(3000):
        patience.failed(DOWN)

    assert len(clock.waits) == 2999 and max(clock.waits) <= LONGEST_S


def test_nobody_comes_back_before_the_server_asked_for_it() -> None:
    """Nor after the first failure, where one that asks for nothing is asked again at once."""
    clock = Clock()
    patience = clock.patience(limit_s=None)

    for _ in range(3):
        patience.failed(DOWN, 7.0)
    for _ in range(2):
        patience.failed(DOWN, 45.0)

    assert clock.waits == [7.0, 7.0, 7.0, 45.0, 45.0]


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), ("999999", 0.0)])
def test_what_a_busy_server_asks_for_is_read_from_its_answer(said: str, seconds: float) -> None:
    """What is no number of seconds, or a day of them and more, is not believed."""

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.send_header("Retry-After", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as listener:
        thread = threading.Thread(target=listener.handle_request)
        thread.start()
        with pytest.raises(ServerUnreachable) as error:
            Server(parse_address(f"http://127.0.0.1:{listener.server_port}", "token")).load({"path": "local/x"})
        thread.join()

    assert error.value.retry_after_s == seconds
