"""The scheduler against a deliberately dumb twin, under random clients, operations, late and duplicated reports, and reloads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gswarm.domain.errors import GswarmError, InvariantError
from gswarm.domain.ids import ClientName, ExperimentId, RequestId, RunId
from gswarm.domain.plan import ClientState, Grant, JobKind, RunOp, RunSize, RunState, SlotSpec
from gswarm.domain.spec import Chunks, ExperimentSpec, Resources
from gswarm.scheduler import invariants
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendGrant, SendRevoke
from gswarm.scheduler.events import (
    ChunkCommitted,
    ChunkFailed,
    ChunkTrained,
    ClientDrainRequested,
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
    SlotsOccupied,
    TimerFired,
)
from gswarm.scheduler.gangs import Reservations
from gswarm.scheduler.lifecycle import possible_ops
from gswarm.scheduler.policy import avoids
from scheduler_kit import BASE, DATA, FATAL, SPEC, STATE, SUSPECT, Cluster, checkpoint, only, slot_id

NAMES = ("a", "b", "c")


@dataclass
class Lease:
    """What the twin knows of one open grant."""

    generation: int
    client: str
    first: int
    end: int
    trained: bool = False


class Twin:
    """A lease table in twenty lines: which grants are open, and which step each run has reached."""

    def __init__(self) -> None:
        self.open: dict[str, list[Lease]] = {}
        self.position: dict[str, int] = {}
        self.counted = 0

    def lease(self, run: str, generation: int, client: str) -> tuple[list[Lease], int] | None:
        leases = self.open.get(run, [])
        for place, lease in enumerate(leases):
            if (lease.generation, lease.client) == (generation, client):
                return leases, place
        return None

    def accepts(self, event: Event) -> bool:
        """Whether a chunk report counts; the only question that the twin answers on its own."""
        match event:
            case ChunkTrained() | ChunkCommitted() | ChunkFailed() | GrantReturned():
                found = self.lease(event.run, event.generation, event.client)
            case _:
                raise AssertionError(event)
        if found is None:
            return False
        leases, place = found
        lease = leases[place]
        match event:
            case ChunkTrained():
                return lease.trained or (all(one.trained for one in leases[:place]) and lease.first < event.reached_step <= lease.end)
            case ChunkCommitted():
                return place == 0 and lease.first <= event.checkpoint.step <= lease.end
            case ChunkFailed():
                return True
            case GrantReturned():
                return not lease.trained

    def follow(self, event: Event) -> None:
        """Apply an accepted event's effect on leases and positions."""
        match event:
            case ChunkTrained():
                leases, place = self.lease(event.run, event.generation, event.client) or ([], 0)
                if not leases[place].trained:
                    leases[place].trained = True
                    if event.reached_step < leases[place].end:
                        leases[place].end = event.reached_step
                        del leases[place + 1 :]
            case ChunkCommitted():
                leases = self.open[event.run]
                short = event.checkpoint.step < leases[0].end
                del leases[: len(leases) if short else 1]
                self.counted += event.checkpoint.step - self.position[event.run]
                self.position[event.run] = event.checkpoint.step
            case ChunkFailed():
                self.open[event.run].clear()
            case GrantReturned():
                leases, place = self.lease(event.run, event.generation, event.client) or ([], 0)
                del leases[place:]
            case ClientLost():
                self.drop_from(event.client, frozenset())
            case ClientRegistered():
                slots = frozenset(slot.id for slot in event.slots)
                self.drop_from(event.client, frozenset((one.run, one.generation) for one in event.held if slots))
            case _:
                pass

    def drop_from(self, client: str, held: frozenset[tuple[str, int]]) -> None:
        for run, leases in self.open.items():
            for place, lease in enumerate(leases):
                if lease.client == client and (run, lease.generation) not in held:
                    del leases[place:]
                    break

    def obey(self, effects: list[Effect]) -> list[Grant]:
        """Note what was granted and revoked."""
        for effect in only(effects, SendRevoke):
            leases = self.open.get(effect.run, [])
            self.open[effect.run] = [one for one in leases if one.generation != effect.generation]
        granted = [effect.grant for effect in only(effects, SendGrant)]
        for grant in granted:
            leases = self.open.setdefault(grant.run, [])
            assert grant.from_step == (leases[-1].end if leases else self.position[grant.run]), "a step is skipped or trained twice"
            leases.append(Lease(grant.generation, grant.client, grant.from_step, grant.to_step))
        return granted


@dataclass(frozen=True)
class Report:
    """A chunk report about a grant: one that is open, or any that was ever given."""

    of_open: bool
    number: int
    kind: str
    offset: int
    to_end: bool
    liar: bool


REPORTS = st.builds(
    Report,
    of_open=st.sampled_from((True, True, True, False)),
    number=st.integers(0, 60),
    kind=st.sampled_from(("trained", "trained", "trained", "committed", "committed", "committed", "failed", "returned")),
    offset=st.integers(-1, 4),
    to_end=st.sampled_from((True, True, True, False)),
    liar=st.sampled_from((False,) * 7 + (True,)),
)


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = ClusterState()
        self.shadow = ClusterState()
        """Takes the same events and is never reloaded."""
        self.twin = Twin()
        self.seen: list[Grant] = []
        self.now_s = 1_000.0
        self.requests = 0
        self.slots: dict[str, int] = {}
        self.may_refuse = True
        """Obedient reports are never refused."""

    # ---- helpers ----

    def step(self, event: Event) -> bool:
        """Apply; whether it was accepted. A refused event must change nothing."""
        before = STATE.dump_json(self.state) if self.may_refuse else b""
        try:
            effects = self.state.step(event, self.now_s)
        except InvariantError:
            raise
        except GswarmError as error:
            if not self.may_refuse:
                raise
            assert STATE.dump_json(self.state) == before, f"{event} was refused and changed the state"
            with pytest.raises(type(error)):
                self.shadow.step(event, self.now_s)
            return False
        assert self.shadow.step(event, self.now_s) == effects, "a reloaded state decides otherwise"
        for sent in only(effects, SendGrant):
            assert not any(self.state.slots[slot].outsider for slot in sent.grant.slots), "work for a slot that others use"
        for run in self.state.runs.values():
            self.twin.position.setdefault(run.id, run.first_step)
        self.twin.follow(event)
        self.seen += self.twin.obey(effects)
        del self.seen[:-60]
        return True

    def request(self) -> RequestId:
        self.requests += 1
        return RequestId(f"q{self.requests}")

    def some_run(self, number: int) -> RunId:
        runs = list(self.state.runs)
        return runs[number % len(runs)]

    # ---- rules ----

    @initialize()
    def begin(self) -> None:
        self.register("a", 2, "i0", held_share=0)
        self.submit(runs=3, size=1, priority=5, skew=1, steps=17)
        self.finish_job(fails=False, stranger=False)

    @rule(
        name=st.sampled_from(NAMES),
        slots=st.integers(1, 3),
        incarnation=st.sampled_from(("i0", "i1")),
        held_share=st.integers(0, 3),
    )
    def register(self, name: str, slots: int, incarnation: str, held_share: int) -> None:
        """``held_share``: 0 holds nothing, 1 everything, else every second one; with 3 also something strange."""
        if held_share == 1 and name in self.slots:
            slots = self.slots[name]
        leases = [(run, lease.generation) for run, leases in self.twin.open.items() for lease in leases if lease.client == name]
        held = leases if held_share == 1 else leases[:: held_share or 1] if held_share else []
        known = self.state.clients.get(ClientName(name))
        if known is not None and slots < len(known.slots):
            held = []
        infos = [HeldGrant(RunId(run), generation) for run, generation in held]
        if held_share == 3:
            infos.append(HeldGrant(RunId("r999"), 7))
        specs = tuple(SlotSpec(slot_id(name, index), "cpu") for index in range(slots))
        assert self.step(ClientRegistered(ClientName(name), incarnation, "1", "", specs, tuple(infos)))
        self.slots[name] = slots

    @precondition(lambda self: len(self.slots) > 1)
    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        assert self.step(ClientLost(ClientName(name), "gone")) == (name in self.slots)

    @rule(name=st.sampled_from(NAMES), drain=st.sampled_from((True, False, False)))
    def drain(self, name: str, drain: bool) -> None:
        self.step(ClientDrainRequested(ClientName(name), drain))

    @rule(name=st.sampled_from(NAMES), numbers=st.sets(st.integers(0, 3), max_size=3))
    def occupy(self, name: str, numbers: set[int]) -> None:
        """Other people's processes come to some of the client's slots, and leave the others."""
        self.step(SlotsOccupied(ClientName(name), tuple((slot_id(name, number), "anna") for number in sorted(numbers))))

    @rule(
        runs=st.integers(1, 4),
        size=st.sampled_from((1, 1, 1, 2, 3)),
        priority=st.sampled_from((5, 5, 8)),
        skew=st.integers(1, 3),
        steps=st.sampled_from((1, 4, 9, 17)),
    )
    def submit(self, runs: int, size: int, priority: int, skew: int, steps: int) -> None:
        if len(self.state.runs) > 12:
            return
        self.finish_job(fails=False, stranger=False)
        name = f"x{self.requests}"
        spec = ExperimentSpec(name, SPEC, chunks=Chunks(steps=3), resources=Resources(size, priority, 1.0, skew))
        assert self.step(ExperimentSubmitted(self.request(), spec, (replace(SPEC, max_steps=steps),) * runs, ((),) * runs))

    @rule(fails=st.sampled_from((False, False, False, True)), stranger=st.booleans())
    def finish_job(self, fails: bool, stranger: bool) -> None:
        for job_id in self.state.index.jobs.open_ids():
            job = self.state.jobs[job_id]
            if job.client is None or job.experiment is None:
                continue
            planned = self.state.experiments[job.experiment].planned if job.kind is JobKind.PREPARE else ()
            sizes = tuple(RunSize(5, spec.max_steps or 5, 5, 0, BASE, DATA) for spec in planned)
            failure = FATAL if fails else None
            result = None if fails else "{}"
            if stranger:
                assert not self.step(JobFinished(ClientName("zz"), job_id, result, failure, sizes))
            assert self.step(JobFinished(job.client, job_id, result, failure, () if fails else sizes))
            return

    @precondition(lambda self: self.state.runs)
    @rule(number=st.integers(0, 20), kind=st.sampled_from((JobKind.VERIFY, JobKind.EXPORT)))
    def ask_job(self, number: int, kind: JobKind) -> None:
        self.step(JobRequested(self.request(), kind, self.some_run(number), "{}"))

    @precondition(lambda self: self.state.runs)
    @rule(number=st.integers(0, 20), op=st.sampled_from(RunOp))
    def operate(self, number: int, op: RunOp) -> None:
        run = self.some_run(number)
        if op is RunOp.CLONE:
            return
        possible = op in possible_ops(self.state.runs[run].state)
        event = RunOpRequested(self.request(), run, op)
        assert self.step(event) == possible
        if possible:
            before = STATE.dump_json(self.state)
            assert self.step(event)
            assert STATE.dump_json(self.state) == before, "said twice it took effect twice"

    @rule(number=st.integers(0, 20), op=st.sampled_from((RunOp.STOP, *[RunOp.RESUME] * 4, RunOp.DELETE, *[RunOp.RESTORE] * 2)))
    def operate_experiment(self, number: int, op: RunOp) -> None:
        experiments = list(self.state.experiments)
        self.step(ExperimentOpRequested(self.request(), experiments[number % len(experiments)], op))

    @precondition(lambda self: self.state.runs)
    @rule(number=st.integers(0, 20), warm=st.sampled_from((None, "latest", "best", "3")), batch=st.sampled_from((1, 2)))
    def clone(self, number: int, warm: str | None, batch: int) -> None:
        if len(self.state.runs) > 14:
            return
        parent = self.some_run(number)
        spec = replace(self.state.runs[parent].spec, per_device_train_batch_size=batch)
        self.step(RunCloneRequested(self.request(), parent, spec, (), warm))

    @precondition(lambda self: self.seen)
    @rule(reports=st.lists(REPORTS, min_size=1, max_size=8))
    def report(self, reports: list[Report]) -> None:
        """In time, late, twice, out of order, out of range or by the wrong client."""
        for report in reports:
            granted = [grant for run in self.state.runs.values() for grant in run.grants] if report.of_open else []
            granted = granted or self.seen
            self.report_on(granted[report.number % len(granted)], report)

    def report_on(self, grant: Grant, report: Report) -> None:
        client = ClientName("b" if report.liar and grant.client != "b" else grant.client)
        step = grant.to_step if report.to_end else grant.from_step + report.offset
        event: Event
        match report.kind:
            case "trained":
                event = ChunkTrained(client, grant.run, grant.generation, step, 0.1 + 0.1 * (step % 3))
            case "committed":
                metrics = [("eval_loss", float(step % 5))]
                event = ChunkCommitted(client, grant.run, grant.generation, checkpoint(grant.run, max(step, 0), metrics))
            case "failed":
                event = ChunkFailed(client, grant.run, grant.generation, SUSPECT if report.to_end else FATAL)
            case _:
                event = GrantReturned(client, grant.run, grant.generation)
        wanted = self.twin.accepts(event)
        assert self.step(event) == wanted, f"{event}: the twin says {wanted}"
        self.is_possible()
        self.agrees_with_the_twin()

    @rule(count=st.integers(1, 8))
    def work(self, count: int) -> None:
        """Obedient clients for a while."""
        for _ in range(count):
            for run in list(self.state.runs.values()):
                self.oblige(run.id)

    def oblige(self, run: RunId) -> None:
        leases = self.twin.open.get(run)
        if not leases:
            return
        lease = leases[0]
        client = ClientName(lease.client)
        if lease.trained:
            event: Event = ChunkCommitted(client, run, lease.generation, checkpoint(run, lease.end, [("eval_loss", lease.end % 5)]))
        else:
            event = ChunkTrained(client, run, lease.generation, lease.end, 0.1)
        self.may_refuse = False
        self.step(event)
        self.may_refuse = True

    @rule(seconds=st.sampled_from((1.0, 700.0)))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.state.runs)
    @rule(number=st.integers(0, 20))
    def fire(self, number: int) -> None:
        run = self.some_run(number)
        due_at_s = self.state.timers.get(f"sweep:{run}")
        assert self.step(TimerFired(f"sweep:{run}"))
        if due_at_s is not None:
            assert self.state.runs[run].state is (RunState.DELETED if self.now_s >= due_at_s else RunState.DELETING)

    @rule()
    def reload(self) -> None:
        loaded = STATE.validate_json(STATE.dump_json(self.state))
        assert loaded == self.state
        assert STATE.dump_json(loaded) == STATE.dump_json(self.state)
        self.state = loaded

    # ---- what must be true after every step ----

    @invariant()
    def is_possible(self) -> None:
        invariants.check(self.state)

    @invariant()
    def agrees_with_the_twin(self) -> None:
        for run in self.state.runs.values():
            assert run.position == self.twin.position[run.id]
            leases = [Lease(one.generation, one.client, one.from_step, one.to_step, one.phase == "trained") for one in run.grants]
            assert leases == self.twin.open.get(run.id, [])
        assert self.state.counters.get("committed_steps", 0) == self.twin.counted

    @invariant()
    def wastes_no_slot(self) -> None:
        """A free slot of a ready client and a run that could train there do not wait for each other."""
        kept = Reservations(self.state)
        for slot in self.state.slots.values():
            if (
                slot.queue
                or slot.outsider
                or self.state.clients[slot.client].state is not ClientState.READY
                or kept.of(slot.client) is not None
            ):
                continue
            for run in self.state.runs.values():
                alone = self.state.experiments[run.experiment].spec.resources.gpus_per_run == 1
                if run.state is RunState.QUEUED and not run.grants and alone:
                    assert avoids(self.state, run, slot.spec.id), f"{run.id} waits although {slot.spec.id} is free"

    # ---- the end: heal, and all work must end ----

    def teardown(self) -> None:
        if not self.slots:
            return
        for name in NAMES:
            self.register(name, 3, "healed", held_share=0)
            self.step(ClientDrainRequested(ClientName(name), False))
        for run in list(self.state.runs.values()):
            if run.state in {RunState.STOPPED, RunState.FAILED}:
                assert self.step(RunOpRequested(self.request(), run.id, RunOp.RESUME))
        for _ in range(400):
            if not any(self.twin.open.values()):
                break
            for run in list(self.state.runs):
                self.oblige(run)
            self.is_possible()
        self.agrees_with_the_twin()
        for run in self.state.runs.values():
            finished = run.state in {RunState.COMPLETED, RunState.DELETING, RunState.DELETED}
            assert finished, f"{run.id} is {run.state} at {run.position} of {run.total_steps}"
            if run.state is RunState.COMPLETED:
                steps = [step for step, _ in run.history]
                assert steps == sorted(set(steps))
                assert steps[-1] == run.total_steps == run.position
        assert self.state == self.shadow


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def test_the_twin_is_not_asleep() -> None:
    """The oracle notices when the core accepts what it must not."""
    cluster = Cluster()
    cluster.client("a")
    cluster.experiment(runs=1)
    twin = Twin()
    twin.position["r1"] = 0
    twin.open["r1"] = [Lease(2, "a", 0, 10)]
    assert not twin.accepts(cluster.committed_event(cluster.grant("r1")))
    assert ExperimentId("e1") in cluster.state.experiments
