"""Carries out what the agent decides and tells it what came of it. One event loop; nothing here decides anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from gswarm.client import agent_events as ev
from gswarm.client.agent import AgentState
from gswarm.client.jobs import JobRunner
from gswarm.client.metrics import MetricStream
from gswarm.client.pool import ClientPool
from gswarm.client.session import HostSession
from gswarm.client.snapshots import SnapshotDirs
from gswarm.client.trainers import Trainers
from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import Digest, JobId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkFailedReport,
    DropOrder,
    GrantOrder,
    HostMessage,
    JobOrder,
    LogLine,
    Registered,
    RevokeOrder,
    Shutdown,
    StepMetrics,
    StopOrder,
    SweepOrder,
)
from gswarm.domain.plan import Failure
from gswarm.domain.spec import FinetuningType
from gswarm.training.protocol import Log, RangeFailed, StepDone, TrainerEvent, TrainRange

logger = logging.getLogger(__name__)

LORA_SNAPSHOT_BYTES = 512 * 1024 * 1024
"""Room to ask for before the first snapshot of an adapter."""


@dataclass(slots=True)
class Parts:
    """What the loop drives; filled in by ``gswarm.client.daemon``."""

    session: HostSession
    trainers: Trainers
    pool: ClientPool
    jobs: JobRunner
    metrics: MetricStream
    snapshots: SnapshotDirs


class ClientLoop:
    """Feeds the agent and executes its effects.

    Args:
        agent: decides.
        grace_s: how long leaving in good order may take.
    """

    def __init__(self, agent: AgentState, grace_s: float) -> None:
        self.agent = agent
        self.left = asyncio.Event()
        """Set when the agent says that nothing is owed any more, or that the grace is over."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that ends the client."""
        self._grace_s = grace_s
        self._grace_timer: asyncio.TimerHandle | None = None
        self._parts: Parts | None = None
        self._events: deque[ev.AgentEvent] = deque()
        self._is_stepping = False
        self._grant_work: dict[tuple[RunId, int], asyncio.Task[None]] = {}
        self._job_work: dict[JobId, asyncio.Task[None]] = {}
        self._other_work: set[asyncio.Task[None]] = set()

    def attach(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def parts(self) -> Parts:
        assert self._parts is not None
        return self._parts

    # ---- what happens ---------------------------------------------------------------------------------------------

    def feed(self, event: ev.AgentEvent) -> None:
        """Takes an event; events that effects cause at once are taken after it."""
        self._events.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._events:
                for effect in self.agent.step(self._events.popleft()):
                    self._execute(effect)
        except Exception as error:
            logger.exception("the client cannot go on")
            if not self.failed.done():
                self.failed.set_exception(error)
        finally:
            self._is_stepping = False

    def on_registered(self, _message: Registered) -> None:
        self.feed(ev.Connected())

    def on_lost(self) -> None:
        self.feed(ev.Disconnected())

    def on_message(self, message: HostMessage) -> None:
        match message:
            case GrantOrder():
                logger.info("%s: steps %d..%d, generation %d", message.run, message.from_step, message.to_step, message.generation)
                self.feed(ev.GrantReceived(message))
            case StopOrder(run, generation):
                self.feed(ev.StopReceived(run, generation))
            case RevokeOrder(run, generation):
                self.feed(ev.RevokeReceived(run, generation))
            case DropOrder(run):
                self.feed(ev.DropReceived(run))
            case JobOrder():
                self.feed(ev.JobReceived(message))
            case Ack():
                if not message.accepted:
                    logger.warning("the host refused report %d (%s): %s", message.seq, message.error_code, message.message)
                self.feed(ev.Acked(message))
            case SweepOrder(roots):
                # What is pinned now may be a root that these do not know yet, and may be let go of before the sweep begins.
                self._spawn(self._sweep((*roots, *self.parts.pool.pins.pinned())))
            case Shutdown(reason):
                self.shut_down(reason)
            case Registered():
                pass
            case _:
                assert_never(message)

    def on_trainer_event(self, slot_index: int, epoch: int, event: TrainerEvent) -> None:
        match event:
            case StepDone():
                self.parts.metrics.add_step(StepMetrics(event.run, event.generation, event.step, event.at_s, event.values))
            case Log():
                self.parts.metrics.add_log(LogLine(event.run, event.at_s, event.level, event.text))
            case _:
                self.feed(ev.TrainerSaid(slot_index, epoch, event))

    def on_trainer_exit(self, slot_index: int, epoch: int, failure: Failure, accounted: bool) -> None:
        self.feed(ev.TrainerDied(slot_index, epoch, failure, accounted))

    def on_damaged(self, owner: str, digest: Digest) -> None:
        """Tells the run that waits for the blob, in its log."""
        for run, generation in self._grant_work:
            if _owner(run, generation) == owner:
                text = f"blob {digest} was damaged on this client's disk: it was set aside, and is fetched from whoever has it intact"
                self.parts.metrics.add_log(LogLine(run, time.time(), "warning", text))

    def shut_down(self, reason: str) -> None:
        """Begins to leave in good order; a second call leaves at once."""
        if self._grace_timer is not None:
            self.feed(ev.GraceOver())
            return
        self._grace_timer = asyncio.get_running_loop().call_later(self._grace_s, self.feed, ev.GraceOver())
        self.feed(ev.ShutdownRequested(reason))

    async def close(self) -> None:
        """Cancels all work that is under way."""
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        work = [*self._grant_work.values(), *self._job_work.values(), *self._other_work]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    # ---- what is done ---------------------------------------------------------------------------------------------

    def _execute(self, effect: ev.AgentEffect) -> None:
        parts = self.parts
        match effect:
            case ev.FetchInputs(run, generation):
                self._work_for((run, generation), self._fetch(effect))
            case ev.StartTrainer(slot_index, epoch):
                parts.trainers.start(slot_index, epoch)
            case ev.KillTrainer(slot_index, epoch):
                parts.trainers.kill(slot_index, epoch)
            case ev.TrainGrant():
                self._train(effect)
            case ev.SendToTrainer(slot_index, epoch, command):
                parts.trainers.send(slot_index, epoch, command)
            case ev.StoreCheckpoint(run, generation):
                self._work_for((run, generation), self._store(effect))
            case ev.PushCheckpoint(run, generation):
                self._work_for((run, generation), self._push(effect))
            case ev.DiscardSnapshot(snapshot_dir):
                parts.snapshots.discard(snapshot_dir)
            case ev.Release(run, generation):
                self._release(run, generation)
            case ev.SendReport(message):
                if isinstance(message, ChunkFailedReport):
                    logger.warning(
                        "%s: generation %d fails (%s): %s", message.run, message.generation, message.failure.code, message.failure.message
                    )
                parts.session.send(message)
            case ev.RunJob(order):
                self._job_work[order.job] = self._spawn(self._job(order))
            case ev.CancelJob(job):
                if (task := self._job_work.get(job)) is not None:
                    task.cancel()
            case ev.Leave():
                self.left.set()
            case _:
                assert_never(effect)

    def _train(self, effect: ev.TrainGrant) -> None:
        order, dirs = effect.order, effect.dirs
        need_bytes = LORA_SNAPSHOT_BYTES
        if order.spec.finetuning_type is not FinetuningType.LORA:
            # Weights and two moments of each, in the precision of the optimizer.
            need_bytes = 6 * _folder_bytes(Path(dirs.base_dir))
        try:
            snapshot_dir = self.parts.snapshots.make(order.run, order.generation, need_bytes)
        except OSError as error:
            failure = Failure("storage", f"there is no room for a snapshot: {error}", machine_suspect=True)
            self.feed(ev.TrainerSaid(effect.slot_index, effect.epoch, RangeFailed(order.run, order.generation, failure)))
            return
        command = TrainRange(
            run=order.run,
            generation=order.generation,
            from_step=order.from_step,
            to_step=order.to_step,
            total_steps=order.total_steps,
            steps_per_epoch=order.steps_per_epoch,
            spec=order.spec,
            base_digest=order.base,
            base_dir=dirs.base_dir,
            data_dir=dirs.data_dir,
            checkpoint_dir=dirs.checkpoint_dir,
            warm_start=order.warm_start and dirs.checkpoint_dir is not None and order.from_step == order.first_step,
            first_step=order.first_step,
            snapshot_dir=str(snapshot_dir),
            trusted_code=order.trusted_code,
        )
        self.parts.trainers.send(effect.slot_index, effect.epoch, command)

    async def _fetch(self, effect: ev.FetchInputs) -> None:
        run, generation = effect.run, effect.generation
        checkpoint = effect.checkpoint.manifest if effect.checkpoint is not None else None
        try:
            dirs = await self.parts.pool.inputs(_owner(run, generation), effect.base, effect.data, checkpoint)
        except Exception as error:
            self.feed(ev.InputsFailed(run, generation, _failure(error, f"the inputs of {run} cannot be had")))
            return
        self.feed(ev.InputsReady(run, generation, dirs))

    async def _store(self, effect: ev.StoreCheckpoint) -> None:
        run, generation = effect.run, effect.generation
        try:
            checkpoint = await self.parts.pool.store_checkpoint(_owner(run, generation), effect.snapshot, replicate=effect.replicate)
        except Exception as error:
            self.feed(ev.CheckpointStoreFailed(run, generation, _failure(error, f"the checkpoint of {run} cannot be stored")))
            return
        self.parts.snapshots.remove(run, generation)
        self.feed(ev.CheckpointStored(run, generation, checkpoint))

    async def _push(self, effect: ev.PushCheckpoint) -> None:
        run, generation = effect.run, effect.generation
        try:
            await self.parts.pool.push(effect.checkpoint.manifest)
        except Exception as error:
            self.feed(ev.CheckpointStoreFailed(run, generation, _failure(error, f"the checkpoint of {run} cannot be sent")))
            return
        self.feed(ev.CheckpointStored(run, generation, effect.checkpoint))

    async def _job(self, order: JobOrder) -> None:
        logger.info("job %s: %s", order.job, order.kind.value)
        try:
            done = await self.parts.jobs.run(order)
        except Exception as error:
            done = ev.JobDone(order.job, failure=_failure(error, f"job {order.job} broke"))
        finally:
            self._job_work.pop(order.job, None)
        self.feed(done)

    async def _sweep(self, roots: tuple[Digest, ...]) -> None:
        try:
            await self.parts.pool.sweep(roots)
        except GswarmError as error:
            logger.warning("the pool was not swept: %s", error)

    def _release(self, run: RunId, generation: int) -> None:
        task = self._grant_work.pop((run, generation), None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self.parts.snapshots.remove(run, generation)
        self.parts.pool.release(_owner(run, generation))

    def _work_for(self, key: tuple[RunId, int], work: Coroutine[Any, Any, None]) -> None:
        """At most one transfer a grant: a new one takes the place of the one before."""
        before = self._grant_work.pop(key, None)
        if before is not None and before is not asyncio.current_task():
            before.cancel()
        task = self._spawn(work)
        self._grant_work[key] = task

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._other_work.add(task)
        task.add_done_callback(self._other_work.discard)
        return task


def _owner(run: RunId, generation: int) -> str:
    return f"grant:{run}:{generation}"


def _failure(error: Exception, what: str) -> Failure:
    if isinstance(error, GswarmError):
        return Failure(error.code, f"{what}: {error}", machine_suspect=True)
    logger.error(what, exc_info=error)
    return Failure("internal", f"{what}: {error!r}", machine_suspect=True)


def _folder_bytes(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return total
