"""The host's gRPC port: authenticates callers, converts messages and hands both to a ``ClusterHandler``.

Who calls is decided here and nowhere else: with TLS by the certificate, without TLS (loopback only) by what the caller
says. A handler's errors become statuses, so that a handler knows neither gRPC nor protobuf.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from gswarm import __version__
from gswarm.domain.errors import ConflictError, ForbiddenError, InvalidInputError, StorageError, UnauthenticatedError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import ClientMessage, HostMessage, MetricBatch, Register
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.wire import convert
from gswarm.wire.errors import to_status
from gswarm.wire.methods import CLIENT_NAME_KEY, LOCATE_METHOD, METHODS, METRICS_METHOD, REACH_METHOD, SAMPLES_METHOD, SESSION_METHOD
from gswarm.wire.tls import ROLE_CLIENT, Peer, ServerCertificate, ServerTls, peer_of
from gswarm.wire.version import admit_version

logger = logging.getLogger(__name__)

T = TypeVar("T")


class ClusterHandler(Protocol):
    """What the host does with calls. Raising a ``GswarmError`` ends the call with it at the caller.

    When the caller or its connection goes away, the coroutine behind the call is cancelled where it waits.
    """

    def session(self, peer: Peer, first: Register, messages: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        """An async generator that lives as long as the session. ``messages`` ends when the client has said its last word."""

    def metrics(self, peer: Peer, batches: AsyncIterator[MetricBatch]) -> AsyncIterator[int]:
        """Yields the ``seq`` of every batch once it is stored."""

    def samples(self, peer: Peer, batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        """Yields an answer to every batch once it is stored, and one when intervals change."""

    async def locate(self, peer: Peer, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        """Digest to (base URL, holder's name), best first."""

    async def reach(self, peer: Peer, client: ClientName) -> Sequence[Digest]:
        """Manifests that ``client`` may fetch now. Asked by a client that serves blobs."""


class Door(Protocol):
    """Says who may be inside, beyond what the handshake found out."""

    def inside(self, peer: Peer) -> AbstractContextManager[object]:
        """Encloses a call of ``peer``. Ends it by a ``GswarmError`` when its right to be here ends.

        Raises:
            UnauthenticatedError: it is not let in (any more).
        """

    def counts(self, peer: Peer) -> bool:
        """Whether a certificate that was shown to somebody else is the present one of its name."""


class OpenDoor:
    """Lets in whom the handshake let in: for plaintext, and for tests of the wire alone."""

    def inside(self, peer: Peer) -> AbstractContextManager[object]:
        return nullcontext()

    def counts(self, peer: Peer) -> bool:
        return True


OPEN_DOOR = OpenDoor()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of what callers can make the host do."""

    message_bytes_max: int = convert.MESSAGE_BYTES_MAX
    calls_max: int = 8192
    """Over all connections; a client has a session, streams of metrics and samples and at times a look-up."""
    connections_max: int = 8192
    """With those whose handshake is under way; more are closed as they come."""
    streams_per_connection_max: int = 16
    register_timeout_s: float = 10.0
    """From the start of a session to its first message."""
    handshake_timeout_s: float = 10.0
    keepalive_interval_s: float = 5.0
    """A silent connection is asked this often whether it lives,"""
    keepalive_timeout_s: float = 4.0
    """and is dead when it has not answered for this long."""


class RunningServer:
    """A server that accepts calls on ``port``."""

    def __init__(self, server: grpc.aio.Server, port: int, certificate: ServerCertificate | None) -> None:
        self._server = server
        self._certificate = certificate
        self.port = port

    def renew(self, tls: ServerTls) -> None:
        """Shows another certificate from the next handshake on."""
        if self._certificate is not None:
            self._certificate.renew(tls)

    async def stop(self, grace_s: float = 0.0) -> None:
        """Refuses new calls at once and cancels those that are still open after ``grace_s`` seconds."""
        await self._server.stop(grace_s)


async def start_server(
    handler: ClusterHandler, bind: str, port: int, tls: ServerTls | None, limits: ServerLimits = ServerLimits(), door: Door = OPEN_DOOR
) -> RunningServer:
    """Starts listening.

    Args:
        bind: an IP address, or ``localhost``.
        port: 0 for any free one.
        tls: ``None`` for plaintext, on loopback only.
        door: asked about every call.

    Raises:
        InvalidInputError: plaintext on an address that other machines reach, or no such address here.
        ConflictError: the port is in use.
        ForbiddenError: the port needs more rights.
    """
    if tls is None and not is_loopback(bind):
        raise InvalidInputError(
            f"the host does not speak plaintext on {bind}",
            "leave --insecure away, or bind to 127.0.0.1 where only this machine can connect",
        )
    server = grpc.aio.server(options=_options(limits), maximum_concurrent_rpcs=limits.calls_max)
    server.add_generic_rpc_handlers(_handlers(_Calls(handler, door, tls is not None, limits), _Guard(door, tls is not None)))
    address = f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}"
    certificate = ServerCertificate(tls) if tls is not None else None
    try:
        bound = server.add_insecure_port(address) if certificate is None else server.add_secure_port(address, certificate.credentials())
    except RuntimeError as error:
        raise _bind_error(bind, port) from error
    await server.start()
    return RunningServer(server, bound, certificate)


def is_loopback(bind: str) -> bool:
    """Whether only this machine can connect to that address."""
    if bind == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False


class _Guard:
    """Stands before every method: finds out who calls, and turns what is raised into a status."""

    def __init__(self, door: Door, authenticated: bool) -> None:
        self._door = door
        self._authenticated = authenticated

    def stream(self, method: Callable[[AsyncIterator[bytes], Peer], AsyncIterator[bytes]]) -> Any:
        async def call(requests: AsyncIterator[bytes], context: Any) -> None:
            try:
                peer = self._peer(context)
                with self._door.inside(peer):
                    async with aclosing(_generator(method(requests, peer))) as replies:
                        async for reply in replies:
                            # Written in here: whoever is shown out while gRPC writes what a generator yields is told nothing.
                            await context.write(reply)
            except Exception as error:
                await _abort(context, error)

        return grpc.stream_stream_rpc_method_handler(call)

    def single(self, method: Callable[[bytes, Peer], Awaitable[bytes]]) -> Any:
        async def call(request: bytes, context: Any) -> bytes:
            try:
                peer = self._peer(context)
                with self._door.inside(peer):
                    return await method(request, peer)
            except Exception as error:
                await _abort(context, error)

        return grpc.unary_unary_rpc_method_handler(call)

    def _peer(self, context: Any) -> Peer:
        named = dict(context.invocation_metadata() or ()).get(CLIENT_NAME_KEY)
        if not self._authenticated:
            if not isinstance(named, str) or not named:
                raise UnauthenticatedError("the caller does not say who it is", f"send the metadata {CLIENT_NAME_KEY}")
            return Peer(named, ROLE_CLIENT)
        certificates = context.auth_context().get("x509_pem_cert")
        if not certificates:
            raise UnauthenticatedError("a client certificate of this cluster is needed", "join with a token first")
        peer = peer_of(certificates[0])
        if peer.role != ROLE_CLIENT:
            raise ForbiddenError(f"{peer.name!r} is no client of this cluster", "join with a token of the role client")
        if named is not None and named != peer.name:
            raise ForbiddenError(f"{peer.name!r} cannot speak as {str(named)[:80]!r}", "a client's name is the one in its certificate")
        return peer


class _Calls:
    """The methods: bytes in, bytes out."""

    def __init__(self, handler: ClusterHandler, door: Door, authenticated: bool, limits: ServerLimits) -> None:
        self._handler = handler
        self._door = door
        self._authenticated = authenticated
        self._limits = limits

    async def session(self, requests: AsyncIterator[bytes], peer: Peer) -> AsyncIterator[bytes]:
        first = await self._register(requests)
        if first.client != peer.name:
            raise ForbiddenError(
                f"{peer.name!r} cannot register as {first.client!r}",
                "a client's name is the one in its certificate; join again to change it",
            )
        admit_version(first.client, first.version, __version__)
        _check_data_url(first.data_url, "https" if self._authenticated else "http")
        messages = _session_messages(requests)
        async with aclosing(_generator(self._handler.session(peer, first, messages))) as outgoing:
            async for message in outgoing:
                yield convert.encode(message)

    async def metrics(self, requests: AsyncIterator[bytes], peer: Peer) -> AsyncIterator[bytes]:
        batches = _decoded(requests, convert.decode_metric_batch)
        async with aclosing(_generator(self._handler.metrics(peer, batches))) as outgoing:
            async for seq in outgoing:
                yield convert.encode_metric_ack(seq)

    async def samples(self, requests: AsyncIterator[bytes], peer: Peer) -> AsyncIterator[bytes]:
        batches = _decoded(requests, convert.decode_samples)
        async with aclosing(_generator(self._handler.samples(peer, batches))) as outgoing:
            async for ack in outgoing:
                yield convert.encode_sample_ack(ack)

    async def locate(self, request: bytes, peer: Peer) -> bytes:
        return convert.encode_locate_reply(await self._handler.locate(peer, convert.decode_locate_request(request)))

    async def reach(self, request: bytes, peer: Peer) -> bytes:
        client, enrolment = convert.decode_reach_request(request)
        if enrolment is not None and not self._door.counts(Peer(client, ROLE_CLIENT, enrolment)):
            return convert.encode_reach_reply(())
        return convert.encode_reach_reply(await self._handler.reach(peer, client))

    async def _register(self, requests: AsyncIterator[bytes]) -> Register:
        try:
            async with asyncio.timeout(self._limits.register_timeout_s):
                data = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise InvalidInputError("the session began without a Register message") from None
        first = convert.decode_client_message(data)
        if not isinstance(first, Register):
            raise InvalidInputError(f"the session began with {type(first).__name__} instead of Register")
        return first


def _check_data_url(url: str, scheme: str) -> None:
    """Others connect to where a client says that its pool answers: it names a place and nothing else, and no way around TLS.

    Raises:
        InvalidInputError: it is something else.
    """
    try:
        parts = urlsplit(url)
        is_place = parts.hostname is not None and parts.port is not None and url == f"{scheme}://{parts.netloc}" and "@" not in url
    except ValueError:
        is_place = False
    if url and not is_place:
        raise InvalidInputError(f"{url[:80]!r} is no address of a client's pool", f"it looks like {scheme}://10.0.0.7:41234")


async def _session_messages(requests: AsyncIterator[bytes]) -> AsyncIterator[ClientMessage]:
    async for data in requests:
        message = convert.decode_client_message(data)
        if isinstance(message, Register):
            raise InvalidInputError("a session has only one Register message", "open another session")
        yield message


async def _decoded(requests: AsyncIterator[bytes], decode: Callable[[bytes], T]) -> AsyncIterator[T]:
    async for data in requests:
        yield decode(data)


def _generator(iterator: AsyncIterator[T]) -> Any:
    """The handler's generator, which ``aclosing`` ends where it stands when the call is over."""
    if not hasattr(iterator, "aclose"):
        raise TypeError("a ClusterHandler's streams are async generators")
    return iterator


async def _abort(context: Any, error: Exception) -> NoReturn:
    """Ends the call with the error's status; gRPC does so by an exception of its own."""
    status = to_status(error)
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise error


def _handlers(calls: _Calls, guard: _Guard) -> tuple[Any, ...]:
    """Without generated servicers: bytes pass through gRPC, so that a malformed message gets our error and not gRPC's."""
    methods: dict[str, Any] = {
        SESSION_METHOD: guard.stream(calls.session),
        METRICS_METHOD: guard.stream(calls.metrics),
        SAMPLES_METHOD: guard.stream(calls.samples),
        LOCATE_METHOD: guard.single(calls.locate),
        REACH_METHOD: guard.single(calls.reach),
    }
    by_service: dict[str, dict[str, Any]] = {}
    for path in METHODS:
        service, name = path.strip("/").split("/")
        by_service.setdefault(service, {})[name] = methods[path]
    return tuple(grpc.method_handlers_generic_handler(service, named) for service, named in by_service.items())


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_allowed_incoming_connections", limits.connections_max),
        ("grpc.max_concurrent_streams", limits.streams_per_connection_max),
        ("grpc.server_handshake_timeout_ms", round(limits.handshake_timeout_s * 1000)),
        ("grpc.keepalive_time_ms", round(limits.keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients ask as often as the host does; gRPC would take that for abuse.
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.keepalive_interval_s * 100)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(limits.keepalive_interval_s * 100)),
    ]


def _bind_error(bind: str, port: int) -> Exception:
    """gRPC only says that it could not bind; the system says why."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((bind, port))
            probe.listen()
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                return ConflictError(f"port {port} on {bind} is in use", "stop what uses it, or choose another with --port")
            case errno.EACCES:
                return ForbiddenError(f"port {port} needs more rights than this account has", "choose a port above 1023 with --port")
            case _:
                return InvalidInputError(
                    f"the host cannot listen on {bind}: {error.strerror}", "choose an address of this machine with --bind"
                )
    return StorageError(f"the host cannot listen on {bind}:{port}", "try again")
