"""The client's half of the protocol as a pure state machine: events in, effects out.

It queues grants per slot, keeps one lookahead grant's inputs coming while the present one trains, decides where a run can continue
after a trainer process died, and keeps every report until the host acknowledged it. Each accepted grant ends in exactly one
report (committed, returned or failed), unless the host takes it back.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import assert_never

from gswarm.client import agent_events as ev
from gswarm.client.agent_book import Book
from gswarm.client.agent_model import (
    QUEUED_PHASES,
    WITH_TRAINER_PHASES,
    GrantKey,
    GrantPhase,
    HeldGrant,
    ProcessState,
    SlotState,
    continues_uncommitted,
    precision_of,
    start_checkpoint,
)
from gswarm.domain.epochs import epoch_of
from gswarm.domain.errors import ConflictError, InvariantError
from gswarm.domain.ids import JobId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantOrder,
    GrantReturnedReport,
    HeldGrantInfo,
    JobOrder,
    JobReport,
)
from gswarm.domain.plan import Checkpoint, Failure
from gswarm.training.protocol import RangeDropped, RangeFailed, RangeStarted, RangeTrained, Ready, StopRange

QUEUE_LIMIT = 8
"""Grants on one slot; the host sends two."""
JOBS_LIMIT = 16
PUSHES_LIMIT = 5
"""How often the bytes of one checkpoint are pushed again before the grant fails."""
NOT_HOT_CODE = ConflictError.code
"""What a trainer process answers when it was sent a range without a checkpoint and does not hold the run any more."""


class Stay(StrEnum):
    STAYING = "staying"
    LEAVING = "leaving"
    LEFT = "left"


class AgentState:
    """All that a client decides. Not safe to call from several threads.

    Args:
        slot_count: trainer processes this client runs side by side.
    """

    def __init__(self, slot_count: int) -> None:
        self.book = Book({index: SlotState(index) for index in range(slot_count)})
        self.stay = Stay.STAYING
        self.leave_reason = ""

    def held(self) -> tuple[HeldGrantInfo, ...]:
        """What a registration says this client works on or has not had acknowledged."""
        return tuple(HeldGrantInfo(run, generation) for run, generation in self.book.grants)

    def jobs(self) -> tuple[JobId, ...]:
        return tuple(self.book.jobs)

    def step(self, event: ev.AgentEvent) -> list[ev.AgentEffect]:
        """Takes one event and answers what must be done, in order.

        Raises:
            InvariantError: the agent's own state is impossible.
        """
        book = self.book
        book.out = []
        self._take(event)
        for slot in book.slots.values():
            self._advance(slot)
        if self.stay is Stay.LEAVING and not book.grants and not book.outbox:
            self._leave()
        book.check()
        return book.out

    def _take(self, event: ev.AgentEvent) -> None:
        match event:
            case ev.Connected():
                self.book.connected = True
                self.book.out.extend(ev.SendReport(message) for message in self.book.outbox.values())
            case ev.Disconnected():
                self.book.connected = False
            case ev.GrantReceived(order):
                self._accept(order)
            case ev.StopReceived(run, generation):
                self._stop((run, generation))
            case ev.RevokeReceived(run, generation):
                self._revoke((run, generation))
            case ev.DropReceived(run):
                self.book.drop_hot(run)
            case ev.JobReceived(job_order):
                self._accept_job(job_order)
            case ev.Acked(ack):
                self._acked(ack)
            case ev.InputsReady() | ev.InputsFailed():
                self._fetched(event)
            case ev.TrainerSaid(slot_index, epoch, said):
                self._trainer_said(self.book.slots[slot_index], epoch, said)
            case ev.TrainerDied(slot_index):
                self._trainer_died(self.book.slots[slot_index], event)
            case ev.CheckpointStored(run, generation, checkpoint):
                self._stored((run, generation), checkpoint)
            case ev.CheckpointStoreFailed(run, generation, failure):
                grant = self.book.grants.get((run, generation))
                if grant and grant.phase is GrantPhase.STORING:
                    self.book.fail(grant, failure)
            case ev.JobDone(job, result_json, failure_or_none, sizes):
                if job in self.book.jobs:
                    self.book.report(JobReport(self.book.next_seq, job, result_json, failure_or_none, sizes))
            case ev.ShutdownRequested(reason):
                self._shut_down(reason)
            case ev.GraceOver():
                self._leave()
            case _:
                assert_never(event)

    # ---- the host's orders ----------------------------------------------------------------------------------------

    def _accept(self, order: GrantOrder) -> None:
        book = self.book
        # Given back by a client that leaves, it would come again at once and for ever; the good-bye ends it.
        if (order.run, order.generation) in book.grants or self.stay is not Stay.STAYING:
            return
        newest = book.newest.get(order.run, 0)
        if order.generation <= newest:
            # Of a plan that was set back without a new epoch: the host must not wait for this one.
            book.report(GrantReturnedReport(book.next_seq, order.run, order.generation))
            return
        grant = book.add(order)
        slot = book.slots.get(order.slot_index)
        if slot is None or len(slot.queue) >= QUEUE_LIMIT:
            book.give_back(grant)
            return
        book.rewind(order, is_other_plan=epoch_of(order.generation) > epoch_of(newest))
        slot.queue.append(grant.key)
        book.fetch(grant, start_checkpoint(order))

    def _stop(self, key: GrantKey) -> None:
        grant = self.book.grants.get(key)
        if grant is None or grant.phase not in QUEUED_PHASES:
            return
        # The lookahead goes first: once the earlier range stops short, the later one could only begin in the wrong place.
        for queued in [*self.book.followers(grant), grant]:
            self._stop_one(queued)

    def _stop_one(self, grant: HeldGrant) -> None:
        match grant.phase:
            case GrantPhase.SENT:
                grant.phase = GrantPhase.STOPPING
                self.book.tell(self.book.slots[grant.order.slot_index], StopRange(*grant.key))
            case GrantPhase.FETCHING | GrantPhase.READY:
                self.book.give_back(grant)
            case GrantPhase.STOPPING | GrantPhase.TRAINED | GrantPhase.STORING | GrantPhase.STORED | GrantPhase.ENDED:
                pass
            case _:
                assert_never(grant.phase)

    def _revoke(self, key: GrantKey) -> None:
        """The host has ended this grant and waits for no report about it; of others that it has ended it speaks for itself.

        Where the last report is on its way, the grant may have ended by that very report: the answer to it decides.
        """
        grant = self.book.grants.get(key)
        if grant is None:
            return
        if grant.phase not in {GrantPhase.STORED, GrantPhase.ENDED}:
            self.book.forget(grant)
        if grant.snapshot is not None:
            # Somebody else may train these steps: what comes next begins with their result, not with this one.
            self.book.drop_hot(grant.order.run)

    def _accept_job(self, order: JobOrder) -> None:
        book = self.book
        if order.job in book.jobs or self.stay is not Stay.STAYING:
            return
        book.jobs[order.job] = None
        if len(book.jobs) > JOBS_LIMIT:
            failure = Failure("limit", f"this client already has {JOBS_LIMIT} jobs", machine_suspect=True)
            book.report(JobReport(book.next_seq, order.job, failure=failure))
            return
        book.out.append(ev.RunJob(order))

    def _acked(self, ack: Ack) -> None:
        message = self.book.outbox.pop(ack.seq, None)
        if message is None:
            return
        if isinstance(message, JobReport):
            self.book.jobs.pop(message.job, None)
            return
        grant = self.book.grants.get((message.run, message.generation))
        if grant is None:
            return
        match message:
            case ChunkTrainedReport():
                if not ack.accepted:
                    self._fenced(grant)
            case ChunkCommittedReport():
                if ack.accepted:
                    self.book.forget(grant)
                elif ack.error_code == ev.INCOMPLETE_CODE:
                    self._push_again(grant, ack.message)
                else:
                    self._fenced(grant)
            case ChunkFailedReport() | GrantReturnedReport():
                self.book.forget(grant)
            case _:
                assert_never(message)

    def _push_again(self, grant: HeldGrant, message: str) -> None:
        grant.pushes += 1
        if grant.checkpoint is None or grant.pushes > PUSHES_LIMIT:
            failure = Failure("storage", f"the host's copy of the checkpoint stays incomplete: {message}", machine_suspect=True)
            self.book.fail(grant, failure)
            return
        grant.phase = GrantPhase.STORING
        self.book.out.append(ev.PushCheckpoint(*grant.key, grant.checkpoint))

    def _fenced(self, grant: HeldGrant) -> None:
        # The grant may be over because it counts already: those behind it can still be open, and are given back.
        self.book.abandon(self.book.followers(grant))
        self.book.forget(grant)
        self.book.drop_hot(grant.order.run)

    # ---- this machine ---------------------------------------------------------------------------------------------

    def _fetched(self, event: ev.InputsReady | ev.InputsFailed) -> None:
        grant = self.book.grants.get((event.run, event.generation))
        if grant is None or grant.phase is not GrantPhase.FETCHING:
            return
        match event:
            case ev.InputsReady():
                grant.dirs, grant.phase = event.dirs, GrantPhase.READY
            case ev.InputsFailed():
                self.book.fail(grant, event.failure)
            case _:
                assert_never(event)

    def _trainer_said(self, slot: SlotState, epoch: int, said: Ready | RangeStarted | RangeTrained | RangeDropped | RangeFailed) -> None:
        grant = None if isinstance(said, Ready) else self.book.grants.get((said.run, said.generation))
        expected = epoch == slot.epoch and grant is not None and grant.phase in WITH_TRAINER_PHASES
        match said:
            case Ready():
                if epoch == slot.epoch:
                    slot.process = ProcessState.UP
            case RangeStarted():
                pass
            case RangeTrained():
                if grant is not None and expected:
                    self._trained(slot, grant, said)
                else:
                    self.book.out.append(ev.DiscardSnapshot(said.snapshot_dir))
            case RangeDropped():
                if grant is not None and expected:
                    self._dropped(slot, grant)
            case RangeFailed():
                if grant is not None and expected:
                    self._range_failed(slot, grant, said)
            case _:
                assert_never(said)

    def _trained(self, slot: SlotState, grant: HeldGrant, said: RangeTrained) -> None:
        book = self.book
        followers = book.followers(grant)
        is_short = said.reached_step < grant.order.to_step
        if is_short:
            book.abandon(follower for follower in followers if follower.phase is not GrantPhase.STOPPING)
        if is_short and said.run in slot.hot:
            slot.hot[said.run] = said.reached_step
        if said.reached_step <= grant.order.from_step:
            book.out.append(ev.DiscardSnapshot(said.snapshot_dir))
            book.give_back(grant)
            return
        slot.queue.remove(grant.key)
        grant.snapshot, grant.phase = said, GrantPhase.TRAINED
        book.drop_unaccounted(slot, said.run)
        book.report(ChunkTrainedReport(book.next_seq, *grant.key, said.reached_step, said.step_time_s))
        book.store_next(said.run)

    def _dropped(self, slot: SlotState, grant: HeldGrant) -> None:
        book, run = self.book, grant.order.run
        book.abandon(follower for follower in book.followers(grant) if follower.phase is not GrantPhase.STOPPING)
        if grant.hot_before_step is None:
            slot.hot.pop(run, None)
        elif run in slot.hot:
            slot.hot[run] = grant.hot_before_step
        book.give_back(grant)

    def _range_failed(self, slot: SlotState, grant: HeldGrant, said: RangeFailed) -> None:
        slot.hot.pop(said.run, None)
        sent_without_state = grant.dirs is not None and grant.dirs.checkpoint_dir is None and continues_uncommitted(grant.order)
        if not sent_without_state or said.failure.code != NOT_HOT_CODE or grant.phase is GrantPhase.STOPPING:
            self.book.fail(grant, said.failure)
            self.book.drop_unaccounted(slot, said.run)
            return
        # The process let go of the run for want of memory: go on from the checkpoint that this client stores.
        self.book.abandon(self.book.followers(grant))
        grant.phase = GrantPhase.READY
        slot.queue.remove(grant.key)
        slot.queue.insert(sum(self.book.grants[key].phase in WITH_TRAINER_PHASES for key in slot.queue), grant.key)

    def _trainer_died(self, slot: SlotState, event: ev.TrainerDied) -> None:
        if event.epoch != slot.epoch or slot.process is ProcessState.ABSENT:
            return
        never_up = slot.process is ProcessState.STARTING
        slot.process, slot.precision = ProcessState.ABSENT, None
        slot.hot.clear()
        queued = [self.book.grants[key] for key in slot.queue]
        with_trainer = [grant for grant in queued if grant.phase in WITH_TRAINER_PHASES]
        if (with_trainer and not event.is_accounted_for) or (never_up and queued):
            self.book.fail(queued[0], event.failure)
        for grant in with_trainer:
            if grant.phase is GrantPhase.STOPPING:
                self.book.give_back(grant)
            elif grant.phase is GrantPhase.SENT:
                grant.phase = GrantPhase.READY

    def _stored(self, key: GrantKey, checkpoint: Checkpoint) -> None:
        grant = self.book.grants.get(key)
        if grant is None or grant.phase is not GrantPhase.STORING:
            return
        grant.checkpoint, grant.phase = checkpoint, GrantPhase.STORED
        self.book.latest[key[0]] = checkpoint
        self.book.report(ChunkCommittedReport(self.book.next_seq, *key, checkpoint))

    # ---- going on -------------------------------------------------------------------------------------------------

    def _advance(self, slot: SlotState) -> None:
        """Sends what can be sent, in order; starts the process as soon as there is something to train."""
        book = self.book
        if slot.queue and slot.process is ProcessState.ABSENT:
            book.start_trainer(slot)
        for key in list(slot.queue):
            grant = book.grants[key]
            if key not in slot.queue or grant.phase in WITH_TRAINER_PHASES:
                continue
            if grant.phase is not GrantPhase.READY or slot.process is not ProcessState.UP:
                return
            precision = precision_of(grant.order.spec)
            if slot.precision not in (None, precision):
                if slot.queue[0] == key:
                    book.out.append(ev.KillTrainer(slot.index, slot.epoch))
                    book.start_trainer(slot)
                return
            dirs = self._where_to_continue(slot, grant)
            if dirs is not None:
                slot.precision = precision
                grant.hot_before_step = slot.hot.get(grant.order.run)
                slot.hot[grant.order.run] = grant.order.to_step
                grant.phase = GrantPhase.SENT
                book.out.append(ev.TrainGrant(slot.index, slot.epoch, grant.order, dirs))
            elif key in slot.queue:
                return

    def _where_to_continue(self, slot: SlotState, grant: HeldGrant) -> ev.InputDirs | None:
        """The folders to train from; ``None`` if the grant must wait, or was returned because its start is lost."""
        order, dirs = grant.order, grant.dirs
        if dirs is None:
            raise InvariantError(f"grant {grant.key} is ready without inputs")
        if not continues_uncommitted(order) or dirs.checkpoint_dir is not None:
            return dirs
        if slot.hot.get(order.run) == order.from_step:
            return replace(dirs, checkpoint_dir=None)
        own = self.book.latest.get(order.run)
        if own is not None and own.step == order.from_step:
            self.book.fetch(grant, own)
        elif not self.book.will_be_stored_for(grant):
            self.book.abandon(self.book.followers(grant))
            self.book.give_back(grant)
        return None

    def _shut_down(self, reason: str) -> None:
        if self.stay is not Stay.STAYING:
            return
        self.stay, self.leave_reason = Stay.LEAVING, reason
        book = self.book
        for slot in book.slots.values():
            for key in reversed(list(slot.queue)):
                self._stop_one(book.grants[key])
        reported = {report.job for report in book.outbox.values() if isinstance(report, JobReport)}
        for job in [job for job in book.jobs if job not in reported]:
            del book.jobs[job]
            book.out.append(ev.CancelJob(job))

    def _leave(self) -> None:
        if self.stay is not Stay.LEFT:
            self.stay = Stay.LEFT
            self.book.out.append(ev.Leave(self.leave_reason))
