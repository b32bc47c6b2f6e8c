"""The agent's records and the moves that keep them consistent. Pure; ``gswarm.client.agent`` holds the rules that use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gswarm.client import agent_events as ev
from gswarm.client.agent_model import (
    QUEUED_PHASES,
    SAVING_PHASES,
    WITH_TRAINER_PHASES,
    GrantKey,
    GrantPhase,
    HeldGrant,
    ProcessState,
    SlotState,
    continues_uncommitted,
)
from gswarm.domain.errors import InvariantError
from gswarm.domain.ids import JobId, RunId
from gswarm.domain.messages import (
    ChunkFailedReport,
    GrantOrder,
    GrantReturnedReport,
    JobReport,
    ReliableMessage,
)
from gswarm.domain.plan import Checkpoint, Failure
from gswarm.training.protocol import AbortRange, DropRun, StopRange

RUNS_REMEMBERED = 10_000


@dataclass(slots=True)
class Book:
    """Grants, slots, jobs and reports without an acknowledgement; ``out`` collects the effects of the present step."""

    slots: dict[int, SlotState]
    grants: dict[GrantKey, HeldGrant] = field(default_factory=dict)
    """In order of arrival."""
    outbox: dict[int, ReliableMessage] = field(default_factory=dict)
    """Reports without an acknowledgement, by ``seq``."""
    jobs: dict[JobId, None] = field(default_factory=dict)
    """Running, or not acknowledged."""
    newest: dict[RunId, int] = field(default_factory=dict)
    """Highest generation seen of each run: what is older and not held is over."""
    latest: dict[RunId, Checkpoint] = field(default_factory=dict)
    """The newest checkpoint that this client stored of each run it holds grants of."""
    next_seq: int = 1
    connected: bool = False
    out: list[ev.AgentEffect] = field(default_factory=list)

    # ---- grants ---------------------------------------------------------------------------------------------------

    def add(self, order: GrantOrder) -> HeldGrant:
        run = order.run
        self.newest.pop(run, None)
        self.newest[run] = order.generation
        if len(self.newest) > RUNS_REMEMBERED:
            held = {held_run for held_run, _ in self.grants}
            del self.newest[next(old for old in self.newest if old not in held)]
        grant = HeldGrant(order, GrantPhase.FETCHING)
        self.grants[grant.key] = grant
        return grant

    def rewind(self, order: GrantOrder, *, is_other_plan: bool) -> None:
        """Lets go of what this client holds of the run beyond the order's start: the host does not go on from that.

        In another plan, one that began with a restore from a backup, the same id may even be another run: then of everything.
        """
        kept_step = -1 if is_other_plan else order.from_step
        latest = self.latest.get(order.run)
        if latest is not None and latest.step > kept_step:
            del self.latest[order.run]
        if any(slot.hot.get(order.run, -1) > kept_step for slot in self.slots.values()):
            self.drop_hot(order.run)

    def fetch(self, grant: HeldGrant, checkpoint: Checkpoint | None) -> None:
        order, grant.phase = grant.order, GrantPhase.FETCHING
        self.out.append(ev.FetchInputs(order.run, order.generation, order.base, order.data, checkpoint))

    def give_back(self, grant: HeldGrant) -> None:
        """Ends the grant with a return: no step of it was trained here."""
        self._end(grant)
        self.report(GrantReturnedReport(self.next_seq, *grant.key))

    def fail(self, grant: HeldGrant, failure: Failure) -> None:
        self.abandon(self.followers(grant))
        self._end(grant)
        if any(slot.hot.get(grant.order.run, -1) > grant.order.from_step for slot in self.slots.values()):
            # Trained, and never committed: somebody else may commit those steps with weights of his own.
            self.drop_hot(grant.order.run)
        self.report(ChunkFailedReport(self.next_seq, *grant.key, failure))
        self.store_next(grant.order.run)

    def forget(self, grant: HeldGrant) -> None:
        """The grant is over for the host too; nothing more is said about it."""
        if grant.phase in WITH_TRAINER_PHASES:
            self._abort(grant)
        if grant.phase is not GrantPhase.ENDED:
            self._end(grant)
        del self.grants[grant.key]
        run = grant.order.run
        for seq, report in list(self.outbox.items()):
            if not isinstance(report, JobReport) and (report.run, report.generation) == grant.key:
                del self.outbox[seq]
        if not any(key[0] == run for key in self.grants):
            self.latest.pop(run, None)
        self.store_next(run)

    def abandon(self, followers: Iterable[HeldGrant]) -> None:
        """Returns grants that can no longer begin where they should."""
        for follower in list(followers):
            if follower.phase in WITH_TRAINER_PHASES:
                self._abort(follower)
            self.give_back(follower)

    def followers(self, grant: HeldGrant) -> list[HeldGrant]:
        """Queued grants that begin in what ``grant`` leaves uncommitted, the last one first."""
        run, generation = grant.key
        chain, reach = list[HeldGrant](), grant.order.to_step
        for key in sorted(key for key in self.grants if key[0] == run and key[1] > generation):
            follower = self.grants[key]
            if follower.order.from_step != reach or not continues_uncommitted(follower.order):
                continue
            reach = follower.order.to_step
            if follower.phase in QUEUED_PHASES:
                chain.append(follower)
        return chain[::-1]

    def will_be_stored_for(self, grant: HeldGrant) -> bool:
        """Whether an older grant of the run will still leave the checkpoint that ``grant`` begins at."""
        for other in self.grants.values():
            if other.order.run != grant.order.run or other.order.generation >= grant.order.generation:
                continue
            reaches = other.order.to_step if other.snapshot is None else other.snapshot.reached_step
            if other.phase is not GrantPhase.ENDED and reaches == grant.order.from_step:
                return True
        return False

    def store_next(self, run: RunId) -> None:
        """Begins to store the run's oldest snapshot, unless an older checkpoint of the run is still without its acknowledgement."""
        grants = [grant for grant in self.grants.values() if grant.order.run == run]
        if any(grant.phase in SAVING_PHASES for grant in grants):
            return
        for grant in grants:
            if grant.phase is GrantPhase.TRAINED and grant.snapshot is not None:
                grant.phase = GrantPhase.STORING
                self.out.append(ev.StoreCheckpoint(*grant.key, grant.snapshot, replicate=grant.order.durability != "local"))
                return

    def _abort(self, grant: HeldGrant) -> None:
        slot = self.slots[grant.order.slot_index]
        slot.hot.pop(grant.order.run, None)
        others = [key for key in slot.queue if key[0] == grant.order.run and key != grant.key]
        if any(self.grants[key].phase in WITH_TRAINER_PHASES for key in others):
            # An abort would take the run's memory from under its other range; the answer to a stop is ignored.
            self.tell(slot, StopRange(*grant.key))
        else:
            self.tell(slot, AbortRange(*grant.key))

    def _end(self, grant: HeldGrant) -> None:
        slot = self.slots.get(grant.order.slot_index)
        if slot is not None and grant.key in slot.queue:
            slot.queue.remove(grant.key)
        grant.phase = GrantPhase.ENDED
        self.out.append(ev.Release(*grant.key))

    # ---- reports, trainer processes -------------------------------------------------------------------------------

    def report(self, message: ReliableMessage) -> None:
        self.outbox[message.seq] = message
        self.next_seq = message.seq + 1
        if self.connected:
            self.out.append(ev.SendReport(message))

    def tell(self, slot: SlotState, command: StopRange | AbortRange | DropRun) -> None:
        if slot.process is ProcessState.UP:
            self.out.append(ev.SendToTrainer(slot.index, slot.epoch, command))

    def start_trainer(self, slot: SlotState) -> None:
        slot.epoch += 1
        slot.process, slot.precision = ProcessState.STARTING, None
        slot.hot.clear()
        self.out.append(ev.StartTrainer(slot.index, slot.epoch))

    def drop_hot(self, run: RunId) -> None:
        """Frees what trainer processes hold of the run, except where they train it now."""
        for slot in self.slots.values():
            busy = any(key[0] == run and self.grants[key].phase in WITH_TRAINER_PHASES for key in slot.queue)
            if run in slot.hot and not busy:
                del slot.hot[run]
                self.tell(slot, DropRun(run))

    def drop_unaccounted(self, slot: SlotState, run: RunId) -> None:
        """Frees what the process may still hold of a run that is not counted as hot any more.

        A range that failed before it came to the process (no room for its snapshot) left the run there as it was; somebody else trains
        those steps now, and the process must not go on from its own.
        """
        busy = any(key[0] == run and self.grants[key].phase in WITH_TRAINER_PHASES for key in slot.queue)
        if run not in slot.hot and not busy:
            self.tell(slot, DropRun(run))

    # ---- invariants -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises InvariantError when queues, phases and outbox do not fit together."""
        for slot in self.slots.values():
            phases = [self.grants[key].phase for key in slot.queue]
            with_trainer = [phase in WITH_TRAINER_PHASES for phase in phases]
            if any(phase not in QUEUED_PHASES for phase in phases) or with_trainer != sorted(with_trainer, reverse=True):
                raise InvariantError(f"slot {slot.index} has a queue in the phases {phases}")
            if any(with_trainer) and slot.process is not ProcessState.UP:
                raise InvariantError(f"slot {slot.index} has ranges with a trainer process that is not there")
        queued = [key for slot in self.slots.values() for key in slot.queue]
        if sorted(queued) != sorted(key for key, grant in self.grants.items() if grant.phase in QUEUED_PHASES):
            raise InvariantError("queues and grants do not agree")
        saving = [key[0] for key, grant in self.grants.items() if grant.phase in SAVING_PHASES]
        if len(saving) != len(set(saving)):
            raise InvariantError("two checkpoints of one run are on their way at once")
        if list(self.outbox) != sorted(self.outbox):
            raise InvariantError("reports are not in the order of their seq")
