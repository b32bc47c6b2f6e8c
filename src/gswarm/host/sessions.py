"""The host's side of the control session: who is connected, what they report, what they are told, whose lease is over."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from gswarm.domain.errors import ConflictError, GswarmError, LimitError, NotFoundError, UnavailableError
from gswarm.domain.ids import ClientName, Digest, JobId, SlotId
from gswarm.domain.messages import (
    Ack,
    ChunkFailedReport,
    ClientMessage,
    DropOrder,
    Goodbye,
    GrantOrder,
    Heartbeat,
    HostMessage,
    JobOrder,
    JobReport,
    MetricBatch,
    OutsidersSeen,
    Register,
    Registered,
    ReliableMessage,
    RevokeOrder,
    Shutdown,
    SweepOrder,
)
from gswarm.domain.plan import SILENT, ClientState
from gswarm.domain.samples import SampleAck, SampleBatch
from gswarm.host.clock import Clock
from gswarm.host.effects import EffectRunner
from gswarm.host.intake import MetricIntake
from gswarm.host.leases import LeaseWatch
from gswarm.host.locate import Locator
from gswarm.host.loop import PlanLoop
from gswarm.host.profiling.samples import SampleIntake
from gswarm.host.reports import INCOMPLETE, RefusedReport, ReportDesk
from gswarm.scheduler.events import ClientLost, ClientRegistered, HeldGrant, SlotsOccupied
from gswarm.wire.fields import ROOTS_MAX
from gswarm.wire.tls import Peer

OUTGOING_MAX = 2_000
"""Messages that wait for one client; one that reads so slowly is cut off and starts again with what is outstanding."""

_log = logging.getLogger("gswarm.host.sessions")


class Session:
    """One connected client: what waits to be sent to it, and whether it is over."""

    def __init__(self, client: ClientName, incarnation: str) -> None:
        self.client = client
        self.incarnation = incarnation
        self.is_answering = False
        """A report of it is being taken in; what it said after that has not been read."""
        self.certificate_ends_s = math.inf
        """Seconds since the epoch; infinite for a client that came without one."""
        self._outgoing: deque[HostMessage] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._error: GswarmError | None = None

    @property
    def waiting(self) -> int:
        """Messages that were not sent yet."""
        return len(self._outgoing)

    def offer(self, message: HostMessage) -> None:
        """Queues a message; a session that is over takes none."""
        if self._ended:
            return
        if len(self._outgoing) >= OUTGOING_MAX:
            self.end(LimitError(f"{OUTGOING_MAX} messages wait for client {self.client}", "it is cut off; it may connect again"))
            return
        self._outgoing.append(message)
        self._wake.set()

    def end(self, error: GswarmError | None = None) -> None:
        """Ends the session after what is queued, with ``error`` if given. Only the first call counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake.set()

    async def outgoing(self) -> AsyncIterator[HostMessage]:
        while True:
            while self._outgoing:
                yield self._outgoing.popleft()
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._wake.clear()
            await self._wake.wait()


class SessionManager:
    """Implements ``gswarm.wire.server.ClusterHandler`` and ``gswarm.host.effects.Outbox``.

    Args:
        lease_timeout_s: how long a client may be silent before its grants are over.
        samples: takes what sensors measure; without it clients keep that.
    """

    def __init__(
        self,
        loop: PlanLoop,
        effects: EffectRunner,
        desk: ReportDesk,
        intake: MetricIntake,
        locator: Locator,
        clock: Clock,
        *,
        lease_timeout_s: float,
        cluster_id: str,
        version: str,
        clients_max: int = 2_000,
        samples: SampleIntake | None = None,
    ) -> None:
        self._clients_max = clients_max
        self._loop = loop
        self._effects = effects
        self._desk = desk
        self._intake = intake
        self._samples = samples
        self._locator = locator
        self._clock = clock
        self._welcome = Registered(lease_timeout_s, version, cluster_id)
        self._leases = LeaseWatch(clock, lease_timeout_s, self._on_expired)
        self._sessions: dict[ClientName, Session] = {}
        self._admitting: dict[ClientName, list[HostMessage]] = {}
        """Clients being registered, with the orders that end something: these are not outstanding and are said once."""
        self._losing: set[asyncio.Task[None]] = set()
        self._stopping = False

    # ---- for the API -----------------------------------------------------------------------------------------------

    @property
    def connected(self) -> frozenset[ClientName]:
        """Clients whose session stands now."""
        return frozenset(self._sessions)

    @property
    def longest_queue(self) -> int:
        """Messages that wait for the client for which most do."""
        return max((session.waiting for session in self._sessions.values()), default=0)

    @property
    def refused_reports(self) -> int:
        """Reports that did not count since this process started."""
        return self._desk.refused_count

    @property
    def recent_refusals(self) -> Sequence[RefusedReport]:
        """The newest refused reports, oldest first."""
        return tuple(self._desk.refused)

    @property
    def refused_metrics(self) -> int:
        """Metric rows of steps and log lines of runs that their sender was not granted."""
        return self._intake.refused_count

    def certificate_ends_s(self, client: ClientName) -> float | None:
        """Seconds since the epoch: when the certificate ends that a connected client came with, if it came with one."""
        session = self._sessions.get(client)
        return session.certificate_ends_s if session is not None and math.isfinite(session.certificate_ends_s) else None

    def is_alive(self, client: ClientName) -> bool:
        """Whether the client has a session and its leases stand."""
        return client in self._sessions and self._leases.remaining_s(client) > 0

    async def disconnect(self, client: ClientName, reason: str) -> None:
        """Asks the client to finish its step, hand in what it has and leave.

        Raises:
            NotFoundError: it is not connected.
        """
        session = self._sessions.get(client)
        if session is None:
            raise NotFoundError(f"client {client} is not connected", "'gswarm client list' shows who is")
        session.offer(Shutdown(reason))

    def expel(self, client: ClientName, reason: str) -> None:
        """Ends its grants and jobs now: it has no right to be here any more. Who decided that has ended its calls."""
        self._leases.forget(client)
        self._sessions.pop(client, None)
        known = self._loop.state.clients.get(client)
        if client in self._admitting or (known is not None and known.state is not ClientState.LOST):
            self._begin(self._record_loss(client, reason))

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """After a restart every client that was there gets a whole lease time to come back."""
        for client in self._loop.state.clients.values():
            if client.state is not ClientState.LOST:
                self._leases.begin(client.name)

    async def stop(self) -> None:
        """Ends all sessions; the clients go on training and come back."""
        self._stopping = True
        self._leases.close()
        for session in list(self._sessions.values()):
            session.end(UnavailableError("the host is stopping", "the client connects again when it is back"))
        if self._losing:
            await asyncio.wait(self._losing)

    # ---- Outbox ----------------------------------------------------------------------------------------------------

    def deliver(self, client: ClientName, message: HostMessage) -> None:
        if client in self._admitting and isinstance(message, RevokeOrder | DropOrder):
            self._admitting[client].append(message)
        session = self._sessions.get(client)
        if session is not None:
            self._offer(session, message)

    def _offer(self, session: Session, message: HostMessage) -> None:
        if isinstance(message, GrantOrder):
            self._intake.granted(session.client, message)
        session.offer(message)

    def broadcast_sweep(self, roots: Sequence[Digest]) -> None:
        if len(roots) > ROOTS_MAX:
            _log.warning("the clients' pools are not swept: %d roots do not fit into a message", len(roots))
            return
        order = SweepOrder(tuple(roots))
        for session in list(self._sessions.values()):
            session.offer(order)

    # ---- ClusterHandler --------------------------------------------------------------------------------------------

    async def session(self, peer: Peer, first: Register, messages: AsyncIterator[ClientMessage]) -> AsyncIterator[HostMessage]:
        """One client's session, from its registration to its end."""
        session = await self._admit(first)
        session.certificate_ends_s = peer.expires_at_s
        reader = asyncio.get_running_loop().create_task(self._receive(session, messages), name=f"session-{session.client}")
        try:
            async for message in session.outgoing():
                yield message
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if self._sessions.get(session.client) is session:
                del self._sessions[session.client]
                _log.info("client %s has disconnected", session.client)

    async def metrics(self, peer: Peer, batches: AsyncIterator[MetricBatch]) -> AsyncIterator[int]:
        async for batch in batches:
            await self._intake.store(ClientName(peer.name), batch)
            yield batch.seq

    async def samples(self, peer: Peer, batches: AsyncIterator[SampleBatch]) -> AsyncIterator[SampleAck]:
        if self._samples is None:
            raise UnavailableError("this host keeps no samples")
        async with aclosing(self._samples.take(ClientName(peer.name), batches)) as acks:
            async for ack in acks:
                yield ack

    async def locate(self, peer: Peer, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        return await self._locator.locate(ClientName(peer.name), digests)

    async def reach(self, peer: Peer, client: ClientName) -> Sequence[Digest]:
        return self._locator.reach(client)

    # ---- registration ----------------------------------------------------------------------------------------------

    async def _admit(self, first: Register) -> Session:
        """Raises:
        ConflictError: another process of that name is alive.
        UnavailableError: the host is stopping, or is just answering an earlier attempt.
        """
        name = first.client
        self._check_admissible(first)
        self._admitting[name] = []
        # Before the event: should this call be cut off now, the registration stands and must be watched.
        self._leases.begin(name)
        try:
            held = tuple(HeldGrant(grant.run, grant.generation) for grant in first.held)
            await self._loop.submit(
                ClientRegistered(
                    client=name,
                    incarnation=first.incarnation,
                    version=first.version,
                    data_url=first.data_url,
                    slots=first.slots,
                    held=held,
                    jobs=first.jobs,
                    labels=first.labels,
                )
            )
            session = Session(name, first.incarnation)
            await self._loop.at_rest(lambda: self._attach(session))
        except GswarmError:
            known = self._loop.state.clients.get(name)
            if known is None or known.state is ClientState.LOST:
                self._leases.forget(name)
            raise
        finally:
            del self._admitting[name]
        _log.info("client %s is here with %d slots", name, len(first.slots))
        return session

    def _check_admissible(self, first: Register) -> None:
        name = first.client
        if self._stopping:
            raise UnavailableError("the host is stopping", "connect again when it is back")
        if name in self._admitting:
            raise UnavailableError(f"client {name} is just being registered", "connect again in a moment")
        if name not in self._sessions and len(self._sessions) + len(self._admitting) >= self._clients_max:
            raise LimitError(f"{self._clients_max} clients are connected", "disconnect some, or use more slots a client")
        other = self._sessions.get(name)
        if other is not None and other.incarnation != first.incarnation and self.is_alive(name):
            wait_s = self._leases.remaining_s(name)
            raise ConflictError(
                f"a client {name} is connected already",
                f"give this one another --name; if it is that one restarted, it is let in after {wait_s:.0f} s of silence",
            )

    def _attach(self, session: Session) -> None:
        """State and disk are equal here, so what is outstanding is all on disk, and what comes later is delivered."""
        earlier = self._sessions.get(session.client)
        if earlier is not None:
            earlier.end(UnavailableError("another session of this client has begun"))
        self._sessions[session.client] = session
        session.offer(self._welcome)
        for message in (*self._admitting[session.client], *self._effects.outstanding(session.client)):
            self._offer(session, message)

    # ---- messages --------------------------------------------------------------------------------------------------

    async def _receive(self, session: Session, messages: AsyncIterator[ClientMessage]) -> None:
        """Takes the client's messages one after another, so that its reports keep their order."""
        try:
            async for message in messages:
                self._leases.heard(session.client)
                match message:
                    case Heartbeat() | Register():
                        continue
                    case OutsidersSeen(slots=slots):
                        await self._occupied(session.client, slots)
                    case Goodbye(reason=reason):
                        await self._leave(session, reason)
                        break
                    case report:
                        ack = await self._answer(session, report)
                        session.offer(ack)
                        if isinstance(report, JobReport) and ack.error_code == INCOMPLETE:
                            await self._loop.at_rest(lambda: self._order_again(session, report.job))
            session.end()
        except GswarmError as error:
            session.end(error)
        except Exception as error:
            _log.exception("the session of client %s broke", session.client)
            session.end(GswarmError(f"the session broke: {error!r}", "the host's log has the details"))

    def _order_again(self, session: Session, job: JobId) -> None:
        """Its client has forgotten the job with the answer, and still has it."""
        for message in self._effects.outstanding(session.client):
            if isinstance(message, JobOrder) and message.job == job:
                session.offer(message)

    async def _answer(self, session: Session, report: ReliableMessage) -> Ack:
        session.is_answering = True
        try:
            ack = await self._desk.take(session.client, report)
        finally:
            session.is_answering = False
        if not ack.accepted:
            _log.warning("a report of client %s does not count (%s): %s", session.client, ack.error_code, ack.message)
        elif isinstance(report, ChunkFailedReport):
            _log.warning("run %s failed on client %s (%s): %s", report.run, session.client, report.failure.code, report.failure.message)
            await self._intake.failed(session.client, report, self._clock.now_s())
        return ack

    async def _occupied(self, client: ClientName, slots: tuple[tuple[int, str], ...]) -> None:
        """Only what is new goes into the journal. Raises InvalidInputError."""
        named = {SlotId(f"{client}/{number}"): accounts for number, accounts in slots}
        known = self._loop.state.slots
        if named != {slot_id: slot.outsider for slot_id, slot in known.items() if slot.client == client and slot.outsider}:
            await self._loop.submit(SlotsOccupied(client, tuple(sorted(named.items()))))

    async def _leave(self, session: Session, reason: str) -> None:
        if self._sessions.get(session.client) is not session:
            return
        self._leases.forget(session.client)
        await self._loop.submit_own(ClientLost(session.client, reason or "it said good-bye"))

    # ---- leases ----------------------------------------------------------------------------------------------------

    def _on_expired(self, client: ClientName) -> None:
        self._begin(self._lose(client))

    def _begin(self, loss: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(loss)
        self._losing.add(task)
        task.add_done_callback(self._losing.discard)

    async def _lose(self, client: ClientName) -> None:
        session = self._sessions.get(client)
        if client in self._admitting or (session is not None and session.is_answering):
            # It is back, and its loss must not come behind its registration; or it is the host's disk that is slow, not the client.
            self._leases.begin(client)
            return
        self._sessions.pop(client, None)
        if session is not None:
            session.end(UnavailableError("this client was silent for too long; its grants are over", "it may connect again"))
        await self._record_loss(client, f"{SILENT} {self._welcome.lease_timeout_s:g} s")

    async def _record_loss(self, client: ClientName, reason: str) -> None:
        _log.warning("client %s is lost: %s", client, reason)
        try:
            await self._loop.submit_own(ClientLost(client, reason))
        except GswarmError as error:
            _log.error("the loss of client %s was not recorded: %s", client, error)
