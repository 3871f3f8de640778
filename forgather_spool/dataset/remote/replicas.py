"""Servers of one content: each is asked for the data set, and counts only if its fingerprint is the one meant."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from forgather_spool.dataset.errors import ContentChanged, ServerRefused, ServerUnreachable
from forgather_spool.dataset.remote.server import HandleGone, Server, Stream, Wanted
from forgather_spool.errors import ForgatherError

LOAD_S = 30.0


class Replicas:
    """`handles`: those of the servers that have been asked, by their place among `servers`."""

    def __init__(
        self, servers: Sequence[Server], request: Mapping[str, Any], fingerprint: str, handles: Mapping[int, str]
    ) -> None:
        self.servers = list(servers)
        self.fingerprint = fingerprint
        self._request = dict(request)
        self._handles = dict(handles)
        self._warned: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_warned": set()}

    def anyone(self) -> int:
        """A server to begin with: one that was good, by chance, so that readers spread over them."""
        return random.choice(list(self._handles) or [0])

    def stream(self, first: int, wanted: Wanted) -> tuple[int, Stream]:
        """A stream of `wanted` from the first server that gives it, asked in turn from number `first` on.

        Raises:
            ServerUnreachable: none does now; one may later.
            ContentChanged: none does, and one has other data.
            ServerRefused: none does, nor will.
        """
        failures: list[ForgatherError] = []
        for step in range(len(self.servers)):
            number = (first + step) % len(self.servers)
            try:
                return number, self._stream(number, wanted)
            except (ServerUnreachable, ServerRefused, ContentChanged) as error:
                failures.append(error)
                if not isinstance(error, ServerUnreachable):
                    self._warn(number, error)
        raise worst(failures)

    def _stream(self, number: int, wanted: Wanted) -> Stream:
        server = self.servers[number]
        if number in self._handles:
            try:
                return server.stream(self._handles[number], wanted)
            except HandleGone:
                self._handles.pop(number, None)
        loaded = server.load(self._request, LOAD_S)
        if loaded.fingerprint != self.fingerprint:
            raise ContentChanged(
                f"{server.url} has other data: {loaded.fingerprint}, and {self.fingerprint} are meant",
                hint="load the data set again, and start the epoch anew",
            )
        self._handles[number] = loaded.handle
        return server.stream(loaded.handle, wanted)

    def _warn(self, number: int, error: ForgatherError) -> None:
        if len(self.servers) > 1 and number not in self._warned:
            self._warned.add(number)
            print(f"warning: {error}", file=sys.stderr, flush=True)


def worst(failures: Sequence[ForgatherError]) -> ForgatherError:
    """What to say when none is good: other data before all; a no only where nobody may come back."""
    for kind in (ContentChanged, ServerUnreachable):
        for one in failures:
            if isinstance(one, kind):
                return one
    return failures[0]
