"""The host's port for machines without a plan behind it: who joins, fetches and leaves is up to the test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp

from gswarm.datapool.disk import DiskStore
from gswarm.domain.errors import ForbiddenError
from gswarm.domain.ids import ClientName, Digest
from gswarm.host.access.audit import AuditLog
from gswarm.host.access.auth import Revoked, TokenStore
from gswarm.host.access.door import Door
from gswarm.host.access.rights import PoolRights
from gswarm.host.clock import SystemClock
from gswarm.host.pool import PoolServer
from gswarm.wire.tls import CertificateAuthority, ClientTls, client_ssl_context, make_key_and_csr, server_name


@dataclass
class FakeRights:
    """Everybody may do everything but with what is forbidden."""

    forbidden: set[tuple[str, Digest]] = field(default_factory=set)
    brought: list[tuple[str, Digest]] = field(default_factory=list)

    async def check_fetch(self, client: ClientName, digest: Digest) -> None:
        if not await self.owned(client, {digest}):
            raise ForbiddenError(f"{client} may not have {digest}")

    def check_leave(self, client: ClientName, digest: Digest) -> None:
        return

    async def owned(self, client: ClientName, digests: Set[Digest]) -> set[Digest]:
        return {digest for digest in digests if (client, digest) not in self.forbidden}

    def bring(self, client: ClientName, digest: Digest) -> None:
        self.brought.append((client, digest))


@dataclass
class PoolDoor:
    server: PoolServer
    door: Door
    tokens: TokenStore
    authority: CertificateAuthority
    store: DiskStore
    rights: FakeRights
    alive: set[str]
    audit: AuditLog
    now_s: Callable[[], float]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    def token(self) -> str:
        return self.tokens.create("client").text

    def anyone(self) -> ssl.SSLContext:
        """Trusts the cluster, shows no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority.ca_pem.decode())
        return context

    def member(self, name: str) -> ClientTls:
        """A client's certificate, as joining gives it."""
        key, csr = make_key_and_csr(name)
        token = self.tokens.create("client", client=name).text
        return ClientTls(self.tokens.enrol(token, name, csr), key, self.authority.ca_pem)

    async def ask(self, method: str, path: str, tls: ClientTls | None = None, **options: Any) -> tuple[int, Any]:
        """The status and what came as JSON, else as bytes."""
        context = client_ssl_context(tls) if tls is not None else self.anyone()
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.url + path, ssl=context, server_hostname=server_name("host"), **options) as answer,
        ):
            return answer.status, await (answer.json() if "json" in answer.content_type else answer.read())

    async def join(self, body: Any, tls: ClientTls | None = None) -> tuple[int, dict[str, Any]]:
        """``tls``: a certificate to show."""
        return await self.ask("POST", "/v1/join", tls, json=body)

    def put(self, data: bytes) -> Digest:
        with self.store.ingest() as ingest:
            ingest.write(data)
            return ingest.commit()


@asynccontextmanager
async def pool_door(directory: Path, now_s: Callable[[], float] | None = None, store: DiskStore | None = None) -> AsyncIterator[PoolDoor]:
    """A door in ``directory``, also one that was there before."""
    directory.mkdir(exist_ok=True)
    clock = SystemClock()
    now_s = now_s or clock.now_s
    if (directory / "authority").exists():
        authority = CertificateAuthority.load(directory / "authority")
    else:
        authority = CertificateAuthority.create("cluster-1")
        authority.save(directory / "authority")
    own = store or DiskStore(directory / "store")
    port = 8092
    tokens = TokenStore(directory / "auth.db", authority, lambda: port, now_s)
    door, rights, alive = Door(tokens.check_client, clock), FakeRights(), set[str]()

    def show_out(revoked: Revoked) -> None:
        for client in revoked.clients:
            door.show_out(client)

    tokens.watch(show_out)
    audit = AuditLog(directory / "audit", now_s)
    server = PoolServer(own, tokens, authority.issue_host(), door, cast(PoolRights, rights), alive.__contains__, audit, now_s)
    await server.start("127.0.0.1", 0)
    port = server.port
    try:
        yield PoolDoor(server, door, tokens, authority, own, rights, alive, audit, now_s)
    finally:
        await server.stop()
        tokens.close()
        audit.close()
        if store is None:
            own.close()
