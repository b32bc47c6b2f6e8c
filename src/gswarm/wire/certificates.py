"""The cluster's own certificate authority and the certificates it issues.

One CA a cluster, made at the host's first start. ECDSA P-256 everywhere. Keys never travel: a client sends a signing
request, and only its public key is taken from it; name, role and purposes are the host's decision.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gswarm.domain.errors import GswarmError, InvalidInputError
from gswarm.domain.ids import HOST_HOLDER, ClientName
from gswarm.wire.credentials import Credentials, ServerTls, load_pair
from gswarm.wire.private_files import read_private, save_private

HOST_SERVER_NAME = "gswarm-host"
"""In every host certificate, so that a host is recognised under any address."""
CLIENT_DOMAIN = "client.gswarm.internal"
ROLE_CLIENT = "client"
ROLE_HOST = "host"

CA_TTL = timedelta(days=3650)
HOST_TTL = timedelta(days=30)
CLIENT_TTL = timedelta(days=7)
RENEW_AFTER = 1 / 3
"""The share of a certificate's life after which it is renewed; what is left is for a host that is away."""
CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin this much before they are issued, because the machines' clocks differ."""

_CSR_BYTES_MAX = 16 * 1024
_RESERVED_NAMES = frozenset({HOST_SERVER_NAME, HOST_HOLDER})
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)*")
_NAME_CHARS_MAX = 63


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end.

    Args:
        name: from the certificate, or what it says of itself where there is no TLS.
        role: ``client`` or ``host``.
        enrolment: which joining of that name the certificate goes back to; empty in a host's and in those of before.
        expires_at_s: when the certificate ends, seconds since the epoch.
    """

    name: str
    role: str
    enrolment: str = field(default="", compare=False)
    expires_at_s: float = field(default=math.inf, compare=False)


class CertificateAuthority:
    """Signs the certificates of one cluster."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, cluster_id: str, now: datetime | None = None) -> CertificateAuthority:
        """A new CA; nothing is written before ``save``."""
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
                x509.NameAttribute(NameOID.COMMON_NAME, "gswarm cluster CA"),
            ]
        )
        usage = _key_usage(signs_certificates=True)
        certificate = (
            _builder(name, name, key.public_key(), now, now + CA_TTL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> CertificateAuthority:
        """Raises:
        NotFoundError: there is no CA.
        CorruptDataError: the files are no CA and its key.
        """
        certificate, key = load_pair(read_private(directory / "ca.pem"), read_private(directory / "ca-key.pem"), directory)
        return cls(certificate, key)

    def save(self, directory: Path) -> None:
        """Writes ``ca.pem`` and ``ca-key.pem``; only the owner may read them.

        Raises:
            StorageError: the directory cannot be written.
        """
        save_private(directory, {"ca-key.pem": _key_pem(self._key), "ca.pem": self.ca_pem})

    @property
    def ca_pem(self) -> bytes:
        return _cert_pem(self._certificate)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.ca_pem)

    @property
    def cluster_id(self) -> str:
        return _attribute(self._certificate, NameOID.ORGANIZATION_NAME)

    def issue_host(self, names: Sequence[str] = (), ttl: timedelta = HOST_TTL, now: datetime | None = None) -> ServerTls:
        """A new key and certificate for the host.

        Args:
            names: DNS names and addresses that browsers use to reach it, besides ``localhost`` and loopback.
        """
        alternatives: list[x509.GeneralName] = []
        for text in dict.fromkeys((HOST_SERVER_NAME, "localhost", "127.0.0.1", "::1", *names)):
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(text)))
            except ValueError:
                alternatives.append(_dns_name(text))
        key = ec.generate_private_key(ec.SECP256R1())
        cert_pem = self._issue(key.public_key(), HOST_SERVER_NAME, ROLE_HOST, alternatives, ttl, now)
        return ServerTls(cert_pem, _key_pem(key), self.ca_pem)

    def issue_client(
        self, csr_pem: bytes, name: str, ttl: timedelta = CLIENT_TTL, now: datetime | None = None, enrolment: str = ""
    ) -> bytes:
        """A certificate (PEM) for the key of a signing request; what else the request asks for is ignored.

        Args:
            enrolment: said again by the certificate, so that the host can tell those of one joining from those of another.

        Raises:
            InvalidInputError: the request is malformed, not signed by its key, of another kind of key, or the name is not allowed.
        """
        name = check_client_name(name)
        return self._issue(_request_key(csr_pem), name, ROLE_CLIENT, [x509.DNSName(server_name(name))], ttl, now, enrolment)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        role: str,
        alternatives: list[x509.GeneralName],
        ttl: timedelta,
        now: datetime | None,
        enrolment: str = "",
    ) -> bytes:
        now = now or datetime.now(UTC)
        parts = {
            NameOID.ORGANIZATION_NAME: self.cluster_id,
            NameOID.ORGANIZATIONAL_UNIT_NAME: role,
            NameOID.COMMON_NAME: name,
            NameOID.SERIAL_NUMBER: enrolment,
        }
        subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items() if text])
        ends_at = min(now + ttl, self._certificate.not_valid_after_utc)
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(subject, self._certificate.subject, key, now, ends_at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _cert_pem(certificate)


def check_client_name(text: str) -> ClientName:
    """The name in lower case.

    Raises:
        InvalidInputError: not a name that a certificate can carry, or the host's.
    """
    name = text.lower()
    if len(name) > _NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{text[:80]!r} cannot be a client's name",
            "use at most 63 letters, digits, hyphens, underscores and single dots; begin and end with a letter or digit",
        )
    if name in _RESERVED_NAMES:
        raise InvalidInputError(f"{name!r} is the host's own name", "choose another with --name")
    return ClientName(name)


def server_name(holder: str) -> str:
    """The DNS name in the certificate of a holder of blobs (``host`` or a client): what to check it against, whatever its address."""
    return HOST_SERVER_NAME if holder == HOST_HOLDER else f"{holder}.{CLIENT_DOMAIN}"


def make_key_and_csr(name: str) -> tuple[bytes, bytes]:
    """A new private key and a signing request for it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, check_client_name(name))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return _key_pem(key), request.public_bytes(serialization.Encoding.PEM)


def fingerprint(cert_pem: bytes) -> str:
    """SHA-256 of the certificate (DER), 64 hexadecimal digits.

    Raises:
        InvalidInputError: not a certificate.
    """
    with _reading("certificate"):
        return _certificate(cert_pem).fingerprint(hashes.SHA256()).hex()


def renewal_due_at(cert_pem: bytes) -> datetime:
    """When the certificate should be replaced: after ``RENEW_AFTER`` of the life that it had when it was issued.

    Raises:
        InvalidInputError: not a certificate.
    """
    with _reading("certificate"):
        certificate = _certificate(cert_pem)
        issued_at = certificate.not_valid_before_utc + CLOCK_SKEW
        return issued_at + (certificate.not_valid_after_utc - issued_at) * RENEW_AFTER


def needs_renewal(cert_pem: bytes, now: datetime) -> bool:
    """Whether it is time for another certificate. Raises InvalidInputError."""
    return now >= renewal_due_at(cert_pem)


def credentials_fault(credentials: Credentials, now: datetime) -> str | None:
    """Why the other side must refuse this certificate; ``None`` if nothing can be seen from here.

    Raises:
        InvalidInputError: not certificates.
    """
    certificate, authority = _certificate(credentials.cert_pem), _certificate(credentials.ca_pem)
    if now > certificate.not_valid_after_utc:
        return f"its certificate has expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_valid_before_utc:
        return "its certificate is not valid yet, so a clock is wrong"
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "its certificate is of another cluster"
    return None


def peer_of(cert_pem: bytes) -> Peer:
    """Who the certificate names; whether it is valid was decided by the TLS handshake.

    Raises:
        InvalidInputError: not a certificate of a cluster.
    """
    with _reading("certificate"):
        certificate = _certificate(cert_pem)
        return Peer(
            name=_attribute(certificate, NameOID.COMMON_NAME),
            role=_attribute(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
            enrolment=_attribute(certificate, NameOID.SERIAL_NUMBER, otherwise=""),
            expires_at_s=certificate.not_valid_after_utc.timestamp(),
        )


def _request_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    if len(csr_pem) > _CSR_BYTES_MAX:
        raise InvalidInputError(f"the signing request has {len(csr_pem)} bytes; at most {_CSR_BYTES_MAX} are allowed")
    with _reading("signing request"):
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        signed = request.is_signature_valid
    if not signed:
        raise InvalidInputError("the signing request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("the signing request has another kind of key than ECDSA P-256")
    return key


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """The parser looks into parts only when they are asked for, and answers hostile bytes with several types of errors."""
    try:
        yield
    except GswarmError:
        raise
    except Exception as error:
        raise InvalidInputError(f"the {what} cannot be read: {str(error)[:200]}") from None


def _certificate(cert_pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert_pem)
    except ValueError as error:
        raise InvalidInputError(f"this is not a certificate in PEM form: {error}") from None


def _attribute(certificate: x509.Certificate, oid: x509.ObjectIdentifier, otherwise: str | None = None) -> str:
    """``otherwise``: for a certificate without that attribute."""
    values = certificate.subject.get_attributes_for_oid(oid)
    if not values and otherwise is not None:
        return otherwise
    if len(values) != 1:
        raise InvalidInputError("the certificate is not one of a gswarm cluster")
    return str(values[0].value)


def _dns_name(text: str) -> x509.DNSName:
    try:
        return x509.DNSName(text)
    except ValueError:
        raise InvalidInputError(f"{text[:80]!r} is neither an address nor a DNS name") from None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends_at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(ends_at)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _cert_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
