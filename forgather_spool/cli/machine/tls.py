"""`forgather tls`: an authority of one's own, this host's certificate, and whom we believe."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from forgather_spool.cli import warn
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.errors import Missing, UnreadableFile, UsageError

if TYPE_CHECKING:
    from forgather_spool.tls.store import Store

NAMES = click.option("--hostname", multiple=True, metavar="NAME", help="A name clients use for this host. Repeatable.")
ADDRESSES = click.option("--ip", multiple=True, metavar="ADDRESS", help="An address clients use. Repeatable.")


ISSUED_ELSEWHERE = "renew it there, then forgather tls install --cert FILE --key FILE"
RENEWED = {
    "server": "forgather tls renew",
    "own CA": "forgather tls renew --ca, then import-ca on every client",
    "trusted": "forgather tls import-ca, of a new one from its host",
}


@click.group()
def tls() -> None:
    """Certificates for our servers: make, renew, exchange.

    On the server's host `tls init`; then `tls export-ca`, and on every client
    `tls import-ca`. Clients always verify the certificate and the name in it;
    no option of ours turns that off. Files lie in tls/ under ~/.config/forgather
    ($FORGATHER_TLS_DIR), readable by you alone.
    """


@tls.command()
@NAMES
@ADDRESSES
@click.option("--ca-name", metavar="NAME", help="What people see as the authority. [default: forgather on HOST]")
@click.option("--force", is_flag=True, help="Replace the authority and the certificate: clients must import anew.")
def init(hostname: tuple[str, ...], ip: tuple[str, ...], ca_name: str | None, force: bool) -> None:
    """Make an authority and a certificate for this host.

    It is good for this host's name and addresses, localhost, and what
    --hostname and --ip add. Servers started from now on speak TLS.
    """
    store = _store()
    here = socket.gethostname()
    names = dict.fromkeys((*hostname, *ip, here, "localhost", "127.0.0.1", "::1", *_own_addresses(here)))
    store.init(tuple(names), authority_name=(ca_name or f"forgather on {here}")[:64], force=force)
    _print_server(store)
    click.echo("clients believe it after: forgather tls export-ca -o ca.crt, and there: forgather tls import-ca ca.crt")


@tls.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
def status(json_: bool) -> None:
    """This host's certificate, the authorities believed here, and when they expire.

    Exits 1 when one has expired, 69 when there is none at all.
    """
    from forgather_spool.errors import JobFailed

    store = _store()
    rows = [*_described(store)]
    if json_:
        click.echo(as_json({"version": 1, "folder": store.root, "certificates": rows}))
    else:
        click.echo(f"folder: {shown(store.root)}")
        for row in rows:
            click.echo(f"{row['role']:<10} {shown(row['subject'])}  expires {row['not_after_at']} ({_left(row)})")
            if row["names"]:
                click.echo(f"{'':<10} for {shown(', '.join(row['names']))}")
    for row in rows:
        if 0 <= row["days_left"] < _warn_days():
            warn(f"{row['role']} {row['subject']} expires in {row['days_left']} days: {_renewed(store, row)}")
    if not rows:
        raise Missing("there is no certificate here", hint="forgather tls init")
    if expired := [row for row in rows if row["days_left"] < 0]:
        raise JobFailed(f"{expired[0]['role']} {expired[0]['subject']} has expired", hint=_renewed(store, expired[0]))


@tls.command()
@click.option("--ca", is_flag=True, help="Renew the authority too: every client must import it again.")
@click.option("--add-hostname", multiple=True, metavar="NAME", help="Also good for this name from now on.")
@click.option("--add-ip", multiple=True, metavar="ADDRESS", help="Also good for this address from now on.")
def renew(ca: bool, add_hostname: tuple[str, ...], add_ip: tuple[str, ...]) -> None:
    """A new certificate for the same names. Running servers use it after a restart."""
    store = _store()
    store.renew(authority=ca, more_names=(*add_hostname, *add_ip))
    _print_server(store)
    if ca:
        click.echo("the authority is new: export-ca, and on every client import-ca --name, in the place of the old one")


@tls.command("export-ca")
@click.option("-o", "output", type=click.Path(dir_okay=False), help="A file. [default: stdout]")
def export_ca(output: str | None) -> None:
    """Print the authority's certificate. It is public; the key stays here."""
    from forgather_spool.tls import certificates

    text = certificates.certificate_of(_store().authority())
    if output is None:
        click.echo(text.decode(), nl=False)
        return
    try:
        with open(output, "wb") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"wrote {shown(output)}; compare on the client: {certificates.read(text).fingerprint}")


@tls.command("import-ca")
@click.argument("path", type=click.Path())
@click.option("--name", metavar="NAME", help="What to call it here. [default: from the certificate]")
def import_ca(path: str, name: str | None) -> None:
    """Believe another host's authority. `-` reads stdin.

    Compare the fingerprint printed with the one export-ca printed: whoever
    gives you the file decides whom you will send your token to. Of several
    authorities in the file each is believed. --name takes the place of one
    that was called so.
    """
    from forgather_spool.tls import certificates

    _believe(_store(), certificates.each_of(_read(path)), name, replace=name is not None)


def _believe(store: Store, authorities: Sequence[bytes], name: str | None, *, replace: bool) -> None:
    from forgather_spool.tls import certificates

    for number, text in enumerate(authorities, 1):
        facts = certificates.read(text)
        called = name or "".join(c if c.isalnum() or c in "._-" else "-" for c in facts.subject.removeprefix("CN="))
        called = called.encode("ascii", "replace").decode().replace("?", "-")
        store.trust(f"{called}-{number}" if name and number > 1 else called, text, replace=replace)
        click.echo(f"trusted: {shown(facts.subject)}\nfingerprint: {facts.fingerprint}")


@tls.command()
@click.option("--cert", metavar="FILE", help="This host's certificate, with its chain, PEM.")
@click.option("--key", metavar="FILE", help="Its private key, PEM without a passphrase.")
@click.option("--ca", metavar="FILE", help="The authority that made it, to be believed here.")
def install(cert: str | None, key: str | None, ca: str | None) -> None:
    """Use a certificate made elsewhere; with --ca alone, only believe an authority."""
    from forgather_spool.tls import certificates, contexts

    if (cert is None) != (key is None) or (cert is None and ca is None):
        raise UsageError(
            "--cert and --key go together", hint="forgather tls install --cert FILE --key FILE [--ca FILE]"
        )
    store = _store()
    authority = _read(ca) if ca is not None else None
    if cert is not None and key is not None:
        pair = certificates.joined(_read(key), _read(cert))
        contexts.check_pair(pair)
        store.install(pair)
        _print_server(store)
    if authority is not None:
        _believe(store, certificates.each_of(authority), "installed", replace=True)


@tls.command()
@click.option("--yes", is_flag=True, help="Do it. The authority's key cannot be had back.")
def clean(yes: bool) -> None:
    """Remove the authority, the certificate and whom we believed."""
    store = _store()
    if not yes:
        raise UsageError(f"this removes every certificate and key in {store.root}", hint="forgather tls clean --yes")
    removed = store.clean()
    click.echo("\n".join(f"removed {shown(path)}" for path in removed) or "there is nothing")


def _store() -> Store:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        hint = "pip install forgather-spool[dataset]"
        raise Missing("the cryptography library is not installed", hint=hint)
    from forgather_spool.tls.store import default_store

    return default_store()


def _described(store: Store) -> list[dict[str, Any]]:
    from forgather_spool.tls import certificates

    texts = [("server", store.server())] if store.has_server() else []
    texts += [("own CA" if name == "(own)" else "trusted", text) for name, text in store.trusted().items()]
    now = datetime.now(UTC)
    rows = []
    for role, text in texts:
        facts = certificates.read(text)
        rows.append(
            {
                "role": role,
                "subject": facts.subject,
                "names": list(facts.names),
                "not_after_at": facts.not_after_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "days_left": facts.days_left(now),
                "fingerprint": facts.fingerprint,
            }
        )
    return rows


def _renewed(store: Store, row: dict[str, Any]) -> str:
    """What to do before it expires, or after."""
    return RENEWED[row["role"]] if row["role"] != "server" or store.issued_its_own() else ISSUED_ELSEWHERE


def _left(row: dict[str, Any]) -> str:
    days = row["days_left"]
    return f"{days} days left" if days >= 0 else "EXPIRED"


def _warn_days() -> int:
    from forgather_spool.tls.certificates import WARN_DAYS

    return WARN_DAYS


def _print_server(store: Store) -> None:
    row = _described(store)[0]
    click.echo(f"{shown(store.server_path)}\nfor {shown(', '.join(row['names']))}\nexpires {row['not_after_at']}")


def _own_addresses(name: str) -> list[str]:
    """What this host's name resolves to, as its clients may see it."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def _read(path: str) -> bytes:
    """A small file of anybody's, or stdin."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(1 << 20)
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None
