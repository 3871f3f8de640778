"""Telling the service manager how the dispatcher is: ready, alive, stopping (sd_notify(3)).

Nothing is said where nobody asked (``NOTIFY_SOCKET`` unset).
"""

from __future__ import annotations

import os


class ServiceManager:
    """Who started us, if it wants to know. `watchdog_s`: say `alive` more often than this; None: nobody counts."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        ours = usec.isdecimal() and (not pid or pid == str(os.getpid()))
        self.watchdog_s: float | None = int(usec) / 1e6 if ours else None

    @property
    def is_listening(self) -> bool:
        return bool(self._address)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        import socket

        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(message.encode(), address)
            except OSError:
                return  # the manager is restarting; it will look by itself
