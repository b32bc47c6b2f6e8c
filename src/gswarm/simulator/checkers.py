"""What must be true whatever breaks. The checkers know what really happened; nobody in the cluster does.

They follow the journal as it reaches the disk with a plan of their own, look at every state of it, and compare it with the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gswarm.client import agent_events as ev
from gswarm.client.agent import JOBS_LIMIT, QUEUE_LIMIT, AgentState
from gswarm.domain.errors import CorruptDataError, GswarmError, InvariantError
from gswarm.domain.ids import ClientName, Digest, RequestId, RunId
from gswarm.domain.messages import (
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantReturnedReport,
    JobReport,
    ReliableMessage,
)
from gswarm.domain.plan import Checkpoint, Run, RunState
from gswarm.host.journal.codec import decode
from gswarm.host.journal.snapshot import encode_state
from gswarm.host.sessions import OUTGOING_MAX
from gswarm.scheduler import invariants
from gswarm.scheduler.core import REQUESTS_MAX, ClusterState, Request
from gswarm.scheduler.events import ChunkCommitted, ChunkFailed, ChunkTrained, Event, GrantReturned, JobFinished
from gswarm.scheduler.job_index import FINISHED_MAX, is_finished
from gswarm.scheduler.jobs import PER_CLIENT_MAX
from gswarm.simulator.disk import Row, SimStore
from gswarm.simulator.fairness import Fairness
from gswarm.simulator.lineage import BASE_ROOT, Weights, absent, load_weights, tree_of
from gswarm.simulator.reasons import check_reasons
from gswarm.simulator.scenario import Scenario
from gswarm.simulator.trace import short

if TYPE_CHECKING:
    from gswarm.host.core import HostCore

OWN_EVENTS_MAX = 64
"""Events of the host itself that may wait beyond the queue's limit: they are never refused."""

Key = tuple[str, str, int]
"""What a report was about: kind, run or job, generation."""


class Checkers:
    """Told of everything that matters; the first thing that is wrong ends the simulation.

    Args:
        wrong: (checker, what is wrong).
        note: a line for the trace.
        stores: every machine's blobs.
        running: the host's parts that run now, if it is up.
    """

    def __init__(
        self,
        scenario: Scenario,
        stores: dict[str, SimStore],
        wrong: Callable[[str, str], None],
        note: Callable[[str], None],
        running: Callable[[], HostCore | None],
    ) -> None:
        self._scenario = scenario
        self._stores = stores
        self._wrong = wrong
        self._note = note
        self._running = running
        self.plan = ClusterState(undo_window_s=scenario.undo_window_s)
        """What is on the host's disk, replayed."""
        self.seq = 0
        self.grants = 0
        self._reports: set[Key] = set()
        self._requests: set[RequestId] = set()
        self._positions: dict[RunId, int] = {}
        self._weights: dict[RunId, Weights] = {}
        """Of each run's newest commit."""
        self._deleted_s: dict[RunId, float] = {}
        self._fairness = Fairness()

    # ---- the journal -----------------------------------------------------------------------------------------------

    def opened(self, state: ClusterState, seq: int) -> None:
        """A host process has opened its journal."""
        if seq != self.seq:
            self._wrong("lost", f"the journal ends at {seq}, but {self.seq} entries were flushed")
        elif encode_state(state) != encode_state(self.plan):
            self._wrong("replay", "snapshot and journal give another state than the journal alone")

    def flushed(self, rows: Sequence[Row]) -> None:
        """The disk has these; some may be known already, from before a restart."""
        try:
            for seq, now_s, text, _ in rows:
                if seq > self.seq:
                    self.seq = seq
                    self._follow(decode(text), now_s)
        except GswarmError as error:
            self._wrong("replay", f"entry {self.seq} of the journal cannot be applied again: {error.message}")
        core = self._running()
        if core is not None and rows and core.loop.state != self.plan:
            self._wrong("replay", "the state in memory is not what its journal says")
        if core is not None and core.loop.waiting > self._scenario.queued_events_max + OWN_EVENTS_MAX:
            self._wrong("limits", f"{core.loop.waiting} events wait for the journal")
        if core is not None and core.sessions.longest_queue > OUTGOING_MAX:
            self._wrong("limits", f"{core.sessions.longest_queue} messages wait for a client")

    def _follow(self, event: Event, now_s: float) -> None:
        """One step of the plan on the disk, and what must be true after it."""
        self._note(f"journal {self.seq}: {short(event)}")
        effects = self.plan.step(event, now_s)
        self._reports.update(_keys_of(event))
        if isinstance(event, Request):
            if event.request in self._requests:
                self._wrong("requests", f"request {event.request} has taken effect twice")
            self._requests.add(event.request)
        try:
            invariants.check(self.plan)
        except InvariantError as error:
            self._wrong("invariants", error.message)
        if isinstance(event, ChunkCommitted):
            self._check_commit(event)
        self._check_positions()
        self._check_deletions(now_s)
        self._check_limits()
        for checker, text in self._fairness.check(self.plan, effects):
            self._wrong(checker, text)
        for text in check_reasons(self.plan, now_s):
            self._wrong("explain", text)

    # ---- steps count once ------------------------------------------------------------------------------------------

    def _check_commit(self, event: ChunkCommitted) -> None:
        run, checkpoint = self.plan.runs[event.run], event.checkpoint
        before = self._positions.get(run.id, run.first_step)
        if run.position == before:
            return
        if run.latest != checkpoint or run.position != checkpoint.step:
            self._wrong("steps", f"run {run.id} is at {run.position} after a commit of step {checkpoint.step}")
        self._check_held(run.id, checkpoint)
        weights = self._weights_of(checkpoint)
        if weights is None:
            return
        root = run.start.manifest if run.start is not None else BASE_ROOT
        if (weights.root, weights.first, weights.step) != (root, run.first_step, checkpoint.step):
            self._wrong("steps", f"run {run.id} at {checkpoint.step} has weights of step {weights.step} that began elsewhere")
        known = self._weights.get(run.id)
        if known is not None and not weights.descends_from(known):
            self._wrong("steps", f"run {run.id} at {checkpoint.step} goes on from something else than its checkpoint of step {known.step}")
        self._weights[run.id] = weights

    def _weights_of(self, checkpoint: Checkpoint) -> Weights | None:
        for holder in checkpoint.holders:
            if not absent(self._stores[holder], checkpoint.manifest):
                return load_weights(self._stores[holder], checkpoint.manifest)
        return None

    def _check_positions(self) -> None:
        trained = 0
        for run in self.plan.runs.values():
            before = self._positions.get(run.id, run.first_step)
            if run.position < before:
                self._wrong("steps", f"run {run.id} went back from step {before} to {run.position}")
            self._positions[run.id] = run.position
            trained += run.position - run.first_step
        counted = self.plan.counters.get("committed_steps", 0)
        if trained != counted:
            self._wrong("steps", f"{counted} steps are counted, but the runs are {trained} steps further")

    # ---- blobs -----------------------------------------------------------------------------------------------------

    def _check_held(self, run: RunId, checkpoint: Checkpoint) -> None:
        for holder in checkpoint.holders:
            lacks = absent(self._stores[holder], checkpoint.manifest)
            if lacks:
                self._wrong("blobs", f"{holder} lacks {len(lacks)} blobs of run {run} at step {checkpoint.step}")

    def deleted(self, machine: str) -> None:
        """A machine has deleted blobs: whatever the plan says that it holds must still be there, and all the rest somewhere."""
        for run in self.plan.runs.values():
            if run.state is RunState.DELETED:
                continue
            for checkpoint in _checkpoints(run):
                if machine in checkpoint.holders:
                    self._check_held(run.id, checkpoint)
            for manifest in (run.base, run.data):
                if all(absent(store, manifest) for store in self._stores.values()):
                    self._wrong("blobs", f"the base model or the data of run {run.id} is nowhere any more")

    def check_nothing_left(self) -> None:
        """At the end, after a sweep of everything old: only what is reachable is there."""
        roots = set(self.plan.live_roots())
        for name, store in self._stores.items():
            reached = {entry for root in roots if store.has(root) for entry in _tree(store, root)}
            left = set(store.digests()) - reached - roots
            if left:
                self._wrong("blobs", f"{name} keeps {len(left)} blobs that nothing refers to")

    # ---- limits, deletions -----------------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        plan = self.plan
        finished = sum(is_finished(job) for job in plan.jobs.values())
        if len(plan.requests) > REQUESTS_MAX or finished > FINISHED_MAX:
            self._wrong("limits", f"{len(plan.requests)} requests and {finished} finished jobs are remembered")
        for name in plan.clients:
            jobs = sum(job.client == name and not is_finished(job) for job in plan.jobs.values())
            if jobs > PER_CLIENT_MAX:
                self._wrong("limits", f"client {name} has {jobs} jobs")

    def _check_deletions(self, now_s: float) -> None:
        """A deleted run can be restored for the whole window."""
        for run in self.plan.runs.values():
            match run.state:
                case RunState.DELETING:
                    self._deleted_s.setdefault(run.id, now_s)
                case RunState.DELETED:
                    gone_after_s = now_s - self._deleted_s.pop(run.id, 0.0)
                    if gone_after_s < self._scenario.undo_window_s:
                        self._wrong("deletion", f"run {run.id} is gone {gone_after_s:.1f} s after it was deleted")
                case _:
                    self._deleted_s.pop(run.id, None)

    # ---- what was promised -----------------------------------------------------------------------------------------

    def answered(self, request: RequestId) -> None:
        """A person was told that the request took effect."""
        if self.plan.result_of(request) is None:
            self._wrong("acknowledged", f"request {request} was answered, but is not in the journal")

    def agent_hears(self, name: ClientName, agent: AgentState, event: ev.AgentEvent) -> None:
        match event:
            case ev.GrantReceived(order):
                run = self.plan.runs.get(order.run)
                if run is None or run.generation < order.generation:
                    self._wrong("acknowledged", f"{name} was granted generation {order.generation} of {order.run} before the flush")
                self.grants += 1
            case ev.Acked(ack) if ack.accepted and ack.seq in agent.book.outbox:
                report = agent.book.outbox[ack.seq]
                if not self._reports.intersection(_keys_that_count(report)):
                    self._wrong("acknowledged", f"{name} was told that {short(report)} counts, but it is not in the journal")
            case _:
                return

    def agent_decided(self, name: ClientName, agent: AgentState) -> None:
        book = agent.book
        longest = max((len(slot.queue) for slot in book.slots.values()), default=0)
        if (
            longest > QUEUE_LIMIT
            or len(book.jobs) > JOBS_LIMIT + PER_CLIENT_MAX
            or len(book.outbox) > 3 * len(book.grants) + len(book.jobs) + 8
        ):
            self._wrong("limits", f"{name} has {longest} grants on a slot, {len(book.jobs)} jobs, {len(book.outbox)} reports waiting")


def _keys_of(event: Event) -> list[Key]:
    match event:
        case ChunkTrained() | ChunkCommitted() | ChunkFailed() | GrantReturned():
            return [(type(event).__name__, event.run, event.generation)]
        case JobFinished():
            return [("JobFinished", event.job, 0)]
        case _:
            return []


def _keys_that_count(report: ReliableMessage) -> set[Key]:
    """Any of these in the journal makes the report count; a trained chunk may be known from its commit."""
    match report:
        case ChunkTrainedReport():
            return {("ChunkTrained", report.run, report.generation), ("ChunkCommitted", report.run, report.generation)}
        case ChunkCommittedReport():
            return {("ChunkCommitted", report.run, report.generation)}
        case ChunkFailedReport():
            return {("ChunkFailed", report.run, report.generation)}
        case GrantReturnedReport():
            return {("GrantReturned", report.run, report.generation)}
        case JobReport():
            return {("JobFinished", report.job, 0)}


def _checkpoints(run: Run) -> list[Checkpoint]:
    return [*run.checkpoints, *([run.start] if run.start is not None else [])]


def _tree(store: SimStore, root: Digest) -> tuple[Digest, ...]:
    try:
        return tree_of(store, root)
    except CorruptDataError:
        return (root,)
