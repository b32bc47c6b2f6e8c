"""A real host: what is cut when a certificate is revoked or ends, and what goes on when one is renewed."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from client_rig import ScriptedHost, rig
from pool_door import pool_door
from security_support import call_http, joined
from wire_support import EchoHost, Outbox, register

from gswarm import __version__
from gswarm.client.daemon import Client
from gswarm.client.enroll import renew
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import UnauthenticatedError, UnavailableError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import Ack, ChunkCommittedReport, ClientMessage, HostMessage, MetricBatch, Register, Registered
from gswarm.domain.plan import ClientState, SlotSpec
from gswarm.host.access.door import Door
from gswarm.host.daemon import Host
from gswarm.host.identity import RETRY_S, HostCertificate
from gswarm.sdk import Host as Api
from gswarm.wire.certificates import Peer
from gswarm.wire.client import HostConnection
from gswarm.wire.server import start_server
from gswarm.wire.tls import CertificateAuthority, ClientTls, ServerTls, client_ssl_context, renewal_due_at, server_name

A, B = ClientName("a"), ClientName("b")
BLOB_BYTES = 64 * 1024 * 1024


def config(data_dir: Path) -> HostConfig:
    return HostConfig(data_dir=str(data_dir), port=0, http_port=0, pool_port=0)


def api(host: Host, data_dir: Path) -> Api:
    return Api(host.endpoint.http_url, (data_dir / "host" / "admin.token").read_text().strip())


def registration(name: ClientName) -> Register:
    return Register(name, "i1", __version__, "", (SlotSpec(f"{name}/0", "cpu"),))  # type: ignore[arg-type]


async def stays(link: HostConnection, name: ClientName, stands: asyncio.Event) -> None:
    """A session until the host ends it."""
    async for message in link.session(aiter(Outbox(registration(name)))):
        if isinstance(message, Registered):
            stands.set()


async def measures(link: HostConnection, stands: asyncio.Event) -> None:
    async def batches() -> AsyncIterator[MetricBatch]:
        yield MetricBatch(1)
        await asyncio.Event().wait()

    async for _ in link.metrics(batches()):
        stands.set()


async def test_revoking_a_client_cuts_all_it_does_and_outlives_a_restart(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    guest, other = await asyncio.gather(*(asyncio.to_thread(joined, host.services.tokens, name) for name in ("a", "b")))
    async with (
        HostConnection(host.endpoint.grpc_address, guest, A) as link,
        HostConnection(host.endpoint.grpc_address, other, B) as standing,
    ):
        stood = [asyncio.Event() for _ in range(3)]
        session = asyncio.create_task(stays(link, A, stood[0]))
        metrics = asyncio.create_task(measures(link, stood[1]))
        others = asyncio.create_task(stays(standing, B, stood[2]))
        async with asyncio.timeout(20):
            await asyncio.gather(*(event.wait() for event in stood))
            with api(host, tmp_path) as admin:
                ends_s = (await asyncio.to_thread(admin.client, "a"))["certificate_expires_at"]
                assert 0 < ends_s - time.time() <= HostConfig().client_certificate_ttl_s
                assert await asyncio.to_thread(admin.revoke_client, "a") == {"clients": ["a"]}
            for call in (session, metrics):
                with pytest.raises(UnauthenticatedError):
                    await call
            await host.services.loop.at_rest(dict)
            assert host.services.state.clients[A].state is ClientState.LOST
            assert "revoked" in host.services.state.clients[A].lost_reason
            with pytest.raises(UnauthenticatedError, match="revoked"):
                await link.locate([Digest("0" * 64)])
        assert not others.done()
        assert host.services.sessions.connected == {B}
        others.cancel()
    await host.stop()

    again = await Host.start(config(tmp_path))
    url = f"https://127.0.0.1:{again.endpoint.pool_port}"
    async with HostConnection(again.endpoint.grpc_address, guest, A) as link:
        with pytest.raises(UnauthenticatedError, match="revoked"):
            await stays(link, A, asyncio.Event())
        assert await call_http(url, "POST", "/v1/renew", guest, guest.ca_pem, "gswarm-host") == 401
    await again.stop()


async def test_revoking_a_token_cuts_who_joined_with_it(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    tls = await asyncio.to_thread(joined, host.services.tokens, "a")
    token = next(info.id for info in host.services.tokens.list() if info.client == "a")
    async with HostConnection(host.endpoint.grpc_address, tls, A) as link, asyncio.timeout(20):
        stood = asyncio.Event()
        session = asyncio.create_task(stays(link, A, stood))
        await stood.wait()
        with api(host, tmp_path) as admin:
            assert (await asyncio.to_thread(admin.revoke_token, token))["clients"] == ["a"]
        with pytest.raises(UnauthenticatedError):
            await session
    await host.stop()


class Talker(EchoHost):
    """Talks without end."""

    said = 0

    async def session(self, peer: Peer, first: Register, messages: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        yield Registered(15.0, __version__, "c1")
        while True:
            self.said += 1
            yield Ack(self.said, accepted=False, message="x" * 10_000)


async def test_a_session_that_waits_to_be_read_is_told_that_it_is_over(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        host = Talker()
        server = await start_server(host, "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
        async with (
            HostConnection(f"127.0.0.1:{server.port}", joined(door.tokens, "a"), "a") as link,
            asyncio.timeout(20),
            aclosing(link.session(aiter(Outbox(register("a"))))) as answers,
        ):
            await anext(answers)
            said = -1
            while host.said > said:
                said = host.said
                await asyncio.sleep(0.1)
            door.tokens.revoke_client("a")
            with pytest.raises(UnauthenticatedError, match="revoked"):
                async for _ in answers:
                    pass
        await server.stop()


async def test_a_transfer_of_a_revoked_client_breaks_off_in_the_middle(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door, asyncio.timeout(30):
        guest = joined(door.tokens, "a")
        digest = door.put(b"x" * BLOB_BYTES)
        options = {"ssl": client_ssl_context(guest), "server_hostname": server_name("host")}
        url = f"{door.url}/v1/blobs/{digest}"
        async with aiohttp.ClientSession() as http:
            async with http.get(url, **options) as answer:  # type: ignore[arg-type]
                assert answer.status == 200
                await answer.content.readexactly(1024)
                door.tokens.revoke_client("a")
                with pytest.raises(aiohttp.ClientError):
                    await answer.content.readexactly(BLOB_BYTES - 1024)
            async with http.get(url, **options) as refused:  # type: ignore[arg-type]
                assert refused.status == 401

            async def endless() -> AsyncIterator[bytes]:
                door.tokens.revoke_client("b")
                while True:
                    yield b"x" * 65536

            uploading = {"ssl": client_ssl_context(joined(door.tokens, "b")), "server_hostname": server_name("host")}
            headers = {"Content-Length": str(BLOB_BYTES)}
            with suppress(aiohttp.ClientError):
                async with http.put(f"{door.url}/v1/blobs/{'0' * 64}", data=endless(), headers=headers, **uploading) as cut:  # type: ignore[arg-type]
                    assert cut.status == 401
        assert list(door.store.digests()) == [digest]


# ---- renewal ----------------------------------------------------------------------------------------------------------------


async def test_a_renewed_certificate_has_a_key_of_its_own_and_opens_the_same_doors(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        first = joined(door.tokens, "a")
        second = await renew("127.0.0.1", door.server.port, first, tmp_path / "tls")
        assert second.key_pem != first.key_pem
        assert ClientTls.load(tmp_path / "tls") == second
        for tls in (first, second):
            assert await call_http(door.url, "POST", "/v1/blobs/missing", tls, tls.ca_pem, "gswarm-host") == 200
        door.tokens.revoke_client("a")
        with pytest.raises(UnauthenticatedError):
            await renew("127.0.0.1", door.server.port, second, tmp_path / "tls")
        assert ClientTls.load(tmp_path / "tls") == second
    with pytest.raises(UnavailableError):
        await renew("127.0.0.1", 9, second, tmp_path / "tls")


async def test_a_request_to_renew_says_nothing_about_who_asks(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        guest = joined(door.tokens, "a")
        for body in ({}, {"csr": 1}, {"csr": "nonsense"}, [], {"csr": "x" * 70_000}):
            assert (await door.ask("POST", "/v1/renew", guest, json=body))[0] == 400


async def test_a_connection_goes_on_with_another_certificate(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        server = await start_server(EchoHost(), "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
        first = joined(door.tokens, "a")
        async with HostConnection(f"127.0.0.1:{server.port}", first, "a") as link, asyncio.timeout(20):
            async with aclosing(link.session(aiter(Outbox(register("a"))))) as answers:
                assert isinstance(await anext(answers), Registered)
                located = asyncio.create_task(link.locate([Digest("0" * 64)]))
                await link.renew(await renew("127.0.0.1", door.server.port, first, tmp_path / "tls"))
                with pytest.raises(UnavailableError):
                    await anext(answers)
                with suppress(UnavailableError):
                    await located
            async with aclosing(link.session(aiter(Outbox(register("a"))))) as answers:
                assert isinstance(await anext(answers), Registered)
        await link.renew(first)  # after the end: nothing happens
        await server.stop()


async def test_a_session_ends_with_its_certificate_and_a_renewed_one_opens_another(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        clock = Timers()
        server = await start_server(EchoHost(), "127.0.0.1", 0, door.authority.issue_host(), door=Door(door.tokens.check_client, clock))
        first = joined(door.tokens, "a")
        second = await renew("127.0.0.1", door.server.port, first, tmp_path / "tls")
        async with HostConnection(f"127.0.0.1:{server.port}", first, "a") as link, asyncio.timeout(20):
            async with aclosing(link.session(aiter(Outbox(register("a"))))) as answers:
                await anext(answers)
                clock.fire()
                with pytest.raises(UnavailableError, match="has ended"):
                    await anext(answers)
            with pytest.raises(UnavailableError, match="has ended"):
                await link.locate([])
            clock.time_s -= 60  # both were made within this minute, and end within one
            await link.renew(second)
            assert await link.locate([]) == {}
        await server.stop()


@pytest.mark.e2e
async def test_renewing_while_a_run_trains_disturbs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    due, begun = [datetime.now(UTC)], asyncio.Event()

    async def renew_later(*arguments: Any) -> ClientTls:
        await begun.wait()
        return await renew(*arguments)

    monkeypatch.setattr("gswarm.client.renewal.renewal_due_at", lambda cert: due.pop() if due else renewal_due_at(cert))
    monkeypatch.setattr("gswarm.client.daemon.renew", renew_later)
    async with rig(tmp_path) as plain, pool_door(tmp_path / "door", store=plain.host.store) as door:
        secure = ScriptedHost(plain.host.store, door.url)
        server = await start_server(secure, "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
        r = replace(plain, host=secure, server=server)
        client = Client(r.config(), token=door.token(), settings=replace(r.settings, pool_port=None))
        task = asyncio.create_task(client.run())
        try:
            await secure.connected()
            before = ClientTls.load(r.data_dir / "clients" / "a" / "tls")
            grant = r.grant("r1", 0, 30, does="slow")
            secure.say(grant)
            await secure.until(lambda: bool(secure.metrics_rows))
            begun.set()
            [commit] = await secure.hear(ChunkCommittedReport)
            assert (commit.generation, commit.checkpoint.step, commit.checkpoint.holders) == (grant.generation, 30, ("a", "host"))
            assert [(held.run, held.generation) for held in secure.registers[1].held] == [("r1", grant.generation)]
            assert secure.registers[0].incarnation == secure.registers[1].incarnation
            await secure.until(lambda: len({row.step for row in secure.metrics_rows}) == 30)
            after = ClientTls.load(r.data_dir / "clients" / "a" / "tls")
            assert after.key_pem != before.key_pem
            assert not task.done()
        finally:
            client.stop()
            await asyncio.wait_for(task, 20)
            await server.stop(0)


# ---- the host's own certificate ---------------------------------------------------------------------------------------------


class FakePort:
    def __init__(self) -> None:
        self.shown: asyncio.Queue[ServerTls] = asyncio.Queue()

    def renew(self, tls: ServerTls) -> None:
        self.shown.put_nowait(tls)


class Timers:
    """A clock whose timers the test fires."""

    def __init__(self) -> None:
        self.time_s = datetime.now(UTC).timestamp()
        self.set: list[tuple[float, object]] = []

    def now_s(self) -> float:
        return self.time_s

    def call_at(self, when_s: float, callback: object) -> Timers:
        self.set.append((when_s, callback))
        return self

    def cancel(self) -> None:
        self.set.clear()

    def fire(self) -> None:
        when_s, callback = self.set.pop()
        self.time_s = max(self.time_s, when_s)
        callback()  # type: ignore[operator]


async def test_the_hosts_certificate_is_replaced_when_it_is_due_and_after_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, port = Timers(), FakePort()
    certificate = HostCertificate(CertificateAuthority.create("c1"), tmp_path, "127.0.0.1", clock)
    first = certificate.issue()
    certificate.keep_fresh(first, [port])
    clock.fire()
    second = await asyncio.wait_for(port.shown.get(), 10)
    assert second.cert_pem != first.cert_pem
    assert ServerTls.load(tmp_path / "host") == second
    assert clock.set[0][0] == renewal_due_at(second.cert_pem).timestamp() > clock.time_s
    (tmp_path / "host").rename(tmp_path / "moved")
    (tmp_path / "host").write_text("in the way")
    clock.fire()
    while not clock.set:
        await asyncio.sleep(0.01)
    assert clock.set[0][0] == clock.time_s + RETRY_S
    (tmp_path / "host").unlink()
    clock.fire()
    assert await asyncio.wait_for(port.shown.get(), 10)
    await certificate.close()


async def test_ports_show_the_hosts_new_certificate_and_keep_their_connections(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as door:
        server = await start_server(EchoHost(), "127.0.0.1", 0, door.authority.issue_host(), door=door.door)
        guest = joined(door.tokens, "a")
        async with (
            HostConnection(f"127.0.0.1:{server.port}", guest, "a") as link,
            asyncio.timeout(20),
            aclosing(link.session(aiter(Outbox(register("a"))))) as answers,
        ):
            await anext(answers)
            before = [await shown_at(port, guest) for port in (server.port, door.server.port)]
            renewed = door.authority.issue_host()
            server.renew(renewed)
            door.server.renew(renewed)
            after = [await shown_at(port, guest) for port in (server.port, door.server.port)]
            assert len({*before, *after}) == 3
            assert after[0] == after[1] == ssl.PEM_cert_to_DER_cert(renewed.cert_pem.decode())
            assert await link.locate([]) == {}
        await server.stop()


async def shown_at(port: int, tls: ClientTls) -> bytes:
    """The certificate that a port shows (DER)."""
    context = client_ssl_context(tls)
    context.set_alpn_protocols(["h2"])
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name("host"))
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate
    finally:
        writer.transport.abort()
