from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gswarm.domain.errors import CorruptDataError, InvalidInputError, NotFoundError, StorageError, UnauthenticatedError
from gswarm.wire.tls import (
    CertificateAuthority,
    ClientTls,
    Peer,
    ServerTls,
    check_client_name,
    client_ssl_context,
    credentials_fault,
    fingerprint,
    make_key_and_csr,
    needs_renewal,
    peer_name_from_ssl,
    peer_of,
    server_name,
    server_ssl_context,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("c1", NOW)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_ca_survives_saving_and_only_its_owner_can_read_it(ca: CertificateAuthority, tmp_path: Path) -> None:
    directory = tmp_path / "host" / "tls"
    ca.save(directory)
    ca.save(directory)
    assert mode(directory) == 0o700
    assert {path.name: mode(path) for path in directory.iterdir()} == {"ca.pem": 0o600, "ca-key.pem": 0o600}
    again = CertificateAuthority.load(directory)
    assert (again.cluster_id, again.fingerprint) == ("c1", ca.fingerprint) == ("c1", fingerprint((directory / "ca.pem").read_bytes()))
    assert len(again.fingerprint) == 64
    key_pem, csr_pem = make_key_and_csr("a")
    tls = ClientTls(again.issue_client(csr_pem, "a", now=NOW), key_pem, ca.ca_pem)
    assert credentials_fault(tls, NOW) is None


def test_a_ca_that_is_not_there_or_broken(ca: CertificateAuthority, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        CertificateAuthority.load(tmp_path)
    ca.save(tmp_path)
    CertificateAuthority.create("c2").save(tmp_path / "other")
    (tmp_path / "ca-key.pem").write_bytes((tmp_path / "other" / "ca-key.pem").read_bytes())
    with pytest.raises(CorruptDataError, match="not that of the certificate"):
        CertificateAuthority.load(tmp_path)
    (tmp_path / "ca-key.pem").write_bytes(b"garbage")
    with pytest.raises(CorruptDataError):
        CertificateAuthority.load(tmp_path)


def test_a_directory_that_cannot_be_written(ca: CertificateAuthority, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        ca.save(tmp_path / "file" / "tls")


def test_credentials_survive_saving(ca: CertificateAuthority, tmp_path: Path) -> None:
    tls = ca.issue_host(now=NOW)
    tls.save(tmp_path / "tls")
    assert ServerTls.load(tmp_path / "tls") == tls
    assert type(ServerTls.load(tmp_path / "tls")) is ServerTls
    assert {mode(path) for path in (tmp_path / "tls").iterdir()} == {0o600}
    assert b"PRIVATE" not in repr(tls).encode()
    with pytest.raises(NotFoundError):
        ClientTls.load(tmp_path)


def test_the_hosts_certificate(ca: CertificateAuthority) -> None:
    tls = ca.issue_host(["gpu.example.org", "10.0.0.7", "localhost"], now=NOW)
    certificate = x509.load_pem_x509_certificate(tls.cert_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gswarm-host", "localhost", "gpu.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]
    assert peer_of(tls.cert_pem) == Peer("gswarm-host", "host")
    assert tls.ca_pem == ca.ca_pem
    with pytest.raises(InvalidInputError, match="neither an address nor a DNS name"):
        ca.issue_host(["münchen"])


def test_a_clients_certificate_says_what_the_host_decided(ca: CertificateAuthority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "gswarm-host"), x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "host")]
    )
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(asked)
        .add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("gswarm-host")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_pem = ca.issue_client(request.public_bytes(serialization.Encoding.PEM), "Node-A", timedelta(days=7), NOW)
    certificate = x509.load_pem_x509_certificate(cert_pem)
    extensions = certificate.extensions
    assert peer_of(cert_pem) == Peer("node-a", "client")
    assert certificate.public_key() == key.public_key()
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        "node-a.client.gswarm.internal"
    ]
    purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)


def test_no_certificate_outlives_the_ca(ca: CertificateAuthority) -> None:
    certificate = x509.load_pem_x509_certificate(ca.issue_host(ttl=timedelta(days=100_000), now=NOW).cert_pem)
    assert certificate.not_valid_after_utc == x509.load_pem_x509_certificate(ca.ca_pem).not_valid_after_utc


def _rsa_request() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _forged_request() -> bytes:
    """A request whose key is another one than the one that signed it."""
    _, csr_pem = make_key_and_csr("a")
    der = x509.load_pem_x509_csr(csr_pem).public_bytes(serialization.Encoding.DER)
    _, other_pem = make_key_and_csr("a")
    ours, others = (
        x509.load_pem_x509_csr(pem).public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for pem in (csr_pem, other_pem)
    )
    return x509.load_der_x509_csr(der.replace(ours, others)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("csr_pem", "part"),
    [
        (b"", "cannot be read"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"),
        (b"x" * 20_000, "20000 bytes"),
        (_rsa_request(), "ECDSA P-256"),
        (_forged_request(), "not signed by its own key"),
    ],
)
def test_bad_requests_are_refused(ca: CertificateAuthority, csr_pem: bytes, part: str) -> None:
    with pytest.raises(InvalidInputError, match=part):
        ca.issue_client(csr_pem, "a")


@pytest.mark.parametrize("name", ["a", "node-1", "gpu_7.rack-2", "0", "a" * 63, "Node-A"])
def test_names_that_are_allowed(name: str) -> None:
    assert check_client_name(name) == name.lower()


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", ".a", "a.", "a..b", "a b", "a/b", "ä", "a\n", "a" * 64, "host", "Host", "gswarm-host", "GSWARM-HOST", "*", "a.*"],
)
def test_names_that_are_not(ca: CertificateAuthority, name: str) -> None:
    _, csr_pem = make_key_and_csr("a")
    with pytest.raises(InvalidInputError):
        ca.issue_client(csr_pem, name)
    with pytest.raises(InvalidInputError):
        make_key_and_csr(name)


def test_server_names() -> None:
    assert server_name("host") == "gswarm-host"
    assert server_name("node-1") == "node-1.client.gswarm.internal"


def test_renewal_is_due_after_a_third(ca: CertificateAuthority) -> None:
    cert_pem = ca.issue_host(ttl=timedelta(hours=24), now=NOW).cert_pem
    assert not needs_renewal(cert_pem, NOW)
    assert not needs_renewal(cert_pem, NOW + timedelta(hours=7, minutes=59))
    assert needs_renewal(cert_pem, NOW + timedelta(hours=8))
    with pytest.raises(InvalidInputError):
        needs_renewal(b"no certificate", NOW)


def test_why_a_certificate_will_be_refused(ca: CertificateAuthority) -> None:
    tls = ca.issue_host(ttl=timedelta(days=2), now=NOW)
    assert credentials_fault(tls, NOW) is None
    assert "expired" in (credentials_fault(tls, NOW + timedelta(days=3)) or "")
    assert "clock" in (credentials_fault(tls, NOW - timedelta(days=1)) or "")
    stranger = ServerTls(tls.cert_pem, tls.key_pem, CertificateAuthority.create("c2").ca_pem)
    assert "another cluster" in (credentials_fault(stranger, NOW) or "")
    namesake = ServerTls(tls.cert_pem, tls.key_pem, CertificateAuthority.create("c1").ca_pem)
    assert "another cluster" in (credentials_fault(namesake, NOW) or "")


def test_the_peer_in_a_certificate_of_ssl() -> None:
    subject = ((("organizationName", "c1"),), (("organizationalUnitName", "client"),), (("commonName", "a"),))
    ends = "Jan  1 00:00:00 2030 GMT"
    assert peer_name_from_ssl({"subject": subject, "notAfter": ends}) == Peer("a", "client")
    enrolled = peer_name_from_ssl({"subject": (*subject, (("serialNumber", "e1"),)), "notAfter": ends})
    assert (enrolled.enrolment, enrolled.expires_at_s) == ("e1", NOW.timestamp())
    for nothing in (None, {}, {"subject": ()}, {"subject": subject[:2], "notAfter": ends}, {"subject": subject, "notAfter": "never"}):
        with pytest.raises(UnauthenticatedError):
            peer_name_from_ssl(nothing)
    with pytest.raises(InvalidInputError, match="not one of a gswarm cluster"):
        peer_of(CertificateAuthority.create("c1").ca_pem)


def test_ssl_contexts_leave_no_key_behind(ca: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tls = ca.issue_host()
    server_ssl_context(tls, require_client_cert=True)
    client_ssl_context(tls)
    assert list(tmp_path.iterdir()) == []
