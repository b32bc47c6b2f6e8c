"""The pretended network: connections that keep their order until they break, but not among each other; calls whose answer may be lost,
or that arrive twice; partitions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from gswarm.domain.errors import GswarmError, UnavailableError
from gswarm.simulator.heap import Heap
from gswarm.simulator.process import Machine, Process

T = TypeVar("T")

CONNECT_S = 5.0
CALL_S = 10.0
KEEPALIVE_S = (5.0, 9.0)
"""An end finds out within this time that the other one does not answer; as in ``wire.client.ConnectionLimits``."""
COPY_S_MAX = (0.02, 0.5, 12.0)
"""The second copy of a call comes up to so late: together with the first one, soon, or long after the caller has given up."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing that a side says."""

    error: GswarmError | None


class Endpoint:
    """One side of a connection. Iterating over it gives what the other side says, until it ends or breaks."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.peer: Endpoint
        self.is_closed = False
        """Nothing comes in or goes out any more."""
        self.on_broken: Callable[[], object] = lambda: None
        self.held: deque[Any] = deque()
        """Arrived while the way was blocked, or stuck."""
        self.is_stuck = False
        """What was sent to this side is still somewhere on its way."""
        self.arrival_s = 0.0
        """Of what was sent to this side last."""
        self._inbox: deque[Any] = deque()
        self._wake = asyncio.Event()

    def take(self, item: Any) -> None:
        if not self.is_closed:
            self._inbox.append(item)
            self._wake.set()

    def close(self, error: GswarmError | None) -> None:
        """What has arrived can still be read, then ``error`` is raised."""
        if not self.is_closed:
            self.take(_End(error))
            self.is_closed = True

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._inbox:
            self._wake.clear()
            await self._wake.wait()
        item = self._inbox[0]
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            raise StopAsyncIteration
        return self._inbox.popleft()


class Network:
    """Every way between two machines, in one direction each.

    Args:
        latency_s: of a message at least; most take up to twice as long.
        on_message: told sender, receiver and message of everything that arrives on a connection.
        copies: which calls arrive twice, and when.
    """

    def __init__(self, heap: Heap, random: Random, latency_s: float, on_message: Callable[[str, str, Any], None], copies: Random) -> None:
        self._heap = heap
        self._random = random
        self._copies = copies
        self._latency_s = latency_s
        self._on_message = on_message
        self._blocked: dict[tuple[str, str], int] = {}
        """How many partitions block a way."""
        self._endpoints: dict[Endpoint, None] = {}
        self.is_repeating = False
        """Every second call arrives twice."""
        self._stuck_next: dict[Machine, tuple[float, float]] = {}
        self._is_healed = False

    def latency_s(self) -> float:
        return self._latency_s * (1.0 + self._random.expovariate(2.0))

    def is_blocked(self, source: Machine, target: Machine) -> bool:
        return self._blocked.get((source.name, target.name), 0) > 0

    # ---- connections -----------------------------------------------------------------------------------------------

    async def connect(self, process: Process, target: Machine, serve: Callable[[Endpoint], Awaitable[None]]) -> Endpoint:
        """Opens a connection to the process on ``target``, which serves it with ``serve`` in a task of its own.

        Raises:
            UnavailableError: nobody answers.
        """
        await asyncio.sleep(self.latency_s() * 2)
        if self.is_blocked(process.machine, target) or self.is_blocked(target, process.machine):
            await asyncio.sleep(CONNECT_S)
            raise UnavailableError(f"{target.name} does not answer")
        other = target.process
        if other is None:
            raise UnavailableError(f"{target.name} refuses the connection")
        mine, theirs = Endpoint(process), Endpoint(other)
        mine.peer, theirs.peer = theirs, mine
        self._endpoints |= {mine: None, theirs: None}
        if process.machine in self._stuck_next:
            self._stick(mine, *self._stuck_next.pop(process.machine))
        other.call_soon(self._serve, theirs, serve)
        if other.is_frozen:
            self._suspect(mine)
        return mine

    def _serve(self, endpoint: Endpoint, serve: Callable[[Endpoint], Awaitable[None]]) -> None:
        async def run() -> None:
            await serve(endpoint)

        task = endpoint.process.create_task(run(), name="serve")
        endpoint.on_broken = task.cancel
        if endpoint.is_closed:
            task.cancel()

    def send(self, endpoint: Endpoint, item: Any) -> None:
        """Sends to the other side, behind what was sent before."""
        if endpoint.is_closed or not endpoint.process.is_alive:
            return
        peer = endpoint.peer
        peer.arrival_s = max(peer.arrival_s, self._heap.now_s + self.latency_s())
        self._heap.at(peer.arrival_s, lambda: self._arrive(peer, item))

    def finish(self, endpoint: Endpoint, error: GswarmError | None = None) -> None:
        """The last word of this side, behind what it has sent."""
        self.send(endpoint, _End(error))

    def hang_up(self, endpoint: Endpoint) -> None:
        """This side is done with the connection; the other one finds out."""
        if not endpoint.is_closed and endpoint.process.is_alive:
            self._break(endpoint)

    def cut(self, machine: Machine) -> None:
        """Resets the machine's connections. Its own ends notice at once, the others later."""
        for endpoint in [one for one in self._endpoints if one.process.machine is machine]:
            self._break(endpoint)

    def _arrive(self, endpoint: Endpoint, item: Any) -> None:
        if endpoint.is_closed or not endpoint.process.is_alive:
            return
        if endpoint.held or endpoint.is_stuck or self.is_blocked(endpoint.peer.process.machine, endpoint.process.machine):
            endpoint.held.append(item)
            return
        self._hand_over(endpoint, item)

    def _hand_over(self, endpoint: Endpoint, item: Any) -> None:
        self._on_message(endpoint.peer.process.machine.name, endpoint.process.machine.name, item)
        endpoint.process.call_soon(endpoint.take, item)

    def _break(self, endpoint: Endpoint) -> None:
        """One end is over; the other one hears so at once, or finds out because nobody answers."""
        if endpoint.is_closed:
            return
        self._end(endpoint)
        peer = endpoint.peer
        open_way = not self.is_blocked(endpoint.process.machine, peer.process.machine)
        self._heap.after(self.latency_s() if open_way else self._random.uniform(*KEEPALIVE_S), lambda: self._lose(peer))

    def _end(self, endpoint: Endpoint) -> None:
        endpoint.close(UnavailableError("the connection was lost"))
        endpoint.held.clear()
        endpoint.on_broken()
        self._endpoints.pop(endpoint, None)

    def _lose(self, endpoint: Endpoint) -> None:
        if endpoint.process.is_alive:
            endpoint.process.call_soon(self._break, endpoint)

    def _suspect(self, endpoint: Endpoint) -> None:
        """The other side may not answer any more: after a while this one gives up if that is still so."""
        peer, freezes = endpoint.peer, endpoint.peer.process.freezes

        def look() -> None:
            is_stuck = peer.process.is_frozen and peer.process.freezes == freezes
            here, there = endpoint.process.machine, peer.process.machine
            if is_stuck or self.is_blocked(here, there) or self.is_blocked(there, here):
                self._lose(endpoint)

        self._heap.after(self._random.uniform(*KEEPALIVE_S), look)

    # ---- what happens to machines and ways -------------------------------------------------------------------------

    def process_died(self, process: Process) -> None:
        for endpoint in [one for one in self._endpoints if one.process is process]:
            self._break(endpoint)

    def process_froze(self, process: Process) -> None:
        for endpoint in [one for one in self._endpoints if one.peer.process is process]:
            self._suspect(endpoint)

    def half_open(self, machine: Machine, stuck_s: float, late_s: float, then: Callable[[], None]) -> None:
        """What the machine says gets stuck. After ``stuck_s`` its own ends are reset and ``then`` happens; it may begin new connections
        while the old ones still stand for the others. There what was stuck arrives ``late_s`` later, and then they notice."""
        for endpoint in [one for one in self._endpoints if one.process.machine is machine]:
            self._stick(endpoint, stuck_s, late_s)
        self._heap.after(stuck_s, lambda: None if self._is_healed else then())

    def half_open_next(self, machine: Machine, stuck_s: float, late_s: float) -> None:
        """The same happens to the machine's next connection: even its first word comes late."""
        self._stuck_next[machine] = stuck_s, late_s
        self.cut(machine)

    def _stick(self, endpoint: Endpoint, stuck_s: float, late_s: float) -> None:
        endpoint.peer.is_stuck = True
        self._heap.after(stuck_s, lambda: self._forsake(endpoint, late_s))

    def _forsake(self, endpoint: Endpoint, late_s: float) -> None:
        peer = endpoint.peer
        if endpoint.is_closed or not peer.is_stuck:
            return
        self._end(endpoint)
        self._heap.after(late_s, lambda: self._unstick(peer))
        self._heap.after(late_s + self._copies.uniform(*KEEPALIVE_S), lambda: self._lose(peer))

    def _unstick(self, endpoint: Endpoint) -> None:
        endpoint.is_stuck = False
        if endpoint in self._endpoints and not self.is_blocked(endpoint.peer.process.machine, endpoint.process.machine):
            self._hand_over_held(endpoint)

    def heal(self) -> None:
        """Nothing is stuck and nothing arrives twice from now on."""
        self.is_repeating, self._is_healed = False, True
        self._stuck_next.clear()
        for endpoint in list(self._endpoints):
            if endpoint.is_stuck:
                self._unstick(endpoint)

    def block(self, source: Machine, target: Machine) -> None:
        """Nothing gets from ``source`` to ``target`` until as many ``unblock``."""
        way = (source.name, target.name)
        self._blocked[way] = self._blocked.get(way, 0) + 1
        for endpoint in list(self._endpoints):
            names = (endpoint.process.machine.name, endpoint.peer.process.machine.name)
            if names in (way, way[::-1]):
                self._suspect(endpoint)

    def unblock(self, source: Machine, target: Machine) -> None:
        """What was held back arrives, in order, where the connection still stands."""
        way = (source.name, target.name)
        self._blocked[way] -= 1
        if self._blocked[way]:
            return
        for endpoint in list(self._endpoints):
            if (endpoint.peer.process.machine.name, endpoint.process.machine.name) == way and not endpoint.is_stuck:
                self._hand_over_held(endpoint)

    def _hand_over_held(self, endpoint: Endpoint) -> None:
        held, endpoint.held = endpoint.held, deque()
        for item in held:
            self._hand_over(endpoint, item)

    # ---- calls with one answer -------------------------------------------------------------------------------------

    async def call(self, process: Process, target: Machine, work: Callable[[], Awaitable[T]]) -> T:
        """Runs ``work`` in the process on ``target``, sometimes twice, and brings back what it answers or raises first.

        Raises:
            UnavailableError: no answer came in time; whether the work was done is unknown.
        """
        answer: asyncio.Future[T] = process.create_future()

        async def run() -> None:
            try:
                result = await work()
            except GswarmError as raised:
                error = raised
                self._reply(target, process, lambda: None if answer.done() else answer.set_exception(error))
            else:
                self._reply(target, process, lambda: None if answer.done() else answer.set_result(result))

        def request() -> None:
            other = target.process
            if self.is_blocked(process.machine, target):
                return
            if other is None:
                refusal = UnavailableError(f"{target.name} refuses the connection")
                self._reply(target, process, lambda: None if answer.done() else answer.set_exception(refusal))
            else:
                other.call_soon(lambda: other.create_task(run(), name="call"))

        if process.is_alive:
            self._heap.after(self.latency_s(), request)
            if self.is_repeating and self._copies.randrange(2) == 0:
                copy_s = self._copies.uniform(0.0, self._copies.choice(COPY_S_MAX))
                self._heap.after(copy_s, lambda: None if self._is_healed else request())
        try:
            async with asyncio.timeout(CALL_S):
                return await answer
        except TimeoutError:
            raise UnavailableError(f"{target.name} did not answer within {CALL_S:g} s") from None

    def _reply(self, source: Machine, caller: Process, settle: Callable[[], None]) -> None:
        def deliver() -> None:
            if not self.is_blocked(source, caller.machine) and caller.is_alive:
                caller.call_soon(settle)

        self._heap.after(self.latency_s(), deliver)
