"""Real gRPC sessions over loopback: who gets in, and what errors become."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest
from wire_support import FAST, EchoHost, client_tls, converse, linked, register, running

from gswarm.domain.errors import (
    ConflictError,
    ForbiddenError,
    GswarmError,
    IncompatibleVersionError,
    InvalidInputError,
    LimitError,
    UnauthenticatedError,
    UnavailableError,
)
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.messages import Ack, ClientMessage, Goodbye, GrantReturnedReport, Heartbeat, MetricBatch, Registered, StepMetrics
from gswarm.wire import convert
from gswarm.wire.client import HostConnection
from gswarm.wire.methods import CLIENT_NAME_KEY, SESSION_METHOD
from gswarm.wire.server import ServerLimits, start_server
from gswarm.wire.tls import HOST_SERVER_NAME, CertificateAuthority, ClientTls, Peer


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("c1")


@pytest.fixture(scope="module")
def other_ca() -> CertificateAuthority:
    return CertificateAuthority.create("c2")


async def test_a_session_over_mtls(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with linked(host, ca.issue_host(), client_tls(ca, "a")) as link:
        answers = await converse(link, register("a"), GrantReturnedReport(7, RunId("r1"), 3), Goodbye("done"))
    assert isinstance(answers[0], Registered)
    assert answers[1:] == [Ack(7, True), Ack(0, True)]
    assert host.peers == [Peer("a", "client")]


async def test_the_name_of_the_address_does_not_matter(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with running(host, ca.issue_host()) as server, HostConnection(f"localhost:{server.port}", client_tls(ca, "a"), "a", FAST) as link:
        assert len(await converse(link, register("a"))) == 1


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:1", "https://10.0.0.7", "https://a@10.0.0.7:1", "https://10.0.0.7:1/x", "https://[::1", "file:///etc/passwd"]
)
async def test_a_clients_pool_is_a_place_behind_tls_and_nothing_else(ca: CertificateAuthority, url: str) -> None:
    host = EchoHost()
    async with linked(host, ca.issue_host(), client_tls(ca, "a")) as link:
        with pytest.raises(InvalidInputError, match="no address of a client's pool"):
            await converse(link, replace(register("a"), data_url=url))
        assert host.peers == []
        for good in ("https://10.0.0.7:4000", "https://[fd00::7]:4000", "https://node-7.lan:4000"):
            assert len(await converse(link, replace(register("a"), data_url=good))) == 1


async def test_metrics_and_locate(ca: CertificateAuthority) -> None:
    digest = Digest("ab" * 32)

    async def batches() -> AsyncIterator[MetricBatch]:
        for seq in range(3):
            yield MetricBatch(seq, (StepMetrics(RunId("r1"), 1, seq, 5.0, (("loss", float("nan")),)),))

    host = EchoHost()
    async with linked(host, ca.issue_host(), client_tls(ca, "a")) as link:
        assert [seq async for seq in link.metrics(batches())] == [0, 1, 2]
        assert await link.locate([digest]) == {digest: [("https://10.0.0.7:4000", "a"), ("https://10.0.0.1:8092", "host")]}
    assert set(host.peers) == {Peer("a", "client")}


async def test_a_client_of_another_cluster_is_refused(ca: CertificateAuthority, other_ca: CertificateAuthority) -> None:
    stranger = client_tls(other_ca, "a")
    tls = ClientTls(stranger.cert_pem, stranger.key_pem, ca.ca_pem)
    host = EchoHost()
    async with linked(host, ca.issue_host(), tls) as link:
        with pytest.raises(UnauthenticatedError, match="another cluster"):
            await converse(link, register("a"))
    assert host.peers == []


async def test_a_host_of_another_cluster_is_refused(ca: CertificateAuthority, other_ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with linked(host, other_ca.issue_host(), client_tls(ca, "a")) as link:
        with pytest.raises(UnauthenticatedError, match="could not prove that it belongs to this cluster"):
            await converse(link, register("a"))
    assert host.peers == []


async def test_a_client_cannot_pose_as_the_host(ca: CertificateAuthority) -> None:
    impostor = client_tls(ca, "mallory")
    host = EchoHost()
    tls = type(ca.issue_host())(impostor.cert_pem, impostor.key_pem, impostor.ca_pem)
    async with linked(host, tls, client_tls(ca, "a")) as link:
        with pytest.raises(UnauthenticatedError):
            await converse(link, register("a"))
    assert host.peers == []


async def test_no_certificate_is_refused(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with running(host, ca.issue_host()) as server:
        credentials = grpc.ssl_channel_credentials(root_certificates=ca.ca_pem)
        options = [("grpc.ssl_target_name_override", HOST_SERVER_NAME)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.stream_stream(SESSION_METHOD)(iter([convert.encode(register("a"))])).read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert host.peers == []


async def test_plaintext_to_a_tls_port_is_refused(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with linked(host, ca.issue_host(), None) as link:
        with pytest.raises(UnavailableError):
            await converse(link, register("a"))
    assert host.peers == []


async def test_tls_to_a_plaintext_port_says_so(ca: CertificateAuthority) -> None:
    async with linked(EchoHost(), None, client_tls(ca, "a")) as link:
        with pytest.raises(UnauthenticatedError, match="does not speak TLS"):
            await converse(link, register("a"))


async def test_an_expired_client_certificate_is_refused(ca: CertificateAuthority) -> None:
    old = client_tls(ca, "a", now=datetime.now(UTC) - timedelta(days=3), ttl=timedelta(days=1))
    host = EchoHost()
    async with linked(host, ca.issue_host(), old) as link:
        with pytest.raises(UnauthenticatedError, match="expired"):
            await converse(link, register("a"))
    assert host.peers == []


async def test_an_expired_host_certificate_is_refused(ca: CertificateAuthority) -> None:
    old = ca.issue_host(ttl=timedelta(days=1), now=datetime.now(UTC) - timedelta(days=3))
    async with linked(EchoHost(), old, client_tls(ca, "a")) as link:
        with pytest.raises(UnauthenticatedError, match="expired"):
            await converse(link, register("a"))


async def test_another_clients_name_is_refused(ca: CertificateAuthority) -> None:
    host = EchoHost()
    async with linked(host, ca.issue_host(), client_tls(ca, "a"), "b") as link:
        with pytest.raises(ForbiddenError, match="'a' cannot speak as 'b'"):
            await converse(link, register("b"))
        with pytest.raises(ForbiddenError, match="'a' cannot speak as 'b'"):
            await link.locate([])
    async with linked(host, ca.issue_host(), client_tls(ca, "a"), "a") as link:
        with pytest.raises(ForbiddenError, match="'a' cannot register as 'b'"):
            await converse(link, register("b"))
    assert host.peers == []


async def test_the_hosts_own_certificate_is_no_client(ca: CertificateAuthority) -> None:
    own = ca.issue_host()
    tls = ClientTls(own.cert_pem, own.key_pem, own.ca_pem)
    async with linked(EchoHost(), own, tls, "gswarm-host") as link:
        with pytest.raises(ForbiddenError):
            await link.locate([])


async def test_another_version_is_told_what_to_do() -> None:
    async with linked(EchoHost(), None, None) as link:
        with pytest.raises(IncompatibleVersionError, match=r"99\.1\.0.*install gswarm"):
            await converse(link, register("a", "99.1.0"))


async def test_plaintext_names_itself_and_register_must_agree() -> None:
    host = EchoHost()
    async with linked(host, None, None) as link:
        assert len(await converse(link, register("a"))) == 1
        with pytest.raises(ForbiddenError):
            await converse(link, register("b"))
    assert host.peers == [Peer("a", "client")]


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
async def test_plaintext_only_on_loopback(bind: str) -> None:
    with pytest.raises(InvalidInputError, match="plaintext"):
        await start_server(EchoHost(), bind, 0, None)


async def test_a_port_in_use_is_named(ca: CertificateAuthority) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} on 127.0.0.1 is in use"):
            await start_server(EchoHost(), "127.0.0.1", port, ca.issue_host())


async def test_two_hosts_cannot_share_a_port(ca: CertificateAuthority) -> None:
    async with running(EchoHost(), ca.issue_host()) as server:
        with pytest.raises(ConflictError):
            await start_server(EchoHost(), "127.0.0.1", server.port, ca.issue_host())


async def test_an_address_of_another_machine_is_refused(ca: CertificateAuthority) -> None:
    with pytest.raises(InvalidInputError, match="cannot listen"):
        await start_server(EchoHost(), "192.0.2.1", 0, ca.issue_host())


async def test_errors_of_the_handler_arrive_typed() -> None:
    error = ConflictError("the run is completed", "clone it", ("clone", "delete"))
    async with linked(EchoHost(fail=lambda message: error), None, None) as link:
        with pytest.raises(ConflictError) as raised:
            await converse(link, register("a"), Heartbeat(1.0))
    assert (raised.value.message, raised.value.hint, raised.value.possible) == (error.message, error.hint, error.possible)


async def test_an_unexpected_error_does_not_leak_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async with linked(EchoHost(fail=lambda message: RuntimeError("secret")), None, None) as link:
        with pytest.raises(GswarmError) as raised:
            await converse(link, register("a"), Heartbeat(1.0))
    assert raised.value.code == "internal"
    assert "secret" not in str(raised.value)
    assert "an RPC failed unexpectedly" in caplog.text


async def _raw_session(port: int, *messages: bytes) -> grpc.aio.AioRpcError:
    """Says bytes as they are and returns what the session ends with."""

    async def say() -> AsyncIterator[bytes]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(SESSION_METHOD)(say(), metadata=((CLIENT_NAME_KEY, "a"),))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in call:
                pass
        return ended.value


async def test_malformed_sessions_are_refused() -> None:
    hello = convert.encode(register("a"))
    async with running(EchoHost(), None) as server:
        for messages, part in (
            ((b"\xff\xff",), "bytes are no ClientMessage"),
            ((b"",), "no known kind"),
            ((convert.encode(Heartbeat(1.0)),), "Heartbeat instead of Register"),
            ((hello, hello), "only one Register"),
            ((hello, b"\x12"), "bytes are no ClientMessage"),
            ((), "without a Register"),
        ):
            error = await _raw_session(server.port, *messages)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert part in (error.details() or "")


async def test_an_oversize_message_is_refused_on_both_sides() -> None:
    limits = ServerLimits(message_bytes_max=4096)
    async with running(EchoHost(), None, limits) as server:
        error = await _raw_session(server.port, convert.encode(register("a")), b"\0" * 5000)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with HostConnection(f"127.0.0.1:{server.port}", None, "a", FAST) as link:
            with pytest.raises(LimitError, match="max"):
                await converse(link, register("a"), Goodbye("x" * 8000))


async def test_what_the_client_cannot_send_is_raised_at_the_client() -> None:
    async with linked(EchoHost(), None, None) as link:
        with pytest.raises(InvalidInputError, match="sent_at_s"):
            await converse(link, register("a"), Heartbeat(float("inf")))


async def test_an_error_of_the_outgoing_messages_is_raised() -> None:
    async def outgoing() -> AsyncIterator[ClientMessage]:
        yield register("a")
        raise KeyError("from the agent")

    async with linked(EchoHost(), None, None) as link:
        with pytest.raises(KeyError, match="from the agent"):
            async for _ in link.session(outgoing()):
                pass
