"""Accepting connections within limits, from their first packet on: how many nobody has vouched for, and for how long."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any

HANDSHAKE_TIMEOUT_S = 10.0
"""A TLS handshake that takes longer is broken off; so is a good-bye."""
STRANGERS_MAX = 500
"""Connections whose handshake is under way, or whose other end is nobody that the port knows. More are closed as they come,"""
STRANGERS_PER_ADDRESS_MAX = 100
"""and so are more from one address, so that no machine takes every place."""
STRANGER_TIMEOUT_S = 30.0
"""A stranger's connection ends after so long, whatever it is doing, where nothing that it does makes it known."""
RETRY_S = 1.0
"""Where the system has no room for another connection, the next is accepted after this."""
TELL_EVERY_S = 60.0

_log = logging.getLogger(__name__)


def open_socket(bind: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it each answer waits some 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((bind, port))
    except OSError:
        bound.close()
        raise
    return bound


def network_of(address: str) -> str:
    """What one machine has: an IPv4 address, the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class Listener:
    """Accepts connections from when it is made, and hands each to a protocol of its own. Made and used on a running event loop.

    Args:
        bound: listens from here on, and is closed with this.
        make_protocol: called for each connection, before its handshake.
        context: ``None`` for plaintext.
        is_known: asked once the handshake is done; who is not known stays a stranger. An event: until that, for as long as it takes;
            whoever answers with one sets it when the connection is lost, too.

    Raises:
        OSError: the port is in use; ``bound`` is closed then.
    """

    def __init__(
        self,
        bound: socket.socket,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
        is_known: Callable[[asyncio.Transport], bool | asyncio.Event] = lambda transport: True,
    ) -> None:
        self._socket = bound
        self._make_protocol = make_protocol
        self._context = context
        self._is_known = is_known
        self._by_network: Counter[str] = Counter()
        self._strangers: set[asyncio.Task[None]] = set()
        self._tell_at_s = 0.0
        bound.setblocking(False)
        try:
            bound.listen(socket.SOMAXCONN)
        except OSError:
            bound.close()
            raise
        self.port: int = bound.getsockname()[1]
        self._accepting = asyncio.get_running_loop().create_task(self._accept(), name=f"listener {self.port}")

    def close(self) -> None:
        """Accepts no more and drops strangers who are in their handshake; other connections are left alone."""
        self._accepting.cancel()
        for stranger in self._strangers:
            stranger.cancel()

    async def wait_closed(self) -> None:
        """After ``close``: returns once the port is free."""
        await asyncio.gather(self._accepting, *self._strangers, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                _log.error("port %d cannot accept connections: %s", self.port, error.strerror)
                await asyncio.sleep(RETRY_S)
                continue
            network = network_of(address[0])
            if len(self._strangers) >= STRANGERS_MAX or self._by_network[network] >= STRANGERS_PER_ADDRESS_MAX:
                connection.close()
                self._tell_of_refusal(network)
            else:
                self._take(_Connection(connection), network)
            # A crowd that waits to be accepted must not hold up everything else on this loop.
            await asyncio.sleep(0)

    def _tell_of_refusal(self, network: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._tell_at_s:
            self._tell_at_s = now_s + TELL_EVERY_S
            _log.warning("port %d: too many strangers at once, one from %s is refused", self.port, network)

    def _take(self, connection: _Connection, network: str) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._strangers.add(task)
        self._by_network[network] += 1

        def forget(_task: asyncio.Task[None]) -> None:
            self._strangers.discard(task)
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]
            if not connection.is_served:
                connection.close()

        task.add_done_callback(forget)

    async def _serve(self, connection: _Connection) -> None:
        """Until it is known who is at the other end, or that it is nobody."""
        connection.is_served = True
        loop = asyncio.get_running_loop()
        patience: dict[str, Any] = {}
        if self._context is not None:
            patience = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S, "ssl_shutdown_timeout": HANDSHAKE_TIMEOUT_S}
        transport = None
        try:
            async with asyncio.timeout(STRANGER_TIMEOUT_S) as limit:
                transport, _ = await loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._context, **patience)
                known = self._is_known(transport)
                if isinstance(known, asyncio.Event):
                    limit.reschedule(None)
                    await known.wait()
                elif not known:
                    await connection.closed.wait()
        except TimeoutError:
            if transport is not None:
                transport.abort()
        except OSError as error:
            _log.debug("a handshake failed: %s", error)


class _Connection(socket.socket):
    """Says when it is closed."""

    is_served = False
    """From when its task has begun the loop's transport closes it."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.setblocking(False)
        self.closed = asyncio.Event()

    def close(self) -> None:
        super().close()
        self.closed.set()
