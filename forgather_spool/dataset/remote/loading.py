"""Finding a data set on servers: who has it, and that they all have the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from forgather_spool.dataset.address import Address, named
from forgather_spool.dataset.errors import ContentChanged, ServerUnreachable
from forgather_spool.dataset.frames import FrameReader
from forgather_spool.dataset.order import Order
from forgather_spool.dataset.remote.patience import Patience, max_retry_s
from forgather_spool.dataset.remote.replicas import Replicas, worst
from forgather_spool.dataset.remote.rows import RemoteRows
from forgather_spool.dataset.remote.server import Loaded, NoAnswer, Server, Wanted
from forgather_spool.dataset.rows import BATCH_BYTES
from forgather_spool.dataset.walk import run
from forgather_spool.errors import ForgatherError

LOAD_S = 30.0  # then it is said that it takes long, and asked again: the server goes on with the same build
AT_ONCE = 16


def remote_rows(servers: str, request: Mapping[str, Any], token: str | None = None) -> RemoteRows:
    """The rows of `request` (as POST /v1/load takes it) from `servers`: a URL, several with commas, or ``auto``.

    Every server is asked. Those that do not answer now may take over later; those that refuse are left out.
    When none answers they are asked again for as long as FORGATHER_DATASET_CLIENT_MAX_RETRY_SECONDS
    says, and without it not again: a wrong address should not wait for ever.

    Raises:
        ContentChanged: two servers have other data under this name.
        ServerRefused, ServerUnreachable, UsageError, Missing: nobody gives it; the message says why.
    """
    asked = [Server(address) for address in addresses_of(servers, token)]
    patience = Patience(max_retry_s() or 0.0)
    while True:
        with ThreadPoolExecutor(min(len(asked), AT_ONCE)) as pool:
            answers = list(pool.map(lambda server: _loaded(server, request), asked))
        failures = [one for one in answers if isinstance(one, ForgatherError)]
        if len(failures) < len(answers):
            return _rows(*_agreed(asked, answers), request)
        error = worst(failures)
        if not isinstance(error, ServerUnreachable):
            raise error
        patience.failed(error, error.retry_after_s)


def addresses_of(servers: str, token: str | None) -> list[Address]:
    """The servers a user's words name.

    Raises:
        Missing: ``auto``, and none is here.
        UsageError: no such words.
    """
    if servers.strip() == "auto":
        from forgather_spool.dataset.remote.nearby import nearby

        return nearby()
    return named(servers, token)


def _loaded(server: Server, request: Mapping[str, Any]) -> Loaded | ForgatherError:
    """What it has, or why it has not. Waits for an index that is being built."""
    begin = time.monotonic()
    while True:
        try:
            return server.load(request, LOAD_S)
        except ServerUnreachable as error:
            waited_s = time.monotonic() - begin
            if not isinstance(error, NoAnswer) or not server.is_alive(LOAD_S):
                return error
            print(f"forgather dataset: {server.url}: still loading ({waited_s:.0f} s)", file=sys.stderr, flush=True)
        except ForgatherError as error:
            return error


def _agreed(
    servers: Sequence[Server], answers: Sequence[Loaded | ForgatherError]
) -> tuple[list[Server], dict[int, str], Loaded]:
    """The servers to keep, the handles of those that have it, and what it is."""
    have = [(server, one) for server, one in zip(servers, answers, strict=True) if isinstance(one, Loaded)]
    first_server, first = have[0]
    for server, one in have:
        if one.fingerprint != first.fingerprint:
            raise ContentChanged(
                f"{server.url} and {first_server.url} have different data under this name: "
                f"{one.fingerprint} and {first.fingerprint}",
                hint="replicas have the same rows in the same order; name only one of the two",
            )
    kept: list[Server] = []
    handles = {}
    for server, answer in zip(servers, answers, strict=True):
        if isinstance(answer, Loaded):
            handles[len(kept)] = answer.handle
        elif not isinstance(answer, ServerUnreachable):
            print(f"warning: left out: {answer}", file=sys.stderr, flush=True)
            continue
        kept.append(server)
    return kept, handles, first


def _rows(servers: list[Server], handles: dict[int, str], loaded: Loaded, request: Mapping[str, Any]) -> RemoteRows:
    """With the schema, which a stream of no rows begins with."""
    replicas = Replicas(servers, request, loaded.fingerprint, handles)
    wanted = Wanted(Order(loaded.length), run(0, 0), None, BATCH_BYTES, loaded.fingerprint)
    number, stream = replicas.stream(replicas.anyone(), wanted)
    frames = FrameReader(stream.body)
    list(frames)
    servers[number].give_back(stream)
    return RemoteRows(replicas, loaded.length, frames.schema)
