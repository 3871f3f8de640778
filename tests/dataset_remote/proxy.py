"""A TCP proxy that does to a server's answers what networks do: cuts, resets, flips bits, loses bytes, falls silent."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

BLOCK = 16 << 10
RESET = struct.pack("ii", 1, 0)
KINDS = ("cut", "reset", "flip", "lose", "silent")


class Proxy:
    """To ``127.0.0.1:target``, on `port`. Each connection gets one fault, `within` so many bytes; `faults` in all."""

    def __init__(self, target: int, seed: int, faults: int, within: range, kinds: Sequence[str] = KINDS) -> None:
        self.done: list[str] = []
        self._target = target
        self._chance = random.Random(seed)
        self._left = faults
        self._within = within
        self._kinds = list(kinds)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="proxy")]

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            for one in [self._listening, *self._open]:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open |= {client, server}
            for run, from_, to in ((self._up, client, server), (self._down, server, client)):
                thread = threading.Thread(target=run, args=(from_, to), name="proxy")
                self._threads.append(thread)
                thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(BLOCK):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        kind, left = self._plan()
        with suppress(OSError):
            while data := server.recv(BLOCK):
                if kind and left < len(data):
                    self.done.append(kind)
                    data = self._spoilt(kind, data, left, client)
                    kind = ""
                left -= len(data)
                if data:
                    client.sendall(data)
        with self._lock:
            self._open -= {client, server}
            for one in (client, server):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _plan(self) -> tuple[str, int]:
        """Which fault this connection gets, after how many bytes; none once all are spent."""
        with self._lock:
            self._left -= 1
            if self._left < 0:
                return "", 0
            return self._chance.choice(self._kinds), self._chance.choice(self._within)

    def _spoilt(self, kind: str, data: bytes, at: int, client: socket.socket) -> bytes:
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ 1 << self._chance.randrange(8)]) + data[at + 1 :]
        if kind == "lose":
            return data[:at] + data[at + 8 :]
        client.sendall(data[:at])
        if kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.shutdown(socket.SHUT_RD)  # wakes the other thread, which keeps it open
            client.close()
        if kind == "silent":
            client.recv(1)  # until the client has had enough
        raise ConnectionAbortedError(kind)
