"""The body of an answer: how its bytes come to the kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

pytest.importorskip("aiohttp")

from forgather_spool.dataset_server import body


@contextmanager
def connected(*, server: str, client: str) -> Iterator[socket.socket]:
    """The server's end of a connection between these addresses."""
    with (
        closing(socket.create_server((server, 0))) as listening,
        closing(socket.create_connection(listening.getsockname(), source_address=(client, 0))),
        closing(listening.accept()[0]) as found,
    ):
        yield found


def congestion_control(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def test_what_stays_on_this_machine_is_not_paced() -> None:
    with connected(server="127.0.0.1", client="127.0.0.1") as connection:
        body._leave_unpaced(connection)

        assert congestion_control(connection) == body.UNPACED


def test_what_goes_elsewhere_is_sent_as_the_system_is_set_up_to() -> None:
    with connected(server="127.0.0.2", client="127.0.0.1") as connection:
        before = congestion_control(connection)
        if before == body.UNPACED:
            pytest.skip("this system is set up to the same")

        body._leave_unpaced(connection)

        assert congestion_control(connection) == before


def test_a_client_that_has_left_already_is_no_error_here() -> None:
    with connected(server="127.0.0.1", client="127.0.0.1") as connection:
        connection.close()

        body._leave_unpaced(connection)

        with pytest.raises(OSError, match="Bad file descriptor"):
            connection.getpeername()
