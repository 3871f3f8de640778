"""Connections that are kept for the next request: when they are of use, and what it costs when they are not."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from typing import Any

import pytest

from forgather_spool.dataset.address import parse_address
from forgather_spool.dataset.remote.server import NoAnswer, Server, Stream


def kept(server: Server, port: int) -> http.client.HTTPConnection:
    """An open connection to `port`, given back by who used it before."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    answer = http.client.HTTPResponse(socket.socket())
    answer.close()
    server.give_back(Stream(answer, connection))
    return connection


def test_of_a_host_that_has_gone_silent_one_connection_is_waited_for() -> None:
    """Not each of those kept in turn, a minute each: another server may have the rows."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        server = Server(parse_address(f"http://127.0.0.1:{port}", "token"))
        connections = [kept(server, port) for _ in range(3)]
        accepted = [silent.accept()[0] for _ in connections]

        with pytest.raises(NoAnswer, match="no answer in time"):
            server.load({"path": "local/stories"}, 0.05)

        asked = []
        for one in accepted:
            one.setblocking(False)
            try:
                asked.append(one.recv(4))
            except BlockingIOError:
                pass
            one.close()
        assert asked == [b"POST"]
        for connection in connections:
            connection.close()


def test_of_two_threads_that_ask_for_the_last_kept_connection_one_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other opens its own: between the look and the taking another thread may come."""

    class TakenMeanwhile(list[Any]):
        def __len__(self) -> int:
            return 1

    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        server = Server(parse_address(f"http://127.0.0.1:{silent.getsockname()[1]}", "token"))
        monkeypatch.setattr(server, "_idle", TakenMeanwhile())

        with pytest.raises(NoAnswer):
            server.load({"path": "local/stories"}, 0.05)
