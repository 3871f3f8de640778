"""Certificates as values: making an authority, making a host's certificate, reading either.

Bytes in, bytes out: knows no file and no socket. A key and its certificate
travel as one PEM text, so that a pair is written and renewed by one rename
and never half.

EC P-256 throughout: each TLS library of the last ten years takes it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from forgather_spool.errors import UnreadableFile, UsageError

AUTHORITY_DAYS = 3650
HOST_DAYS = 825  # the longest that Apple's and browsers' verifiers take from a private authority
WARN_DAYS = 30
CLOCK_SKEW = timedelta(hours=1)  # between this host and whoever verifies
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
MAX_NAME_LENGTH = 64  # of a common name, RFC 5280 appendix A


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a certificate says. `names` are DNS names and addresses it is good for."""

    subject: str
    names: tuple[str, ...]
    not_before_at: datetime
    not_after_at: datetime
    is_authority: bool
    fingerprint: str  # SHA-256 of the DER form, hex

    def days_left(self, now: datetime) -> int:
        """Whole days until it expires; negative: since it has."""
        return (self.not_after_at - now).days


def make_authority(name: str, now: datetime) -> bytes:
    """A new authority as PEM: its private key, then its certificate. `name` is what people will see.

    Raises:
        UsageError: the name is empty or too long.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    public = key.public_key()
    built = (
        _begin(subject, subject, public, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_text(key) + _text(built)


def make_host(authority: bytes, names: Sequence[str], now: datetime) -> bytes:
    """A certificate for `names` (DNS names and addresses), as PEM: key, certificate, the authority's certificate.

    Never valid for longer than the authority itself.

    Raises:
        UsageError: no name, or one that cannot be a host's.
        UnreadableFile: `authority` is not what `make_authority` made.
    """
    if not names:
        raise UsageError("a certificate needs at least one name", hint="--hostname NAME or --ip ADDRESS")
    issuer_key, issuer = _pair(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    days = min(HOST_DAYS, max(0, (issuer.not_valid_after_utc - now).days))
    built = (
        _begin(_subject(names[0][:MAX_NAME_LENGTH]), issuer.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip
    return _key_text(key) + _text(built) + certificate_of(authority)


def read(text: bytes) -> Facts:
    """The facts of the first certificate in a PEM text. Raises UnreadableFile: there is none."""
    found = _certificates(text)[0]
    return Facts(
        subject=found.subject.rfc4514_string(),
        names=_names_of(found),
        not_before_at=found.not_valid_before_utc,
        not_after_at=found.not_valid_after_utc,
        is_authority=_is_authority(found),
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
    )


def certificate_of(text: bytes) -> bytes:
    """The first certificate alone, without keys: what may be handed to anybody."""
    return _text(_certificates(text)[0])


def each_of(text: bytes) -> list[bytes]:
    """Every certificate of a PEM text by itself, without keys. Raises UnreadableFile: there is none."""
    return [_text(found) for found in _certificates(text)]


def chain_of(text: bytes) -> bytes:
    """All certificates of a PEM text, without keys."""
    return b"".join(_text(found) for found in _certificates(text))


def joined(key: bytes, chain: bytes) -> bytes:
    """A host's pair from a key and a certificate made elsewhere.

    Raises:
        UsageError: the key is not the certificate's, or is locked by a passphrase.
        UnreadableFile: either is no PEM.
    """
    loaded = _load_key(key)
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if loaded.public_key().public_bytes(*form) != _certificates(chain)[0].public_key().public_bytes(*form):
        raise UsageError("the key does not belong to the certificate")
    return _key_text(loaded) + chain_of(chain)


def is_issued_by(host: bytes, authority: bytes) -> bool:
    """Whether `authority` signed the first certificate of `host`."""
    try:
        _certificates(host)[0].verify_directly_issued_by(_certificates(authority)[0])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _begin(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - CLOCK_SKEW)
        .not_valid_after(now.astimezone(UTC) + timedelta(days=days))
    )


def _subject(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError:
        raise UsageError(f"{name!r} cannot be a certificate's name", hint="1 to 64 characters") from None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if len(name) > 253 or not all(LABEL.fullmatch(part) for part in name.removeprefix("*.").split(".")):
        raise UsageError(f"{name!r} is no host name", hint="an international name goes in its xn-- form")
    return x509.DNSName(name)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_text(key: Any) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    text: bytes = key.private_bytes(*form)
    return text


def _text(certificate: x509.Certificate) -> bytes:
    text: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return text


def _pair(text: bytes) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = _load_key(text)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnreadableFile("the authority's key is of a kind we do not make", hint="forgather tls init --force")
    return key, _certificates(text)[0]


def _load_key(text: bytes) -> Any:
    try:
        return serialization.load_pem_private_key(text, password=None)
    except TypeError:
        raise UsageError("the key is locked by a passphrase", hint="openssl pkey -in KEY -out PLAIN") from None
    except Exception as error:  # besides ValueError the library raises its own, which differ from version to version
        raise UnreadableFile(f"no private key in PEM form: {_first_line(error)}") from None


def _certificates(text: bytes) -> list[x509.Certificate]:
    try:
        found: list[x509.Certificate] = x509.load_pem_x509_certificates(text)
        return found
    except Exception as error:  # as above
        reason = _first_line(error).partition(". See ")[0]  # the rest is about the library
        hint = "openssl x509 -inform der -in FILE makes PEM of DER"
        raise UnreadableFile(f"no certificate in PEM form: {reason}", hint=hint) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:100] or type(error).__name__


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
