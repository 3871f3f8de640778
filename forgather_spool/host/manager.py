"""A connection to this user's systemd: messages out, messages in, nothing remembered.

The manager's private socket comes first: it is what `systemctl` uses, needs no
bus daemon, and goes away together with the manager, so a restart is noticed at
once. Without it the session bus serves. jeepney packs and unpacks; the socket is
read without blocking, so that one poll loop can wait for everything.

Knows no scopes; `host/systemd.py` does.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator, Mapping
from typing import Any

from forgather_spool.errors import Missing

CALL_TIMEOUT_S = 5.0  # systemd answers in about a millisecond; after this it will not
MANAGER = "org.freedesktop.systemd1"
_HINT = "loginctl enable-linger, then log in again; or export FORGATHER_HOST_KIND=process to run without systemd"
_SIGNAL = 4  # a message's second byte; "Message Types" in the D-Bus specification
_MATCH = f"type='signal',sender='{MANAGER}',interface='{MANAGER}.Manager',member='JobRemoved'"


class ConnectionLost(Exception):
    """The manager hung up or fell silent; what was asked of it has no answer."""


class ManagerConnection:
    """One authenticated connection. Any method but `close` may raise ConnectionLost.

    Raises:
        Missing: no user manager can be reached from here.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._buffer = bytearray()
        self._serial = 0
        self._sock, is_bus = _connect(environ)
        try:
            self._authenticate()
            if is_bus:
                self._subscribe()
        except (ConnectionLost, OSError, ValueError) as error:
            self.close()
            raise unreachable(str(error)) from None

    def fileno(self) -> int:
        return self._sock.fileno()

    def call(self, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> int:
        """Send a call of a Manager method; the serial number its reply will carry."""
        return self._send(_manager_address(f"{MANAGER}.Manager"), method, signature, body)

    def property(self, name: str) -> Any:
        """A property of the Manager. Blocks: only for a connection with nothing under way."""
        address = _manager_address("org.freedesktop.DBus.Properties")
        return self._request(address, "Get", "ss", (f"{MANAGER}.Manager", name))[0][1]

    def receive(self) -> Iterator[Any]:
        """The jeepney messages that have come: replies, errors and JobRemoved signals. Does not block."""
        hung_up = self._fill()
        yield from self._complete()
        if hung_up:
            raise ConnectionLost("the user manager hung up")

    def close(self) -> None:
        self._sock.close()

    def _send(self, address: Any, method: str, signature: str, body: tuple[Any, ...]) -> int:
        from jeepney import new_method_call

        self._serial += 1
        data = new_method_call(address, method, signature or None, body).serialise(self._serial)
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ConnectionLost(f"the user manager hung up: {error.strerror or error}") from None
        return self._serial

    def _request(self, address: Any, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        from jeepney import HeaderFields, MessageType

        serial = self._send(address, method, signature, body)
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while self._wait_readable(deadline):
            for message in self.receive():
                if message.header.fields.get(HeaderFields.reply_serial) == serial:
                    if message.header.message_type is MessageType.error:
                        raise ConnectionLost(f"{method}: {error_text(message)}")
                    return tuple(message.body)
        raise ConnectionLost(f"no answer to {method} for {CALL_TIMEOUT_S:g} s")

    def _fill(self) -> bool:
        """Take in what has arrived; whether the other end has closed."""
        while True:
            try:
                data = self._sock.recv(65536, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                return True
            if not data:
                return True
            self._buffer += data

    def _complete(self) -> Iterator[Any]:
        from jeepney.low_level import Message, calc_msg_size

        while len(self._buffer) >= 16:
            size = calc_msg_size(bytes(self._buffer[:16]))
            if len(self._buffer) < size:
                return
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            # The private socket tells of every property of every unit. Unpacking
            # one of those costs more than starting a scope.
            if data[1] != _SIGNAL or b"JobRemoved\0" in data:
                yield Message.from_buffer(data)

    def _authenticate(self) -> None:
        from jeepney.auth import BEGIN, Authenticator

        authenticator = Authenticator()
        deadline = time.monotonic() + CALL_TIMEOUT_S
        for data in authenticator:
            self._sock.sendall(data)
            if not self._wait_readable(deadline):
                raise ConnectionLost(f"no answer for {CALL_TIMEOUT_S:g} s")
            authenticator.feed(self._sock.recv(4096))
        self._sock.sendall(BEGIN)
        self._let_it_read(deadline)

    def _let_it_read(self, deadline: float) -> None:
        """sd-bus sits on a first call that it read together with BEGIN, until something else comes."""
        while time.monotonic() < deadline:
            unread = struct.unpack("i", fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0" * 4))[0]
            if unread == 0:
                return
            time.sleep(0.0001)

    def _subscribe(self) -> None:
        from jeepney.bus_messages import message_bus

        self._request(message_bus, "Hello")
        self._request(message_bus, "AddMatch", "s", (_MATCH,))
        self._request(_manager_address(f"{MANAGER}.Manager"), "Subscribe")

    def _wait_readable(self, deadline: float) -> bool:
        wait_s = max(deadline - time.monotonic(), 0)
        return bool(select.select([self._sock], [], [], wait_s)[0])


def unreachable(why: str) -> Missing:
    """The one error for "no user manager", with what to do about it."""
    return Missing(f"no systemd user manager: {why}", hint=_HINT)


def error_text(message: Any) -> str:
    """What an error reply says, in one line."""
    from jeepney import HeaderFields

    name = str(message.header.fields.get(HeaderFields.error_name, "error"))
    return " ".join(str(message.body[0]).split()) if message.body else name


def _manager_address(interface: str) -> Any:
    from jeepney import DBusAddress

    return DBusAddress("/org/freedesktop/systemd1", bus_name=MANAGER, interface=interface)


def _connect(environ: Mapping[str, str]) -> tuple[socket.socket, bool]:
    """A connected socket, and whether a bus daemon sits between."""
    runtime_dir = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    bus = environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime_dir}/bus"
    bus_path = bus.partition("unix:path=")[2].partition(",")[0].partition(";")[0]
    problem = f"{runtime_dir} has no sockets of one"
    for path, is_bus in ((f"{runtime_dir}/systemd/private", False), (bus_path, True)):
        if path and os.path.exists(path):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # The kernel's own timeouts: after settimeout() Python would wait on MSG_DONTWAIT as well.
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(CALL_TIMEOUT_S), 0))
            try:
                sock.connect(path)
                return sock, is_bus
            except OSError as error:
                sock.close()
                problem = f"{path}: {error.strerror or error}"
    raise unreachable(problem)
