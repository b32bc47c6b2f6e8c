"""The real plan and real agents, joined by connections that break, on processes that are killed. No sockets, no disks, no clock.

Host: ``ClusterState``, ``SessionManager``, ``ReportDesk`` and ``EffectRunner``; a killed host starts again from its last flush. Client:
``AgentState``. A connection keeps the order of its messages until it breaks; then what was on its way is lost, in either direction, and
the two ends notice at different times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from cluster_client import SLOTS, Client, Link, Weights
from cluster_host import Host, HostKilledError, drive
from gswarm.client import agent_events as ev
from gswarm.domain.errors import GswarmError, InvariantError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest, RequestId, RunId, SlotId
from gswarm.domain.messages import ClientMessage, Goodbye, Register
from gswarm.domain.plan import Checkpoint, ClientState, Grant, JobKind, RunOp, RunState, SlotSpec
from gswarm.domain.spec import CheckpointPolicy, Chunks, Durability, ExperimentSpec, Resources, RunSpec
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import (
    ChunkCommitted,
    ClientDrainRequested,
    Event,
    ExperimentSubmitted,
    JobRequested,
    RunCloneRequested,
    RunOpRequested,
    TimerFired,
)
from scheduler_kit import SPEC, STATE

NAMES = (ClientName("a"), ClientName("b"), ClientName("c"))
CHUNK, TOTALS = 3, (2, 5, 7, 9)


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.is_rough = True
        self.now_s = 1_000.0
        self.grants = 0
        self.tokens = 0
        self.requests = 0
        self.contents: dict[Digest, Weights] = {}
        self.held_by: dict[str, set[Digest]] = {name: set() for name in (*NAMES, HOST_HOLDER)}
        self.planned: dict[str, tuple[RunSpec, ...]] = {}
        self.host = Host(self, STATE.dump_json(ClusterState()))
        self.clients = {name: Client(self, name) for name in NAMES}
        self.links: list[Link] = []
        """Those whose host's end still stands."""

    @property
    def state(self) -> ClusterState:
        return self.host.state

    def chance(self, of: int) -> bool:
        """One time in ``of``, while things go wrong."""
        return self.is_rough and self.random.randrange(of) == 0

    def token(self) -> int:
        self.tokens += 1
        return self.tokens

    def request(self) -> RequestId:
        self.requests += 1
        return RequestId(f"q{self.requests}")

    def some_client(self) -> Client:
        return self.clients[self.random.choice(NAMES)]

    def some_run(self) -> RunId | None:
        return self.random.choice(list(self.state.runs)) if self.state.runs else None

    # ---- what is checked ----

    def latest(self, event: ChunkCommitted) -> Checkpoint | None:
        run = self.state.runs.get(event.run)
        return run.latest if run is not None else None

    def check_commit(self, event: ChunkCommitted, before: Checkpoint | None) -> None:
        run, weights = self.state.runs[event.run], self.contents[event.checkpoint.manifest]
        assert weights.step == event.checkpoint.step
        root = run.start.manifest if run.start is not None else "base"
        assert (weights.root, weights.first) == (root, run.first_step)
        if before is not None and before is not run.latest:
            assert weights.descends_from(self.contents[before.manifest]), f"{run.id} goes on from something else than its checkpoint"
        if HOST_HOLDER in event.checkpoint.holders:
            assert event.checkpoint.manifest in self.held_by[HOST_HOLDER]

    def fetch(self, client: ClientName, checkpoint: Checkpoint) -> bool:
        """Brings a manifest into a client's pool, if somebody who has it can be reached."""
        manifest = checkpoint.manifest
        lost = {name for name, known in self.state.clients.items() if known.state is ClientState.LOST}
        there = any(manifest in self.held_by[name] for name in (client, HOST_HOLDER, *(one for one in NAMES if one not in lost)))
        if there:
            self.held_by[client].add(manifest)
        else:
            kept = any(manifest in self.held_by[name] for name in NAMES)
            assert kept or manifest not in self.state.live_roots(), "a checkpoint that is needed is nowhere any more"
        return there

    def check_grant(self, grant: Grant) -> None:
        """What the run goes on from can be had."""
        run = self.state.runs[grant.run]
        checkpoint = run.latest or run.start
        if checkpoint is not None and grant.from_step == run.position:
            clients = self.state.clients
            assert any(name == HOST_HOLDER or clients[ClientName(name)].state is not ClientState.LOST for name in checkpoint.holders)

    # ---- the host's side ----

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except HostKilledError:
            self.kill_host()

    def kill_host(self) -> None:
        self.host = Host(self, self.host.loop.saved)
        for link in self.links:
            link.is_cut, link.session = True, None
            link.to_host.clear()
        self.links.clear()

    def take(self, link: Link) -> None:
        """The host reads one message of a connection."""
        if link.to_host:
            self.guarded(lambda: self.take_one(link, link.to_host.popleft()))

    def take_one(self, link: Link, message: ClientMessage) -> None:
        host = self.host
        try:
            if isinstance(message, Register):
                link.session = drive(host.sessions._admit(message))
            elif link.session is None:
                return
            elif isinstance(message, Goodbye):
                drive(host.sessions._leave(link.session, message.reason))
                self.end(link)
            else:
                link.session.offer(drive(host.desk.take(link.session.client, message)))  # type: ignore[arg-type]
        except InvariantError:
            raise
        except GswarmError:
            self.end(link)

    def end(self, link: Link) -> None:
        """The host's end of a connection is over."""
        link.is_cut = True
        if link in self.links:
            self.links.remove(link)
        if link.session is not None and self.host.sessions._sessions.get(link.session.client) is link.session:
            del self.host.sessions._sessions[link.session.client]

    def pump(self, link: Link) -> None:
        """What the host has said gets on its way; a session that another one has replaced ends."""
        if link.session is not None:
            link.to_client.extend(link.session._outgoing)
            link.session._outgoing.clear()
            if link.session._ended:
                self.end(link)

    # ---- what can happen ----

    def connect(self, client: Client) -> None:
        if client.link is None and not client.has_left:
            agent, slots = client.agent, SLOTS[client.name]
            specs = tuple(SlotSpec(SlotId(f"{client.name}/{index}"), "cpu") for index in range(slots))
            client.link = Link()
            client.link.to_host.append(
                Register(client.name, f"{client.name}-{client.incarnation}", "1", "https://x", specs, agent.held(), agent.jobs())
            )
            self.links.append(client.link)

    def cut(self, client: Client) -> None:
        """The client notices that its connection is over; the host may still read what it was sent."""
        if client.link is not None:
            client.link.is_cut = True
            client.link = None
            client.feed(ev.Disconnected())

    def listen(self, client: Client) -> None:
        """The client reads one message, or notices the end of its connection."""
        link = client.link
        if link is None:
            return
        self.pump(link)
        if link.to_client:
            client.hear(link.to_client.popleft())
        elif link.is_cut:
            self.cut(client)

    def talk(self) -> None:
        if self.links:
            link = self.random.choice(self.links)
            if link.is_cut and not link.to_host:
                self.end(link)
            else:
                self.take(link)

    def kill_client(self, client: Client) -> None:
        if client.link is not None:
            client.link.is_cut = True
        client.start()

    def expire(self) -> None:
        """A client was silent for too long, whether its connection stands or not."""
        name = self.random.choice(NAMES)
        if name in self.state.clients:
            self.guarded(lambda: drive(self.host.sessions._lose(name)))

    def shut_down(self) -> None:
        client = self.some_client()
        client.feed(ev.ShutdownRequested("update"))

    def restart_left(self) -> None:
        for client in self.clients.values():
            if client.has_left:
                self.kill_client(client)

    def grace_over(self) -> None:
        for client in self.clients.values():
            if client.agent.stay.value == "leaving":
                client.feed(ev.GraceOver())

    def ask(self, event: Event) -> None:
        self.guarded(lambda: void(self.host.submit(event)))
        if self.chance(3):
            self.guarded(lambda: void(self.host.submit(event)))

    def submit(self) -> None:
        if len(self.state.runs) > 8 or any(job.kind is JobKind.PREPARE and job.result_json is None for job in self.state.jobs.values()):
            return
        durability = self.random.choice((Durability.REPLICATED, Durability.REPLICATED, Durability.LOCAL))
        specs = tuple(replace(SPEC, max_steps=self.random.choice(TOTALS)) for _ in range(self.random.randint(1, 3)))
        policy = CheckpointPolicy(self.random.choice((1, 2)), durability=durability)
        spec = ExperimentSpec(f"x{self.requests}", SPEC, chunks=Chunks(steps=CHUNK), resources=Resources(max_skew=1), checkpoint=policy)
        self.ask(ExperimentSubmitted(self.request(), spec, specs, ((),) * len(specs)))
        for job in self.state.jobs.values():
            if job.experiment is not None and job.kind is JobKind.PREPARE:
                self.planned.setdefault(job.id, self.state.experiments[job.experiment].planned)

    def operate(self) -> None:
        run = self.some_run()
        if run is not None:
            ops = (RunOp.STOP, RunOp.STOP, RunOp.RESUME, RunOp.RESUME, RunOp.DELETE, RunOp.RESTORE, RunOp.RESTORE)
            self.ask(RunOpRequested(self.request(), run, self.random.choice(ops)))

    def clone(self) -> None:
        run = self.some_run()
        if run is not None and len(self.state.runs) < 12:
            spec = replace(self.state.runs[run].spec, learning_rate=self.random.random())
            self.ask(RunCloneRequested(self.request(), run, spec, (), self.random.choice((None, "latest", "best"))))

    def ask_job(self) -> None:
        run = self.some_run()
        if run is not None:
            self.ask(JobRequested(self.request(), self.random.choice((JobKind.VERIFY, JobKind.EXPORT)), run, "{}"))

    def drain(self) -> None:
        self.ask(ClientDrainRequested(self.random.choice(NAMES), self.random.randrange(3) == 0))

    def fire(self) -> None:
        self.now_s += self.random.choice((1.0, 300.0))
        for key in list(self.state.timers):
            self.ask(TimerFired(key))

    def sweep(self) -> None:
        """Without a time of grace: whatever is needed must be a root or pinned."""
        roots = self.state.live_roots()
        self.held_by[HOST_HOLDER].intersection_update(roots)
        self.host.sessions.broadcast_sweep(roots)

    def lose_host_copies(self) -> None:
        """What is not a root has grown old on the host."""
        self.held_by[HOST_HOLDER].intersection_update(self.state.live_roots())

    def act(self) -> None:
        client = self.some_client()
        calm: list[Callable[[], object]] = [
            lambda: self.connect(client),
            lambda: self.listen(client),
            self.talk,
            client.fetched,
            client.stored,
            client.train,
            client.job,
        ]
        rare: list[Callable[[], object]] = [
            self.submit, self.submit, self.operate, self.operate, self.clone, self.ask_job, self.drain, self.fire, self.sweep,
            self.lose_host_copies,
            client.trainer_dies, client.evict, lambda: self.cut(client), lambda: self.cut(client), lambda: self.kill_client(client),
            self.kill_host, self.expire, self.shut_down, self.restart_left, self.grace_over,
        ]  # fmt: skip
        if self.random.randrange(12):
            for _ in range(self.random.randint(1, 6)):
                self.random.choice(calm)()
        else:
            self.random.choice(rare)()

    # ---- the end ----

    def heal(self) -> None:
        self.is_rough = False
        for client in self.clients.values():
            if client.agent.stay.value != "staying":
                self.kill_client(client)
            if client.name in self.state.clients and self.state.clients[client.name].state is ClientState.DRAINING:
                self.ask(ClientDrainRequested(client.name, False))
        granted = self.grants
        for turn in range(3_000):
            if turn % 25 == 0:
                self.resume_all()
            self.calm_turn()
            if self.is_done():
                break
        assert self.grants - granted < 600, "grants go back and forth"

    def resume_all(self) -> None:
        for run in list(self.state.runs.values()):
            if run.state in {RunState.STOPPED, RunState.FAILED}:
                self.ask(RunOpRequested(self.request(), run.id, RunOp.RESUME))

    def calm_turn(self) -> None:
        for link in list(self.links):
            self.talk_on(link)
        for client in self.clients.values():
            self.connect(client)
            while client.link is not None and (client.link.to_client or client.link.is_cut):
                self.listen(client)
            self.listen(client)
            for work in (client.fetched, client.stored, client.train, client.job):
                work()

    def talk_on(self, link: Link) -> None:
        while link.to_host:
            self.take(link)
        if link.is_cut:
            self.end(link)

    def is_done(self) -> bool:
        ended = {RunState.COMPLETED, RunState.DELETING, RunState.DELETED}
        runs = all(run.state in ended for run in self.state.runs.values())
        idle = all(not (one.agent.held() or one.agent.jobs() or one.fetches or one.stores or one.jobs) for one in self.clients.values())
        jobs = all(job.result_json is not None or job.failure is not None for job in self.state.jobs.values())
        return runs and idle and jobs

    def check_end(self) -> None:
        assert self.is_done(), {run.id: (run.state.value, run.position, run.total_steps, run.grants) for run in self.state.runs.values()}
        for run in self.state.runs.values():
            if run.state is RunState.COMPLETED:
                steps = [step for step, _ in run.history]
                assert steps == sorted(set(steps))
                assert run.position == run.total_steps == steps[-1]
        for client in self.clients.values():
            assert not client.agent.book.outbox
            assert not client.snapshots, "a snapshot is never removed"
            assert not client.pins, "a pin is never let go"


def void(_: object) -> None:
    """For the value that nobody wants."""
