"""Who this host is: the cluster's CA, the host's own certificate, the local admin's token, and where it answers."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gswarm.domain.errors import ConflictError, GswarmError, NotFoundError, StorageError, UnauthenticatedError
from gswarm.host.access.auth import TokenStore
from gswarm.host.clock import Clock, TimerHandle
from gswarm.wire.tls import CertificateAuthority, ServerTls, renewal_due_at, save_private

RETRY_S = 3600.0
"""After a renewal of the host's certificate that failed; two thirds of its life are left then."""
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound to

_log = logging.getLogger("gswarm.host")


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


class Port(Protocol):
    """Something that listens with the host's certificate."""

    def renew(self, tls: ServerTls) -> None:
        """Shows another certificate from the next connection on."""


class HostCertificate:
    """The host's own certificate: a new one at each start, and another one before it ends.

    Args:
        tls_dir: it is saved in ``host`` below this, for the HTTPS port of the API.
        bind: an address that it names, besides those of this machine.
    """

    def __init__(self, authority: CertificateAuthority, tls_dir: Path, bind: str, clock: Clock) -> None:
        self._authority = authority
        self._directory = tls_dir / "host"
        self._names = tuple(dict.fromkeys(name for name in (bind, socket.gethostname()) if _fits_certificate(name)))
        self._clock = clock
        self._timer: TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    def issue(self) -> ServerTls:
        """Blocks for the disk. Raises StorageError."""
        tls = self._authority.issue_host(self._names, now=datetime.fromtimestamp(self._clock.now_s(), UTC))
        tls.save(self._directory)
        return tls

    def keep_fresh(self, tls: ServerTls, ports: Sequence[Port]) -> None:
        """From now on the ports get another certificate whenever the last one, ``tls`` at first, is due for renewal."""
        self._arm(renewal_due_at(tls.cert_pem).timestamp(), ports)

    def _arm(self, due_s: float, ports: Sequence[Port]) -> None:
        self._timer = self._clock.call_at(due_s, lambda: self._begin(ports))

    def _begin(self, ports: Sequence[Port]) -> None:
        self._renewing = asyncio.get_running_loop().create_task(self._renew(ports), name="host-certificate")

    async def _renew(self, ports: Sequence[Port]) -> None:
        try:
            tls = await asyncio.to_thread(self.issue)
        except GswarmError as error:
            _log.error("the host's certificate was not renewed: %s; next try in %.0f s", error, RETRY_S)
            self._arm(self._clock.now_s() + RETRY_S, ports)
            return
        for port in ports:
            port.renew(tls)
        _log.info("the host's certificate was renewed")
        self.keep_fresh(tls, ports)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)


def _fits_certificate(name: str) -> bool:
    return name not in WILDCARDS and name.isascii() and len(name) <= 253


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
    """The port that stands in the file, or 0: clients keep the pool's port, so it should stay the same."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def write_private(path: Path, text: str) -> None:
    """Replaces a small file (mode 0600) in one step. Raises StorageError."""
    save_private(path.parent, {path.name: text.encode()})


def make_directory(path: Path) -> None:
    """Raises StorageError when the directory cannot be made or written."""
    try:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(20, "it is a file, not a directory")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS, "its file system is read-only") if is_read_only else PermissionError(13, "permission denied")
    except OSError as error:
        raise StorageError(
            f"the data directory {path} cannot be written: {error.strerror}", "correct its owner and mode, or choose another"
        ) from error
