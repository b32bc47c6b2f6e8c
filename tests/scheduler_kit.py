"""A cluster for tests of the scheduler: the real state, an obedient clock, and short words for events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from pydantic import TypeAdapter

from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import ClientName, Digest, ExperimentId, JobId, RequestId, RunId, SlotId
from gswarm.domain.plan import Checkpoint, Failure, Grant, GrantPhase, JobKind, Run, RunOp, RunSize, RunState, SlotSpec
from gswarm.domain.spec import CheckpointPolicy, Chunks, ExperimentSpec, Resources, RunSpec, Search
from gswarm.domain.steps import steps_per_epoch, total_steps
from gswarm.scheduler import invariants
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendJob
from gswarm.scheduler.events import (
    ChunkCommitted,
    ChunkFailed,
    ChunkTrained,
    ClientLost,
    ClientRegistered,
    Event,
    ExperimentOpRequested,
    ExperimentSubmitted,
    GrantReturned,
    HeldGrant,
    JobFinished,
    JobRequested,
    RunCloneRequested,
    RunOpRequested,
    TimerFired,
)

STATE = TypeAdapter(ClusterState)
BASE, DATA = Digest("b" * 64), Digest("d" * 64)
SPEC = RunSpec("tiny", "chat", num_train_epochs=1.0)
TEN_STEPS, KEEP_TWO = Chunks(steps=10), CheckpointPolicy()
SUSPECT = Failure("trainer_died", "the trainer process died", machine_suspect=True)
FATAL = Failure("nan_loss", "the loss is not a number")

E = TypeVar("E", bound=Effect)


def slot_id(client: str, index: int) -> SlotId:
    return SlotId(f"{client}/{index}")


def checkpoint(run: str, step: int, metrics: Sequence[tuple[str, float]] = ()) -> Checkpoint:
    """Its manifest's digest says whose it is: run 12 at step 345 is ``...0120000345``."""
    return Checkpoint(Digest(f"{int(run[1:]):0>57}{step:0>7}"), step, Digest("e" * 64), 10, tuple(metrics))


def only(effects: Iterable[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


@dataclass
class Cluster:
    """Every step checks the invariants."""

    state: ClusterState = field(default_factory=ClusterState)
    now_s: float = 1_000.0
    requests: int = 0
    effects: list[Effect] = field(default_factory=list)
    """Of the newest step."""

    def step(self, event: Event) -> list[Effect]:
        self.effects = self.state.step(event, self.now_s)
        invariants.check(self.state)
        return self.effects

    def refused(self, event: Event, kind: type[GswarmError]) -> GswarmError:
        """The event is refused with that error, and changes nothing."""
        before = self.dump()
        with pytest.raises(kind) as caught:
            self.state.step(event, self.now_s)
        assert self.dump() == before, "a refused event changed the state"
        invariants.check(self.state)
        assert caught.value.message
        return caught.value

    def dump(self) -> bytes:
        return STATE.dump_json(self.state)

    def reload(self) -> None:
        """As after a crash: through JSON, with everything derived built anew."""
        loaded = STATE.validate_json(self.dump())
        assert loaded == self.state
        self.state = loaded

    def request(self) -> RequestId:
        self.requests += 1
        return RequestId(f"q{self.requests}")

    def client(
        self,
        name: str = "a",
        slots: int = 1,
        *,
        incarnation: str = "i1",
        held: Sequence[tuple[str, int]] = (),
        jobs: Sequence[str] = (),
    ) -> list[Effect]:
        specs = tuple(SlotSpec(slot_id(name, index), "cpu") for index in range(slots))
        holds = tuple(HeldGrant(RunId(run), generation) for run, generation in held)
        return self.step(
            ClientRegistered(ClientName(name), incarnation, "1", f"https://{name}", specs, holds, tuple(JobId(job) for job in jobs))
        )

    def lose(self, name: str) -> list[Effect]:
        return self.step(ClientLost(ClientName(name), "no heartbeat"))

    def submit(
        self,
        name: str = "exp",
        runs: int = 1,
        *,
        specs: Sequence[RunSpec] | None = None,
        chunks: Chunks = TEN_STEPS,
        checkpoints: CheckpointPolicy = KEEP_TWO,
        priority: int = 5,
        weight: float = 1.0,
        gpus_per_run: int = 1,
        max_skew: int | None = 1,
    ) -> ExperimentId:
        specs = tuple(specs) if specs is not None else (SPEC,) * runs
        resources = Resources(gpus_per_run, priority, weight, max_skew)
        experiment = ExperimentSpec(name, specs[0], Search(), chunks, resources, checkpoints)
        request = self.request()
        self.step(ExperimentSubmitted(request, experiment, specs, ((("learning_rate", "1e-4"),),) * len(specs)))
        return ExperimentId(self.state.result_of(request) or "")

    def prepare(self, experiment: str, rows: int = 40) -> list[Effect]:
        """The prepare job of the experiment succeeds; with batches of one row there are as many steps an epoch as rows."""
        job = next(job for job in self.state.jobs.values() if job.experiment == experiment and job.kind is JobKind.PREPARE)
        assert job.client is not None
        sizes = tuple(
            RunSize(steps_per_epoch(spec, rows), total_steps(spec, rows), rows, 4, BASE, DATA)
            for spec in self.state.experiments[ExperimentId(experiment)].planned
        )
        return self.step(JobFinished(job.client, job.id, "{}", None, sizes))

    def experiment(self, name: str = "exp", runs: int = 1, *, rows: int = 40, **more: object) -> list[Run]:
        """Submit and prepare; the runs. By default each has four chunks of ten steps."""
        experiment = self.submit(name, runs, **more)  # type: ignore[arg-type]
        self.prepare(experiment, rows)
        return [self.state.runs[run] for run in self.state.experiments[experiment].runs]

    def run(self, run: str) -> Run:
        return self.state.runs[RunId(run)]

    def grant(self, run: str, place: int = 0) -> Grant:
        return self.run(run).grants[place]

    def active(self, slot: str) -> Grant:
        """The grant that the slot trains."""
        run, generation = self.state.slots[SlotId(slot)].queue[0]
        return next(grant for grant in self.run(run).grants if grant.generation == generation)

    def queue(self, slot: str) -> list[str]:
        return [run for run, _ in self.state.slots[SlotId(slot)].queue]

    def trained_event(self, grant: Grant, step: int | None = None, step_time_s: float = 0.5) -> ChunkTrained:
        return ChunkTrained(grant.client, grant.run, grant.generation, step if step is not None else grant.to_step, step_time_s)

    def committed_event(self, grant: Grant, step: int | None = None, metrics: Sequence[tuple[str, float]] = ()) -> ChunkCommitted:
        at = step if step is not None else grant.to_step
        return ChunkCommitted(grant.client, grant.run, grant.generation, checkpoint(grant.run, at, metrics))

    def train(self, grant: Grant, step: int | None = None) -> list[Effect]:
        return self.step(self.trained_event(grant, step))

    def commit(self, grant: Grant, step: int | None = None, metrics: Sequence[tuple[str, float]] = ()) -> list[Effect]:
        return self.step(self.committed_event(grant, step, metrics))

    def chunk(self, slot: str, metrics: Sequence[tuple[str, float]] = ()) -> Grant:
        """The slot trains and commits its grant."""
        grant = self.active(slot)
        self.train(grant)
        self.commit(grant, metrics=metrics)
        return grant

    def give_back(self, grant: Grant) -> list[Effect]:
        return self.step(GrantReturned(grant.client, grant.run, grant.generation))

    def fail(self, grant: Grant, failure: Failure = SUSPECT) -> list[Effect]:
        return self.step(ChunkFailed(grant.client, grant.run, grant.generation, failure))

    def op_event(self, run: str, op: RunOp) -> RunOpRequested:
        return RunOpRequested(self.request(), RunId(run), op)

    def op(self, run: str, op: RunOp) -> list[Effect]:
        return self.step(self.op_event(run, op))

    def experiment_op(self, experiment: str, op: RunOp) -> list[Effect]:
        return self.step(ExperimentOpRequested(self.request(), ExperimentId(experiment), op))

    def clone_event(self, parent: str, spec: RunSpec | None = None, warm_start: str | None = None) -> RunCloneRequested:
        return RunCloneRequested(self.request(), RunId(parent), spec or self.run(parent).spec, (), warm_start)

    def clone(self, parent: str, spec: RunSpec | None = None, warm_start: str | None = None) -> Run:
        event = self.clone_event(parent, spec, warm_start)
        self.step(event)
        return self.run(self.state.result_of(event.request) or "")

    def ask_job(self, kind: JobKind, run: str, request_json: str = "{}") -> JobId:
        request = self.request()
        self.step(JobRequested(request, kind, RunId(run), request_json))
        return JobId(self.state.result_of(request) or "")

    def sweep(self, run: str) -> list[Effect]:
        return self.step(TimerFired(f"sweep:{run}"))

    def finish_everything(self) -> None:
        """Obedient clients: whatever is granted is trained and committed, until nothing is granted any more."""
        for _ in range(100_000):
            busy = [slot for slot in self.state.slots.values() if slot.queue]
            open_runs = [run for run in self.state.runs.values() if run.grants]
            if not busy and not open_runs:
                return
            for run in open_runs:
                self._oblige(run)
        raise AssertionError("the work does not end")

    def _oblige(self, run: Run) -> None:
        grant = run.grants[0] if run.grants else None
        if grant is None:
            return
        if grant.phase is GrantPhase.STOPPING:
            self.give_back(grant)
        elif grant.phase is GrantPhase.TRAINED:
            self.commit(grant)
        elif self.state.slots[grant.slots[0]].queue[0] == (run.id, grant.generation):
            self.train(grant)


def bring_to(state: RunState) -> Cluster:
    """A cluster whose run ``r1`` is in that state."""
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    match state:
        case RunState.RUNNING:
            pass
        case RunState.QUEUED:
            cluster.lose("a")
        case RunState.STOPPING:
            cluster.op("r1", RunOp.STOP)
        case RunState.STOPPED:
            cluster.lose("a")
            cluster.op("r1", RunOp.STOP)
        case RunState.COMPLETED:
            cluster.finish_everything()
        case RunState.FAILED:
            cluster.fail(cluster.grant("r1"), FATAL)
            cluster.lose("a")
        case RunState.PRUNED:
            cluster.lose("a")
            cluster.op("r1", RunOp.STOP)
            cluster.run("r1").state = RunState.PRUNED
        case RunState.DELETING:
            cluster.op("r1", RunOp.DELETE)
        case RunState.DELETED:
            cluster.op("r1", RunOp.DELETE)
            cluster.now_s += cluster.state.undo_window_s
            cluster.sweep("r1")
    assert cluster.run("r1").state is state
    return cluster


def prepare_jobs(effects: Iterable[Effect]) -> list[JobId]:
    return [effect.job for effect in only(effects, SendJob)]
