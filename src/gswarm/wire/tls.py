"""TLS contexts for gRPC, aiohttp and uvicorn out of the cluster's certificates.

Both ends trust the cluster's CA and nothing else. gRPC serves only callers with a certificate; the HTTPS port of the
pool may be asked without one (``optional``), because that is where a machine joins.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import grpc

from gswarm.domain.errors import UnauthenticatedError
from gswarm.wire.certificates import (
    CLIENT_DOMAIN,
    CLIENT_TTL,
    HOST_SERVER_NAME,
    HOST_TTL,
    ROLE_CLIENT,
    ROLE_HOST,
    CertificateAuthority,
    Peer,
    check_client_name,
    credentials_fault,
    fingerprint,
    make_key_and_csr,
    needs_renewal,
    peer_of,
    renewal_due_at,
    server_name,
)
from gswarm.wire.credentials import ClientTls, Credentials, ServerTls
from gswarm.wire.private_files import save_private

__all__ = [
    "CLIENT_DOMAIN",
    "CLIENT_TTL",
    "HOST_SERVER_NAME",
    "HOST_TTL",
    "ROLE_CLIENT",
    "ROLE_HOST",
    "CertificateAuthority",
    "ClientTls",
    "Credentials",
    "Peer",
    "ServerCertificate",
    "ServerTls",
    "check_client_name",
    "client_ssl_context",
    "credentials_fault",
    "fingerprint",
    "grpc_channel_credentials",
    "make_key_and_csr",
    "needs_renewal",
    "peer_name_from_ssl",
    "peer_of",
    "renewal_due_at",
    "save_private",
    "server_name",
    "server_ssl_context",
    "show_certificate",
]


class ServerCertificate:
    """What a gRPC port shows in its handshakes. Another certificate may take its place; connections that stand are left alone."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._shown = tls

    def renew(self, tls: ServerTls) -> None:
        """Handshakes from now on show this one."""
        self._tls = tls

    def credentials(self) -> grpc.ServerCredentials:
        """For a port that serves only callers with a certificate of the cluster."""
        return grpc.dynamic_ssl_server_credentials(_configuration(self._tls), self._changed, require_client_authentication=True)

    def _changed(self) -> Any:
        """gRPC asks before each handshake; ``None`` means that nothing is new."""
        tls = self._tls
        if tls is self._shown:
            return None
        self._shown = tls
        return _configuration(tls)


def _configuration(tls: ServerTls) -> Any:
    return grpc.ssl_server_certificate_configuration([(tls.key_pem, tls.cert_pem)], root_certificates=tls.ca_pem)


def grpc_channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(root_certificates=tls.ca_pem, private_key=tls.key_pem, certificate_chain=tls.cert_pem)


def server_ssl_context(tls: Credentials, require_client_cert: bool | Literal["optional"]) -> ssl.SSLContext:
    """For an HTTPS port.

    Args:
        tls: the host's, or the client's own where a client serves blobs.
        require_client_cert: ``True`` refuses callers without a certificate of the cluster in the handshake, ``"optional"``
            lets them in (one of another CA is still refused), ``False`` does not ask.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    if require_client_cert == "optional":
        context.verify_mode = ssl.CERT_OPTIONAL
    else:
        context.verify_mode = ssl.CERT_REQUIRED if require_client_cert else ssl.CERT_NONE
    return context


def client_ssl_context(tls: Credentials) -> ssl.SSLContext:
    """For HTTPS requests inside the cluster; pass ``server_hostname=server_name(holder)`` with each request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, tls)
    return context


def peer_name_from_ssl(peercert: Mapping[str, Any] | None) -> Peer:
    """Who ``SSLSocket.getpeercert()`` names.

    Raises:
        UnauthenticatedError: there is no certificate, or not one of a cluster.
    """
    found = peercert or {}
    subject = dict(pair for part in found.get("subject", ()) for pair in part)
    try:
        expires_at_s = float(ssl.cert_time_to_seconds(found["notAfter"]))
        return Peer(subject["commonName"], subject["organizationalUnitName"], subject.get("serialNumber", ""), expires_at_s)
    except (KeyError, ValueError):
        raise UnauthenticatedError("a client certificate of this cluster is needed", "join with a token first") from None


def _load(context: ssl.SSLContext, tls: Credentials) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=tls.ca_pem.decode())
    show_certificate(context, tls)


def show_certificate(context: ssl.SSLContext, tls: Credentials) -> None:
    """Connections that are made from now on show this certificate; those that stand are left alone."""
    # ssl reads certificate and key from files only; this directory is the caller's alone (mode 0700) and short-lived.
    with tempfile.TemporaryDirectory(prefix="gswarm-") as directory:
        cert_path, key_path = Path(directory) / "cert.pem", Path(directory) / "key.pem"
        cert_path.write_bytes(tls.cert_pem)
        key_path.write_bytes(tls.key_pem)
        context.load_cert_chain(cert_path, key_path)
