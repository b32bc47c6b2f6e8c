"""A plan without machines: what the tests of the host share. Clients are names; their reports are made up from their grants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from gswarm.domain.ids import ClientName, Digest, JobId, RequestId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Failure, GrantPhase, JobKind, RunOp, RunSize, SlotSpec
from gswarm.domain.spec import CheckpointPolicy, Chunks, Durability, ExperimentSpec, RunSpec
from gswarm.host.journal.snapshot import encode_state, open_state
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.loop import PlanLoop, Submitted
from gswarm.scheduler import events as e
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect


def digest(text: str) -> Digest:
    return Digest(blake3(text.encode()).hexdigest())


def slot(client: str, index: int = 0) -> SlotSpec:
    return SlotSpec(SlotId(f"{client}/{index}"), "cpu")


def registered(client: str, incarnation: str = "i1", slots: int = 1, held: tuple[e.HeldGrant, ...] = ()) -> e.ClientRegistered:
    specs = tuple(slot(client, index) for index in range(slots))
    return e.ClientRegistered(ClientName(client), incarnation, "0.1.0", f"https://{client}:1", specs, held)


def submitted(
    request: str = "q1", runs: int = 2, name: str = "exp", durability: Durability = Durability.REPLICATED
) -> e.ExperimentSubmitted:
    base = RunSpec("model", "data")
    spec = ExperimentSpec(name, base, chunks=Chunks(steps=5), checkpoint=CheckpointPolicy(durability=durability))
    specs = tuple(RunSpec("model", "data", learning_rate=1e-4 * (number + 1)) for number in range(runs))
    return e.ExperimentSubmitted(RequestId(request), spec, specs, tuple((("learning_rate", str(one.learning_rate)),) for one in specs), "t")


def run_size(total_steps: int = 20) -> RunSize:
    return RunSize(10, total_steps, 10, 2, digest("base"), digest("data"))


def checkpoint(run: str, step: int, holders: tuple[str, ...] = ("a", "host")) -> Checkpoint:
    return Checkpoint(digest(f"{run}@{step}"), step, digest(f"weights {run}@{step}"), 100, (("eval_loss", 1.0 / (step + 1)),), holders)


@dataclass
class Time:
    """Seconds that the test moves."""

    time_s: float = 1_000.0

    def __call__(self) -> float:
        return self.time_s


@dataclass
class PlanHost:
    """A journal and a loop over it."""

    journal: SqliteJournal
    loop: PlanLoop
    time: Time
    effects: list[Effect] = field(default_factory=list)

    @property
    def state(self) -> ClusterState:
        return self.loop.state

    async def submit(self, *events: e.Event) -> Submitted:
        for event in events:
            self.time.time_s += 1
            done = await self.loop.submit(event)
        return done

    async def prepare(self, client: str = "a", total_steps: int = 20) -> None:
        """Finishes the open prepare jobs of that client."""
        for job in [job for job in self.state.jobs.values() if job.client == client and job.kind is JobKind.PREPARE]:
            planned = len(self.state.experiments[job.experiment].planned) if job.experiment else 0
            await self.submit(e.JobFinished(ClientName(client), job.id, '{"seconds":1}', sizes=(run_size(total_steps),) * planned))

    async def train_chunk(self, run: str) -> int:
        """Reports the oldest open grant of the run as trained and committed; the new position."""
        grant = self.state.runs[RunId(run)].grants[0]
        if grant.phase is not GrantPhase.TRAINED:
            await self.submit(e.ChunkTrained(grant.client, grant.run, grant.generation, grant.to_step, 0.5))
        await self.submit(
            e.ChunkCommitted(grant.client, grant.run, grant.generation, checkpoint(run, grant.to_step, (grant.client, "host")))
        )
        return self.state.runs[RunId(run)].position

    async def train_until(self, done: Callable[[], bool]) -> None:
        """Trains chunk after chunk, the oldest grant first, until ``done()`` holds."""
        while not done():
            await self.train_chunk(min((grant.granted_at_s, grant.run) for run in self.state.runs.values() for grant in run.grants)[1])

    async def give_back(self, run: str) -> None:
        """Returns the run's open grants untouched."""
        while grants := self.state.runs[RunId(run)].grants:
            await self.submit(e.GrantReturned(grants[-1].client, grants[-1].run, grants[-1].generation))


@asynccontextmanager
async def plan_host(
    directory: Path, on_effects: Callable[[Sequence[Effect]], None] | None = None, **options: int
) -> AsyncIterator[PlanHost]:
    """Opens (again) the plan in a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    journal = SqliteJournal(directory / "journal.db", constants={"undo_window_s": "60.0"})
    state, _seq = open_state(journal)
    effects: list[Effect] = []
    time = Time(max(1_000.0, max((run.created_at_s for run in state.runs.values()), default=0.0)))
    loop = PlanLoop(journal, state, time, on_effects or effects.extend, **options)
    loop.start()
    try:
        yield PlanHost(journal, loop, time, effects)
    finally:
        await loop.close()
        journal.close()


async def every_event(host: PlanHost) -> None:
    """A plan's life in which every type of event happens."""
    a, b = ClientName("a"), ClientName("b")
    await host.submit(registered("a"), registered("b"), submitted(runs=4))
    await host.prepare("a")
    await host.prepare("b")
    r1 = host.state.runs[RunId("r1")]
    await host.train_until(lambda: r1.position > 0 and bool(r1.grants))
    await host.submit(e.RunOpRequested(RequestId("q2"), RunId("r1"), RunOp.STOP, "t"))
    await host.give_back("r1")
    await host.submit(e.RunOpRequested(RequestId("q3"), RunId("r1"), RunOp.RESUME, "t"))
    clone = RunSpec("model", "data", learning_rate=0.5)
    await host.submit(e.RunCloneRequested(RequestId("q4"), RunId("r1"), clone, (("learning_rate", "0.5"),), "latest", "t"))
    await host.submit(e.JobRequested(RequestId("q5"), JobKind.VERIFY, RunId("r1"), "{}", "t"))
    job = next(job for job in host.state.jobs.values() if job.kind is JobKind.VERIFY)
    assert job.client is not None
    await host.submit(e.JobFinished(job.client, JobId(job.id), '{"identical":true}'))
    failing = next(grant for run in host.state.runs.values() for grant in run.grants)
    failure = Failure("nan_loss", "the loss is not a number")
    await host.submit(e.ChunkFailed(failing.client, failing.run, failing.generation, failure))
    await host.submit(e.RunOpRequested(RequestId("q6"), RunId("r5"), RunOp.DELETE, "t"))
    await host.give_back("r5")
    for key, due_at_s in list(host.state.timers.items()):
        host.time.time_s = max(host.time.time_s, due_at_s)
        await host.submit(e.TimerFired(key))
    await host.submit(
        e.SlotsOccupied(b, ((SlotId("b/0"), "anna"),)),
        e.ClientDrainRequested(b, True, "t"),
        e.ClientLost(b, "silent"),
        registered("b", "i2"),
        e.ClientDrainRequested(b, False, "t"),
    )
    await host.submit(e.ExperimentOpRequested(RequestId("q7"), next(iter(host.state.experiments)), RunOp.STOP, "t"))
    await host.submit(e.ClientLost(a, "good-bye"), e.PlanRestored(1_700_000_000))


def fingerprint(state: ClusterState) -> str:
    """Equal states have equal fingerprints."""
    return blake3(encode_state(state)).hexdigest()
