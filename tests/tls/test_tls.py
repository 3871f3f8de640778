"""TLS: what init makes is believed by who imported it, and by nobody else."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click.testing
import pytest

pytest.importorskip("cryptography")
trustme = pytest.importorskip("trustme")

from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.cli.machine import tls as command
from forgather_spool.errors import ForgatherError, Missing, UnreadableFile, UsageError
from forgather_spool.tls import bundle, certificates, contexts
from forgather_spool.tls.bundle import Bundle
from forgather_spool.tls.store import Store

NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "tls"))
    made.init(["data.example", "127.0.0.1"], authority_name="lab", force=False)
    return made


@pytest.fixture
def nobody(tmp_path: Path) -> Store:
    """A client that imported nothing."""
    return Store(str(tmp_path / "empty"))


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> list[str]:
    """A whole handshake in memory; the names in the certificate the client believed. Raises as the client would."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    believer = client.wrap_bio(to_client, to_server, server_hostname=name)
    sides = [
        believer,
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass
    return [str(value) for _, value in believer.getpeercert().get("subjectAltName", ())]


def test_a_client_that_imported_the_authority_believes_its_host(store: Store, nobody: Store) -> None:
    """By name and by address."""
    nobody.trust("lab", certificates.certificate_of(store.authority()))

    for name in ("data.example", "127.0.0.1"):
        assert name in shake_hands(contexts.server_context(store), contexts.client_context(nobody), name)


def test_a_client_on_the_same_host_believes_it_without_importing(store: Store) -> None:
    name = "data.example"

    assert name in shake_hands(contexts.server_context(store), contexts.client_context(store), name)


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(contexts.server_context(store), contexts.client_context(store), name)


def test_a_host_of_an_unknown_authority_is_refused(store: Store, nobody: Store) -> None:
    """Also when it was asked before: the second try is verified as the first was (predecessor's fault 24)."""
    other = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("data.example").configure_cert(server)

    for client in (contexts.client_context(store), contexts.client_context(nobody)):
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                shake_hands(server, client, "data.example")


def test_an_expired_certificate_is_refused(store: Store, nobody: Store) -> None:
    other = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.issue_cert("data.example", not_after=NOW - timedelta(days=1)).configure_cert(server)
    nobody.trust("other", other.cert_pem.bytes())

    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(server, contexts.client_context(nobody), "data.example")


def test_a_renewed_certificate_needs_no_new_import(store: Store, nobody: Store) -> None:
    """And keeps its names, with those added."""
    nobody.trust("lab", certificates.certificate_of(store.authority()))
    before = certificates.read(store.server())

    store.renew(authority=False, more_names=["10.1.2.3"])

    after = certificates.read(store.server())
    assert after.fingerprint != before.fingerprint
    assert after.names == (*before.names, "10.1.2.3")
    shake_hands(contexts.server_context(store), contexts.client_context(nobody), "10.1.2.3")


def test_a_new_authority_is_not_believed_by_who_imported_the_old_one(store: Store, nobody: Store) -> None:
    nobody.trust("lab", certificates.certificate_of(store.authority()))

    store.renew(authority=True, more_names=[])

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(contexts.server_context(store), contexts.client_context(nobody), "data.example")


def test_an_authority_that_has_expired_makes_no_certificate_that_has(store: Store) -> None:
    """It made one, valid until now, and said nothing."""
    later = datetime.now(UTC) + timedelta(days=certificates.AUTHORITY_DAYS)
    before = store.server()

    with pytest.raises(UsageError, match="expired"):
        store.renew(authority=False, more_names=[], now=later)

    assert store.server() == before
    store.renew(authority=True, more_names=[], now=later)
    assert certificates.read(store.server()).days_left(later) >= certificates.HOST_DAYS - 1


def test_an_authority_of_the_same_name_takes_no_ones_place_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts called alike: clients of the first believed it no more. Of several in a file one was taken."""
    run = click.testing.CliRunner().invoke
    now = datetime.now(UTC)
    made = [certificates.certificate_of(certificates.make_authority(name, now)) for name in ("one", "one", "two")]
    monkeypatch.setenv("FORGATHER_TLS_DIR", str(tmp_path / "tls"))
    store = Store(str(tmp_path / "tls"))

    both = run(command.tls, ["import-ca", "-"], input=made[0] + made[2])
    again = run(command.tls, ["import-ca", "-"], input=made[0])
    other = run(command.tls, ["import-ca", "-"], input=made[1])

    assert (both.exit_code, again.exit_code) == (0, 0)
    assert isinstance(other.exception, UsageError) and "--name one" in other.exception.hint
    assert store.trusted() == {"one": made[0], "two": made[2]}
    run(command.tls, ["import-ca", "--name", "one", "-"], input=made[1])
    assert store.trusted() == {"one": made[1], "two": made[2]}


def test_a_certificate_made_elsewhere_is_installed_and_not_renewed_here(store: Store) -> None:
    other = trustme.CA()
    made = other.issue_cert("data.example")
    chain = b"".join(part.bytes() for part in made.cert_chain_pems)

    store.install(certificates.joined(made.private_key_pem.bytes(), chain))
    store.trust("other", other.cert_pem.bytes())

    shake_hands(contexts.server_context(store), contexts.client_context(store), "data.example")
    with pytest.raises(UsageError, match="issued elsewhere"):
        store.renew(authority=False, more_names=[])


def test_who_has_a_certificate_from_elsewhere_is_sent_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tls status` said to renew it here, which is refused."""
    monkeypatch.setenv("FORGATHER_TLS_DIR", store.root)
    monkeypatch.setattr(certificates, "WARN_DAYS", 10_000_000)
    own = click.testing.CliRunner().invoke(command.tls, ["status"])
    made = trustme.CA().issue_cert("data.example")
    store.install(certificates.joined(made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes()))

    other = click.testing.CliRunner().invoke(command.tls, ["status"])

    (of_own,) = [line for line in own.output.splitlines() if line.startswith("warning: server")]
    (of_other,) = [line for line in other.output.splitlines() if line.startswith("warning: server")]
    assert of_own.endswith("days: forgather tls renew")
    assert "forgather tls install" in of_other and "tls renew" not in of_other


def test_a_key_of_another_certificate_is_refused(store: Store) -> None:
    one, other = trustme.CA().issue_cert("a.example"), trustme.CA().issue_cert("b.example")

    with pytest.raises(UsageError, match="does not belong"):
        certificates.joined(one.private_key_pem.bytes(), other.cert_chain_pems[0].bytes())


def test_an_authority_may_vouch_for_hosts_only_and_a_host_for_nobody(store: Store) -> None:
    """Importing a host's certificate would make it an authority in the eyes of some libraries."""
    with pytest.raises(UsageError, match="not an authority"):
        store.trust("host", certificates.certificate_of(store.server()))


def test_importing_keeps_the_certificate_and_never_a_key(store: Store, nobody: Store) -> None:
    nobody.trust("lab", store.authority())

    assert b"PRIVATE" not in nobody.trusted()["lab"]


def test_only_its_owner_reads_a_key_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Store(str(tmp_path / "tls")).init(["a.example"], authority_name="lab", force=False)
    finally:
        os.umask(old)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").rglob("*")}
    assert modes == {0o600, 0o700}


def test_init_killed_between_its_two_files_goes_on_with_the_same_authority(store: Store) -> None:
    authority = store.authority()
    os.unlink(store.server_path)

    store.init(["a.example"], authority_name="another", force=False)

    assert store.authority() == authority


def test_a_certificate_never_outlives_its_authority() -> None:
    old = certificates.make_authority("lab", NOW - timedelta(days=certificates.AUTHORITY_DAYS - 10))

    made = certificates.read(certificates.make_host(old, ["a.example"], NOW))

    assert made.not_after_at <= certificates.read(old).not_after_at


@pytest.mark.parametrize("name", ["", "a b.example", "münchen.example", "..", "x" * 300 + ".example"])
def test_what_is_no_host_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.renew(authority=False, more_names=[name])


@pytest.mark.parametrize("do", ["init", "renew"])
def test_a_name_that_is_refused_leaves_what_stood(store: Store, nobody: Store, do: str) -> None:
    """The authority was new by then and the certificate the old one's: nobody believed this host any more."""
    nobody.trust("lab", store.authority())
    before = store.authority(), store.server()

    with pytest.raises(UsageError, match="no host name"):
        if do == "init":
            store.init(["data.example", "a b"], authority_name="lab", force=True)
        else:
            store.renew(authority=True, more_names=["a b"])

    assert (store.authority(), store.server()) == before
    shake_hands(contexts.server_context(store), contexts.client_context(nobody), "data.example")


def test_a_damaged_authority_is_an_error_and_not_left_out(store: Store) -> None:
    Path(store.trusted_path).mkdir()
    Path(store.trusted_path, "broken.crt").write_text("-----BEGIN CERTIFICATE-----\n")

    with pytest.raises(UnreadableFile, match="broken"):
        contexts.client_context(store)


def test_a_server_without_a_certificate_is_told_how_to_get_one(nobody: Store) -> None:
    with pytest.raises(Missing, match="no certificate"):
        contexts.server_context(nobody)


def test_clean_leaves_nothing_of_ours_and_everything_else(store: Store) -> None:
    mine = Path(store.root, "notes.txt")
    mine.write_text("keep")

    store.clean()

    assert [path.name for path in Path(store.root).rglob("*") if path.is_file()] == ["notes.txt"]


TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
HOSTS = st.sampled_from(["localhost", "data.example", "10.0.0.1", "::1"])


@given(HOSTS, st.integers(1, 65535), st.none() | TOKENS, st.booleans())
def test_a_bundle_is_read_as_it_was_spelled(host: str, port: int, token: str | None, tls: bool) -> None:
    one = Bundle(host, port, token, tls)

    assert bundle.parse(bundle.spell(one)) == one
    assert token is None or len(token) < 8 or token not in repr(one) + one.base_url


@given(st.text() | st.text().map(lambda text: f"forgather-dataset://h:1/?token={text}"))
def test_whatever_is_pasted_as_a_bundle_is_a_bundle_or_an_error_that_does_not_repeat_it(text: str) -> None:
    try:
        bundle.parse(text)
    except ForgatherError as error:
        assert len(text) < 40 or text not in str(error) + error.hint


def test_the_command_makes_shows_and_exchanges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the how-to: init here, export, import there."""
    run = click.testing.CliRunner().invoke
    monkeypatch.setenv("FORGATHER_TLS_DIR", str(tmp_path / "here"))

    made = run(command.tls, ["init", "--hostname", "data.example", "--ip", "10.1.2.3"])
    exported = run(command.tls, ["export-ca"])
    shown = run(command.tls, ["status"])
    monkeypatch.setenv("FORGATHER_TLS_DIR", str(tmp_path / "there"))
    imported = run(command.tls, ["import-ca", "-"], input=exported.stdout_bytes)

    assert "data.example, 10.1.2.3" in made.output
    assert "PRIVATE" not in exported.output
    assert "days left" in shown.output
    assert certificates.read(exported.stdout_bytes).fingerprint in imported.output
