"""The TLS folder: which certificates this user has, each a file that appears whole.

    ca/authority.pem     our authority: key and certificate      made by init, renewed by renew --ca
    server.pem           this host's: key, certificate, chain    made by init, renew and install
    trusted/<name>.crt   other hosts' authorities                made by import-ca

A key and its certificate are one file and one rename, so a program that dies
anywhere leaves an old pair or a new one. Files are 0600 in folders of 0700.
Of init's two files the authority is written first: killed in between, `init`
goes on from there. Servers read `server.pem` when they start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from forgather_spool.errors import Missing, UsageError
from forgather_spool.spool import files
from forgather_spool.spool.paths import default_home
from forgather_spool.tls import certificates

DIR_VARIABLE = "FORGATHER_TLS_DIR"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PEM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Store:
    """The folder at `root`. Nothing needs to stand; what is asked for and missing raises Missing."""

    root: str

    @property
    def authority_path(self) -> str:
        return f"{self.root}/ca/authority.pem"

    @property
    def server_path(self) -> str:
        return f"{self.root}/server.pem"

    @property
    def trusted_path(self) -> str:
        return f"{self.root}/trusted"

    def has_server(self) -> bool:
        """Whether servers here can speak TLS."""
        return files.exists(self.server_path)

    def issued_its_own(self) -> bool:
        """Whether this host's certificate is one that `renew` makes anew: our own authority's."""
        return files.exists(self.authority_path) and certificates.is_issued_by(self.server(), self.authority())

    def authority(self) -> bytes:
        """Key and certificate of our authority, PEM."""
        return self._read(self.authority_path, "there is no authority here")

    def server(self) -> bytes:
        """Key, certificate and chain of this host, PEM."""
        return self._read(self.server_path, "this host has no certificate")

    def trusted(self) -> dict[str, bytes]:
        """Name to certificate of every authority whose hosts we believe, ours among them as "(own)"."""
        found = {}
        if files.exists(self.authority_path):
            found["(own)"] = certificates.certificate_of(self.authority())
        for name in sorted(files.names(self.trusted_path)):
            if name.endswith(".crt"):
                found[name.removesuffix(".crt")] = files.read_bytes(f"{self.trusted_path}/{name}", MAX_PEM_BYTES)
        return found

    def init(self, names: Sequence[str], *, authority_name: str, force: bool, now: datetime | None = None) -> None:
        """An authority and a certificate for `names`. `force` replaces both: clients must import the new authority.

        Raises:
            UsageError: both stand already, or a name cannot be a host's; what stands is kept then.
        """
        now = now or datetime.now(UTC)
        if not force and self.has_server():
            raise UsageError(f"{self.server_path} stands already", hint="forgather tls renew, or init --force")
        if force or not files.exists(self.authority_path):
            self._put_both(certificates.make_authority(authority_name, now), names, now)
        else:
            self._put(self.server_path, certificates.make_host(self.authority(), names, now))

    def renew(self, *, authority: bool, more_names: Sequence[str], now: datetime | None = None) -> None:
        """A new certificate for this host's names and `more_names`; with `authority` a new authority before that."""
        now = now or datetime.now(UTC)
        old = certificates.read(self.server())
        if not authority and not self.issued_its_own():
            message = "this host's certificate was issued elsewhere: renew it there"
            raise UsageError(message, hint="then: forgather tls install --cert FILE --key FILE")
        if not authority and certificates.read(self.authority()).days_left(now) < 1:
            message = "this host's authority has expired, and with it all that it could issue"
            raise UsageError(message, hint="forgather tls renew --ca, then import-ca on every client")
        names = tuple(dict.fromkeys((*old.names, *more_names)))
        if authority:
            name = certificates.read(self.authority()).subject.removeprefix("CN=")
            self._put_both(certificates.make_authority(name, now), names, now)
        else:
            self._put(self.server_path, certificates.make_host(self.authority(), names, now))

    def install(self, pair: bytes) -> None:
        """Use a certificate made elsewhere, as `certificates.joined` gives it."""
        self._put(self.server_path, pair)

    def trust(self, name: str, authority: bytes, *, replace: bool = True) -> None:
        """Believe hosts that this authority vouches for, and with `replace` not those of another of this name any more.

        Raises:
            UsageError: it is no authority's certificate, the name cannot be a file's, or is another's.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name an authority", hint="letters, digits, dot, dash: --name lab")
        facts = certificates.read(authority)
        if not facts.is_authority:
            raise UsageError("this is a host's certificate, not an authority's", hint="forgather tls export-ca, there")
        text = certificates.certificate_of(authority)
        if not replace and self.trusted().get(name, text) != text:
            message = f"another authority is called {name} here: of a host called alike, or of before it was renewed"
            raise UsageError(message, hint=f"--name OTHER keeps both, --name {name} puts this in its place")
        self._put(f"{self.trusted_path}/{name}.crt", text)

    def clean(self) -> list[str]:
        """Remove every file of ours, the server's first; their paths. What is not ours stays."""
        gone = []
        places = ((self.root, ".pem"), (f"{self.root}/ca", ".pem"), (self.trusted_path, ".crt"))
        for folder, ending in places:
            for name in sorted(files.names(folder)):
                if name.endswith(ending) or files.is_temporary_name(name):
                    files.discard(f"{folder}/{name}")
                    gone.append(f"{folder}/{name}")
        return gone

    def _read(self, path: str, absent: str) -> bytes:
        try:
            return files.read_bytes(path, MAX_PEM_BYTES)
        except FileNotFoundError:
            raise Missing(f"{absent}: no {path}", hint="forgather tls init") from None

    def _put_both(self, authority: bytes, names: Sequence[str], now: datetime) -> None:
        """Both are made before either is written: a name that cannot be a host's leaves what stood."""
        host = certificates.make_host(authority, names, now)
        self._put(self.authority_path, authority)
        self._put(self.server_path, host)

    def _put(self, path: str, data: bytes) -> None:
        folder = os.path.dirname(path)
        for made in dict.fromkeys((os.path.dirname(self.root), self.root, folder)):
            if not os.path.isdir(made):
                os.makedirs(os.path.dirname(made), mode=files.DIR_MODE, exist_ok=True)
                files.make_directory(made)
        files.replace_bytes(path, data, folder)


def default_store() -> Store:
    """``$FORGATHER_TLS_DIR``, else ``tls/`` under the home."""
    root = os.environ.get(DIR_VARIABLE) or f"{default_home()}/tls"
    if not os.path.isabs(root):
        raise UsageError(f"{DIR_VARIABLE} is {root!r}, not an absolute path")
    return Store(os.path.normpath(root))
