"""Which servers `forgather dataset-server status` and its like ask.

--server, else $FORGATHER_DATASET_SERVER     asked are
nothing                                      the default port of this host
a URL, or several with commas                all of them
auto                                         this user's on this host
"""

from __future__ import annotations

import os
from dataclasses import replace

from forgather_spool.dataset.address import DEFAULT_PORT, SERVER_VARIABLE, Address, named, parse_address


def chosen(server: str | None, token: str | None) -> list[Address]:
    """At least one.

    Raises:
        UsageError: what is given names none.
        Missing: ``auto``, and none runs here.
    """
    text = (server or os.environ.get(SERVER_VARIABLE, "")).strip()
    if not text:
        return [_here(token)]
    if text == "auto":
        from forgather_spool.dataset.remote.nearby import nearby

        return [replace(address, token=token or address.token) for address in nearby()]
    return named(text, token)


def _here(token: str | None) -> Address:
    """With TLS where `tls init` was run, unless ours answers without: it may be older than that, or --no-tls."""
    plain = parse_address(f"http://127.0.0.1:{DEFAULT_PORT}", token)
    if not _may_speak_tls():
        return plain
    from forgather_spool.dataset.remote.nearby import answering

    found = answering(DEFAULT_PORT)
    return replace(plain, scheme=found.scheme if found else "https")


def _may_speak_tls() -> bool:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        return False
    from forgather_spool.tls.store import default_store

    return default_store().has_server()
