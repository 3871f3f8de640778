"""SSL contexts: a server's from its store, a client's that always verifies.

There is no way here to a client context that does not verify, and none that
checks the certificate but not the name. A failure is told, never worked around:
the predecessor's client sent its token to whoever answered.
"""

from __future__ import annotations

import os
import ssl
import tempfile

from forgather_spool.errors import UnreadableFile
from forgather_spool.tls.store import Store, default_store


def server_context(store: Store, certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """What a server listens with: the store's certificate, or the one in `certificate` (and `key`) of a user's own.

    Raises:
        Missing: the store holds none.
        UnreadableFile: what is there is no pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = certificate or store.server_path
    if certificate is None:
        store.server()  # says what is wrong in our words
    try:
        context.load_cert_chain(path, key)
    except (OSError, ssl.SSLError) as error:
        raise UnreadableFile(f"{path}: no certificate with its key: {error}", hint="forgather tls status") from None
    return context


def client_context(store: Store | None = None, authority_file: str | None = None) -> ssl.SSLContext:
    """Verifies chain and name against the system's authorities, ours, those imported, and `authority_file`.

    Raises:
        UnreadableFile: one of them is damaged. Leaving it out could only make
            a good server look bad, but silently: so it is said.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    store = store or default_store()
    for name, text in store.trusted().items():
        try:
            context.load_verify_locations(cadata=text.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise UnreadableFile(f"authority {name}: {error}", hint="forgather tls import-ca") from None
    if authority_file is not None:
        try:
            context.load_verify_locations(authority_file)
        except (OSError, ssl.SSLError) as error:
            raise UnreadableFile(f"{authority_file}: {error}") from None
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    return context


def check_pair(pair: bytes) -> None:
    """Raise UnreadableFile unless the TLS library takes this PEM text as a server's pair."""
    fd, path = tempfile.mkstemp(prefix="forgather-tls-")
    try:
        with open(fd, "wb") as file:
            file.write(pair)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    except ssl.SSLError as error:
        raise UnreadableFile(f"the TLS library does not take it: {error.reason or error}") from None
    finally:
        os.unlink(path)
