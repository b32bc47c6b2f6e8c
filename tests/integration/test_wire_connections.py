"""What happens when a connection cannot be made, dies or is left, and when there are many."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing, suppress

import pytest
from wire_support import FAST, FAST_SERVER, EchoHost, Outbox, Relay, client_tls, converse, linked, register, running

from gswarm.domain.errors import UnavailableError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import Ack, GrantReturnedReport, HostMessage, Registered
from gswarm.wire.client import HostConnection
from gswarm.wire.server import ServerLimits, start_server
from gswarm.wire.tls import CertificateAuthority, ClientTls


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("c1")


async def test_nobody_there_is_unavailable(ca: CertificateAuthority) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with HostConnection(f"127.0.0.1:{closed.getsockname()[1]}", client_tls(ca, "a"), "a", FAST) as link:
            with pytest.raises(UnavailableError, match="cannot be reached"):
                await converse(link, register("a"))
            with pytest.raises(UnavailableError, match="cannot be reached"):
                await link.locate([])


async def test_a_port_that_says_nothing_is_unavailable(ca: CertificateAuthority) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        async with HostConnection(f"127.0.0.1:{mute.getsockname()[1]}", client_tls(ca, "a"), "a", FAST) as link, asyncio.timeout(10):
            with pytest.raises(UnavailableError):
                await converse(link, register("a"))


@pytest.mark.parametrize("secure", [True, False])
async def test_a_silent_connection_is_noticed_by_both(ca: CertificateAuthority, secure: bool) -> None:
    host = EchoHost()
    async with running(host, ca.issue_host() if secure else None) as server:
        relay = Relay(server.port)
        port = await relay.start()
        async with (
            HostConnection(f"127.0.0.1:{port}", client_tls(ca, "a") if secure else None, "a", FAST) as link,
            aclosing(link.session(aiter(Outbox(register("a"))))) as answers,
            asyncio.timeout(10),
        ):
            assert isinstance(await anext(answers), Registered)
            relay.silence()
            with pytest.raises(UnavailableError):
                await anext(answers)
            assert await host.ended.get() == "a"
        await relay.stop()


async def test_a_reset_connection_is_noticed_at_once_and_the_link_works_again(ca: CertificateAuthority) -> None:
    host = EchoHost()
    limits = ServerLimits()
    async with running(host, ca.issue_host(), limits) as server:
        relay = Relay(server.port)
        async with HostConnection(f"127.0.0.1:{await relay.start()}", client_tls(ca, "a"), "a") as link:
            async with aclosing(link.session(aiter(Outbox(register("a"))))) as answers, asyncio.timeout(2):
                await anext(answers)
                relay.reset()
                with pytest.raises(UnavailableError):
                    await anext(answers)
                assert await host.ended.get() == "a"
            async with asyncio.timeout(10):
                assert len(await converse_again(link)) == 1
        await relay.stop()


async def converse_again(link: HostConnection) -> list[HostMessage]:
    """As a client does: gRPC may hand out the broken connection once more before it has noticed."""
    while True:
        try:
            return await converse(link, register("a"))
        except UnavailableError:
            continue


async def test_a_lost_call_takes_no_message_away_from_the_next_one(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with running(host, ca.issue_host()) as server:
        relay = Relay(server.port)
        async with HostConnection(f"127.0.0.1:{await relay.start()}", client_tls(ca, "a"), "a") as link, asyncio.timeout(10):
            outbox = Outbox(register("a"))
            async with aclosing(link.session(aiter(outbox))) as answers:
                await anext(answers)
                relay.reset()
                with pytest.raises(UnavailableError):
                    await anext(answers)
            await converse_again(link)
            outbox.put(register("a"))
            async with aclosing(link.session(aiter(outbox))) as answers:
                assert isinstance(await anext(answers), Registered)
        await relay.stop()


async def test_a_host_that_comes_back_is_found_soon(ca: CertificateAuthority) -> None:
    tls = ca.issue_host()
    async with running(EchoHost(), tls) as server:
        port = server.port
        link = HostConnection(f"127.0.0.1:{port}", client_tls(ca, "a"), "a", FAST)
        await converse(link, register("a"))
    for _ in range(10):
        with pytest.raises(UnavailableError):
            await converse(link, register("a"))
    async with running(EchoHost(), tls, port=port), asyncio.timeout(4):
        while True:
            try:
                await converse(link, register("a"))
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    await link.close()


async def test_leaving_a_session_ends_it_at_the_host() -> None:
    host = EchoHost()
    async with linked(host, None, None) as link, asyncio.timeout(5):
        async with aclosing(link.session(aiter(Outbox(register("a"))))) as answers:
            await anext(answers)
        assert await host.ended.get() == "a"


async def test_cancelling_a_session_stays_a_cancellation() -> None:
    async def listen(link: HostConnection, registered: asyncio.Event) -> None:
        async for _ in link.session(aiter(Outbox(register("a")))):
            registered.set()

    host = EchoHost()
    async with linked(host, None, None) as link, asyncio.timeout(5):
        registered = asyncio.Event()
        session = asyncio.create_task(listen(link, registered))
        await registered.wait()
        session.cancel()
        with pytest.raises(asyncio.CancelledError):
            await session
        assert await host.ended.get() == "a"


async def test_closing_the_connection_ends_the_session_with_an_error() -> None:
    async with running(EchoHost(), None) as server, asyncio.timeout(5):
        link = HostConnection(f"127.0.0.1:{server.port}", None, "a", FAST)
        answers = link.session(aiter(Outbox(register("a"))))
        await anext(answers)
        await link.close()
        with pytest.raises(UnavailableError):
            await anext(answers)
        with pytest.raises(UnavailableError, match="closed"):
            await converse(link, register("a"))
        with pytest.raises(UnavailableError, match="closed"):
            await link.locate([])


async def test_stopping_the_server_ends_sessions() -> None:
    host = EchoHost()
    async with asyncio.timeout(5):
        server = await start_server(host, "127.0.0.1", 0, None, FAST_SERVER)
        async with HostConnection(f"127.0.0.1:{server.port}", None, "a", FAST) as link:
            answers = link.session(aiter(Outbox(register("a"))))
            await anext(answers)
            await server.stop(0)
            with pytest.raises(UnavailableError):
                await anext(answers)
            assert await host.ended.get() == "a"


async def test_too_many_calls_are_refused_not_queued() -> None:
    async with (
        linked(EchoHost(), None, None, limits=ServerLimits(calls_max=1)) as link,
        aclosing(link.session(aiter(Outbox(register("a"))))) as answers,
        asyncio.timeout(5),
    ):
        await anext(answers)
        with pytest.raises(UnavailableError, match="as many calls as it takes"):
            await link.locate([])


async def test_two_hundred_sessions_at_once(ca: CertificateAuthority) -> None:
    host = EchoHost()
    names = [f"node-{index}" for index in range(200)]

    async def one(port: int, name: str, tls: ClientTls) -> None:
        outbox = Outbox(register(name))
        async with HostConnection(f"127.0.0.1:{port}", tls, name) as link, aclosing(link.session(aiter(outbox))) as answers:
            assert isinstance(await anext(answers), Registered)
            started.append(name)
            if len(started) == len(names):
                all_started.set()
            await all_started.wait()
            for seq in range(5):
                outbox.put(GrantReturnedReport(seq, RunId("r1"), 1))
                assert await anext(answers) == Ack(seq, True)

    started: list[str] = []
    all_started = asyncio.Event()
    async with running(host, ca.issue_host(), ServerLimits()) as server, asyncio.timeout(60), asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(server.port, name, client_tls(ca, name)))
    assert {peer.name for peer in host.peers} == set(names)


async def test_credentials_of_one_channel_are_those_of_its_client(ca: CertificateAuthority) -> None:
    """Two clients in one process must not share a connection, or one would act as the other."""
    host = EchoHost()
    async with running(host, ca.issue_host()) as server:
        target = f"127.0.0.1:{server.port}"
        async with (
            HostConnection(target, client_tls(ca, "a"), "a", FAST) as one,
            HostConnection(target, client_tls(ca, "b"), "b", FAST) as two,
        ):
            await asyncio.gather(one.locate([]), two.locate([]))
    assert {peer.name for peer in host.peers} == {"a", "b"}


async def test_connections_are_bounded_and_so_are_their_handshakes(ca: CertificateAuthority) -> None:
    limits = ServerLimits(connections_max=2, handshake_timeout_s=0.3)
    async with running(EchoHost(), ca.issue_host(), limits) as server, asyncio.timeout(20):
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for reader, writer in reversed(opened):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.transport.abort()
        async with HostConnection(f"127.0.0.1:{server.port}", client_tls(ca, "a"), "a", FAST) as link:
            assert await link.locate([]) == {}
