"""A client's connection to the host: typed messages in and out, and every failure of the transport as a ``GswarmError``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
import grpc.aio

from gswarm.domain.errors import GswarmError, InvalidInputError, UnauthenticatedError, UnavailableError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import ClientMessage, HostMessage, MetricBatch
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.wire import convert
from gswarm.wire.errors import JOIN_AGAIN, from_rpc_error
from gswarm.wire.methods import CLIENT_NAME_KEY, LOCATE_METHOD, METRICS_METHOD, REACH_METHOD, SAMPLES_METHOD, SESSION_METHOD
from gswarm.wire.tls import HOST_SERVER_NAME, ClientTls, credentials_fault, grpc_channel_credentials

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of a connection."""

    message_bytes_max: int = convert.MESSAGE_BYTES_MAX
    connect_timeout_s: float = 5.0
    call_timeout_s: float = 10.0
    """Of calls with one answer."""
    keepalive_interval_s: float = 5.0
    """A silent connection is asked this often whether it lives,"""
    keepalive_timeout_s: float = 4.0
    """and is dead when it has not answered for this long."""


class HostConnection:
    """One connection to a host; made inside a running event loop, closed with ``close`` or as a context manager.

    A session that ended can be opened again on the same connection.

    Args:
        target: ``address:port``.
        tls: the client's certificate; ``None`` speaks plaintext, which only a host on loopback answers.
        client_name: as in the certificate.
    """

    def __init__(self, target: str, tls: ClientTls | None, client_name: str, limits: ConnectionLimits = ConnectionLimits()) -> None:
        self._target = target
        self._tls = tls
        self._limits = limits
        self._metadata = ((CLIENT_NAME_KEY, client_name),)
        self._closed = False
        self._open()

    def _open(self) -> None:
        options = _options(self._limits, self._tls is not None)
        self._channel: Any
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(self._target, grpc_channel_credentials(self._tls), options=options)
        self._open_session = self._channel.stream_stream(SESSION_METHOD)
        self._open_metrics = self._channel.stream_stream(METRICS_METHOD)
        self._open_samples = self._channel.stream_stream(SAMPLES_METHOD)
        self._locate = self._channel.unary_unary(LOCATE_METHOD)
        self._reach = self._channel.unary_unary(REACH_METHOD)

    async def renew(self, tls: ClientTls) -> None:
        """Shows another certificate from now on. Open calls end as when the connection was lost; they can be made again at once."""
        if self._closed:
            return
        before = self._channel
        self._tls = tls
        self._open()
        await before.close()

    async def __aenter__(self) -> HostConnection:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def session(self, outgoing: AsyncIterator[ClientMessage]) -> AsyncGenerator[HostMessage, None]:
        """Opens a session and yields what the host says until the session ends.

        Args:
            outgoing: what the client says, ``Register`` first; when it ends, the client has said its last word.

        Raises:
            UnavailableError: the host cannot be reached, or the connection was lost.
            UnauthenticatedError: host and client do not accept each other's certificates.
            GswarmError: what the host refused with, or what ``outgoing`` raised.
        """
        async with aclosing(self._stream(self._open_session, outgoing, convert.encode, convert.decode_host_message)) as messages:
            async for message in messages:
                yield message

    async def metrics(self, outgoing: AsyncIterator[MetricBatch]) -> AsyncGenerator[int, None]:
        """Sends batches and yields the ``seq`` of each once the host has stored it. Raises as ``session`` does."""
        async with aclosing(self._stream(self._open_metrics, outgoing, convert.encode, convert.decode_metric_ack)) as acks:
            async for seq in acks:
                yield seq

    async def samples(self, outgoing: AsyncIterator[SampleBatch]) -> AsyncGenerator[SampleAck, None]:
        """Sends batches of one spool, in order, and yields the host's answers. Raises as ``session`` does."""
        async with aclosing(self._stream(self._open_samples, outgoing, convert.encode_samples, convert.decode_sample_ack)) as acks:
            async for ack in acks:
                yield ack

    async def locate(self, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        """Digest to (base URL, holder's name), best first. Raises as ``session`` does."""
        return convert.decode_locate_reply(await self._ask(self._locate, convert.encode_locate_request(digests)))

    async def reach(self, client: ClientName, enrolment: str) -> tuple[Digest, ...]:
        """Manifests that another client, whose certificate says so, may fetch now. Raises as ``session`` does."""
        return convert.decode_reach_reply(await self._ask(self._reach, convert.encode_reach_request(client, enrolment)))

    async def close(self) -> None:
        """Ends open calls at once."""
        self._closed = True
        await self._channel.close()

    async def _ask(self, method: Any, request: bytes) -> bytes:
        try:
            reply: bytes = await method(request, metadata=self._metadata, timeout=self._limits.call_timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._explain(error) from error
        except grpc.aio.UsageError:
            raise UnavailableError(f"the connection to {self._target} is closed") from None
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            raise UnavailableError(f"the connection to {self._target} is closed") from None
        return reply

    async def _stream(
        self, method: Any, outgoing: AsyncIterator[T], encode: Callable[[T], bytes], decode: Callable[[bytes], U]
    ) -> AsyncGenerator[U, None]:
        sending = _Sending(outgoing, encode)
        try:
            call = method(sending.requests(), metadata=self._metadata)
        except grpc.aio.UsageError:
            raise UnavailableError(f"the connection to {self._target} is closed") from None
        try:
            async for data in call:
                yield decode(data)
        except grpc.aio.AioRpcError as error:
            raise sending.error or self._explain(error) from error
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            # gRPC cancelled the call, nobody cancelled us: the messages to send could not be produced, or the channel was closed.
            raise sending.error or UnavailableError(f"the connection to {self._target} is closed") from None
        finally:
            call.cancel()
            sending.end()

    def _explain(self, error: grpc.aio.AioRpcError) -> GswarmError:
        explained = from_rpc_error(error, self._target)
        if isinstance(explained, UnavailableError) and self._tls is not None:
            # A host refuses a certificate by closing the connection without a word, so we look at our own.
            fault = credentials_fault(self._tls, datetime.now(UTC))
            if fault:
                return UnauthenticatedError(f"the host at {self._target} does not let this client in: {fault}", JOIN_AGAIN)
        return explained


class Backoff(Iterator[float]):
    """Delays before the next attempt, in seconds: each ``factor`` times the one before, up to ``max_s``, made shorter at random.

    Args:
        jitter: the largest share that is taken off, 0..1, so that many clients do not come back at the same moment.
        random_unit: a number in [0, 1).
    """

    def __init__(
        self,
        initial_s: float = 0.2,
        max_s: float = 10.0,
        factor: float = 2.0,
        jitter: float = 0.5,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < initial_s <= max_s or factor < 1 or not 0 <= jitter <= 1:
            raise InvalidInputError("a backoff needs 0 < initial_s <= max_s, factor >= 1 and a jitter between 0 and 1")
        self._initial_s = initial_s
        self._max_s = max_s
        self._factor = factor
        self._jitter = jitter
        self._random_unit = random_unit
        self._next_s = initial_s

    def __next__(self) -> float:
        base_s = self._next_s
        self._next_s = min(base_s * self._factor, self._max_s)
        return base_s * (1 - self._jitter * self._random_unit())

    def reset(self) -> None:
        """After a success: the next delay is the first again."""
        self._next_s = self._initial_s


class _Sending:
    """The outgoing half of a stream. gRPC hides what its iterator raises, so it is kept here."""

    def __init__(self, outgoing: AsyncIterator[T], encode: Callable[[T], bytes]) -> None:
        self.error: Exception | None = None
        self._outgoing: AsyncIterator[Any] = outgoing
        self._encode: Callable[[Any], bytes] = encode
        self._taker: asyncio.Task[Any] | None = None

    def end(self) -> None:
        """The call is over. gRPC would wait for the next message all the same, and so take one away from the next call."""
        if self._taker is not None:
            self._taker.cancel()

    async def requests(self) -> AsyncIterator[bytes]:
        self._taker = asyncio.current_task()
        try:
            async for message in self._outgoing:
                yield self._encode(message)
        except Exception as error:
            self.error = error
            raise


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _options(limits: ConnectionLimits, secure: bool) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.keepalive_time_ms", round(limits.keepalive_interval_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # The caller decides when to try again (Backoff); gRPC's own waits stay short and are not shared between connections.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.min_reconnect_backoff_ms", round(limits.connect_timeout_s * 1000)),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    if secure:
        options += [("grpc.ssl_target_name_override", HOST_SERVER_NAME), ("grpc.default_authority", HOST_SERVER_NAME)]
    return options
