"""Who this host is: the cluster's CA, the host's own certificate, the local admin's token, and where it answers."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from gswarm.domain.errors import ConflictError, NotFoundError, StorageError, UnauthenticatedError
from gswarm.host.auth import TokenStore
from gswarm.wire.tls import CertificateAuthority, ServerTls, save_private

WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound to


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``endpoint.json``: how this machine's programs find the running host."""

    http_url: str
    grpc_address: str
    pool_port: int
    pid: int
    ca_path: str
    insecure: bool


def open_authority(tls_dir: Path, journal: Path, new_cluster_id: str) -> CertificateAuthority:
    """The cluster's CA, made at the first start.

    Raises:
        ConflictError: there is a plan already, but the CA that its clients trust is gone.
        CorruptDataError: the CA's files are damaged.
    """
    try:
        return CertificateAuthority.load(tls_dir)
    except NotFoundError as error:
        if journal.exists():
            raise ConflictError(
                f"{journal} has no certificate authority beside it in {tls_dir}", "restore both from the same backup"
            ) from error
    authority = CertificateAuthority.create(new_cluster_id)
    authority.save(tls_dir)
    return authority


def issue_host_certificate(authority: CertificateAuthority, tls_dir: Path, bind: str) -> ServerTls:
    """A new certificate at each start, so that it never runs out; also saved for the HTTPS port of the API."""
    names = dict.fromkeys(name for name in (bind, socket.gethostname()) if name not in WILDCARDS)
    tls = authority.issue_host(tuple(name for name in names if _fits_certificate(name)))
    tls.save(tls_dir / "host")
    return tls


def _fits_certificate(name: str) -> bool:
    return name.isascii() and 0 < len(name) <= 253


def ensure_admin_token(tokens: TokenStore, path: Path) -> None:
    """Keeps the local admin's token valid in ``path`` (mode 0600), where the command line of this account finds it."""
    try:
        if tokens.authenticate(path.read_text().strip()).role == "admin":
            return
    except (OSError, UnauthenticatedError, UnicodeDecodeError):
        path.unlink(missing_ok=True)
    write_private(path, tokens.create("admin").text + "\n")


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    write_private(path, json.dumps(asdict(endpoint), indent=2) + "\n")


def remembered_port(path: Path) -> int:
    """The port that ``remember_port`` wrote, or 0: clients keep the pool's port, so it should stay the same."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def write_private(path: Path, text: str) -> None:
    """Replaces a small file (mode 0600) in one step. Raises StorageError."""
    save_private(path.parent, {path.name: text.encode()})


def open_socket(bind: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it each answer waits some 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind, port))
    except OSError:
        listener.close()
        raise
    return listener


def make_directory(path: Path) -> None:
    """Raises StorageError when the directory cannot be made or written."""
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(20, "it is a file, not a directory")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise StorageError(
            f"the data directory {path} cannot be written: {error.strerror}", "correct its owner and mode, or choose another"
        ) from error
