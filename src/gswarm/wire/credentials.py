"""A certificate with its private key, on disk and in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gswarm.domain.errors import CorruptDataError, NotFoundError
from gswarm.wire.private_files import read_private, save_private

_PARTS = ("cert.pem", "key.pem", "ca.pem")
_IDENTITY = "identity.json"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its key, and the CA that both ends trust; all PEM."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    ca_pem: bytes

    def save(self, directory: Path) -> None:
        """Writes ``cert.pem``, ``key.pem`` and ``ca.pem``; only the owner may read them.

        Raises:
            StorageError: the directory cannot be written.
        """
        save_private(directory, {"ca.pem": self.ca_pem, "key.pem": self.key_pem, "cert.pem": self.cert_pem})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises:
        NotFoundError: nothing was saved there.
        CorruptDataError: the files are not a certificate and its key.
        """
        credentials = cls(*(read_private(directory / part) for part in _PARTS))
        load_pair(credentials.cert_pem, credentials.key_pem, directory)
        return credentials


class ServerTls(Credentials):
    """Of a listening port."""

    __slots__ = ()


class ClientTls(Credentials):
    """Of a connecting side, in one file: it is replaced every few days, and a crash must not leave a new key beside an old certificate."""

    __slots__ = ()

    def save(self, directory: Path) -> None:
        """Writes ``identity.json``; only the owner may read it.

        Raises:
            StorageError: the directory cannot be written.
        """
        document = {"certificate": self.cert_pem.decode(), "key": self.key_pem.decode(), "ca": self.ca_pem.decode()}
        save_private(directory, {_IDENTITY: json.dumps(document, indent=2).encode()})
        for part in _PARTS:  # of before
            (directory / part).unlink(missing_ok=True)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Also the three files of before. Raises like ``Credentials.load``."""
        path = directory / _IDENTITY
        try:
            document = json.loads(read_private(path))
            credentials = cls(*(document[part].encode() for part in ("certificate", "key", "ca")))
        except NotFoundError:
            return super().load(directory)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptDataError(f"{path} cannot be read: {error!r}", f"remove {directory} and join again") from None
        load_pair(credentials.cert_pem, credentials.key_pem, directory)
        return credentials


def load_pair(cert_pem: bytes, key_pem: bytes, where: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Raises:
    CorruptDataError: not a certificate and its key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(cert_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise CorruptDataError(f"the certificate or key in {where} cannot be read: {error}", "restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CorruptDataError(f"the key in {where} is not that of the certificate beside it", "restore both from the same backup")
    return certificate, key
