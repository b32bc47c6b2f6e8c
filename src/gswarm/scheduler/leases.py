"""Grants from the moment they are given to the moment they are over, and what their reports do to the run.

A report counts only if its grant is open and belongs to the client that sends it. Checkpoints are committed in the order
of the grants. A grant that ends short ends every later grant of its run: grants of a run are always contiguous.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gswarm.domain.epochs import first_number
from gswarm.domain.errors import FencedError, InvalidInputError
from gswarm.domain.ids import ClientName, SlotId
from gswarm.domain.plan import Checkpoint, ClientState, Failure, Grant, GrantPhase, Run, RunState
from gswarm.domain.steps import next_chunk_end
from gswarm.scheduler.effects import SendDrop, SendRevoke, SendStop
from gswarm.scheduler.events import ChunkCommitted, ChunkFailed, ChunkTrained, GrantReturned
from gswarm.scheduler.index import expected_step_s
from gswarm.scheduler.retention import prune
from gswarm.scheduler.state import Turn

RETRIES_MAX = 2
"""Machine-suspect failures in a row that are tried again on another slot."""
STEP_TIME_SMOOTHING = 0.3
"""Weight of the newest measurement."""


def give(turn: Turn, run: Run, slots: tuple[SlotId, ...]) -> None:
    """Grant the run's next chunk on these slots, all of one client."""
    plan, index = turn.plan, turn.plan.index
    experiment = plan.experiments[run.experiment]
    start = run.planned_position
    end = next_chunk_end(start, experiment.spec.chunks, run.steps_per_epoch, run.total_steps)
    if run.home is not None and run.home != slots[0]:
        drop(turn, run)
    run.generation = max(run.generation, first_number(plan.epoch)) + 1
    grant = Grant(run.id, run.generation, plan.slots[slots[0]].client, slots, start, end, turn.now_s)
    run.grants.append(grant)
    index.set_home(run, slots[0])
    turn.move(run, RunState.RUNNING)
    charged_s = (end - start) * expected_step_s(run) * len(slots)
    experiment.service_s += charged_s / experiment.spec.resources.weight
    index.grant_opened(run, grant.client)
    index.touch_run(run)
    index.reorder(experiment)
    for slot_id in slots:
        slot = plan.slots[slot_id]
        slot.queue.append((run.id, run.generation))
        slot.last_run = run.id
        index.touch_slot(slot)
    plan.count("grants")
    turn.send_grant(grant)


def stop(turn: Turn, run: Run, grants: list[Grant]) -> None:
    """Ask the client to end those grants of the run at the next step, or to give them back."""
    for grant in grants:
        if grant.phase is GrantPhase.OPEN:
            grant.phase = GrantPhase.STOPPING
            turn.emit(SendStop(grant.client, run.id, grant.generation))
            for slot_id in grant.slots:
                turn.plan.index.touch_slot(turn.plan.slots[slot_id])
    turn.plan.index.touch_run(run)


def close(turn: Turn, run: Run, place: int, *, told: int = 0) -> None:
    """End the run's grants from ``place`` on. All but the first ``told`` of them are revoked, the last one first: their client does
    not know yet, and must not think that one of them could still begin where another ends."""
    over = run.grants[place:]
    del run.grants[place:]
    for number, grant in reversed(list(enumerate(over))):
        _leave_slots(turn, grant)
        turn.plan.index.grants_closed(run, grant.client)
        if number >= told:
            turn.emit(SendRevoke(grant.client, run.id, grant.generation))


def settle(turn: Turn, run: Run) -> None:
    """Move the run on if nothing of it is open any more, and refresh the index."""
    if not run.grants:
        complete = run.position >= run.total_steps
        match run.state:
            case RunState.RUNNING | RunState.QUEUED:
                turn.move(run, RunState.COMPLETED if complete else RunState.QUEUED)
            case RunState.STOPPING:
                turn.move(run, RunState.COMPLETED if complete else RunState.STOPPED)
            case _:
                pass
        if run.state is RunState.COMPLETED:
            drop(turn, run)
    turn.plan.index.touch_run(run)


def drop(turn: Turn, run: Run) -> None:
    """Have the run's memory freed where it may be hot. Nobody has it hot afterwards."""
    if run.home is None:
        return
    slot = turn.plan.slots[run.home]
    if turn.plan.clients[slot.client].state is not ClientState.LOST:
        turn.emit(SendDrop(slot.client, run.id))
    turn.plan.index.set_home(run, None)


def trained(turn: Turn, event: ChunkTrained) -> None:
    """The slot moves on. Said twice, it changes nothing.

    Raises:
        FencedError: the grant is not open, or an earlier one of the run is still training.
        InvalidInputError: the step is not inside the grant.
    """
    run, place = turn.plan.open_grant(event.client, event.run, event.generation)
    grant = run.grants[place]
    if grant.phase is GrantPhase.TRAINED:
        return
    if any(earlier.phase is not GrantPhase.TRAINED for earlier in run.grants[:place]):
        raise FencedError(f"an earlier grant of run {run.id} than generation {grant.generation} is still training")
    if not grant.from_step < event.reached_step <= grant.to_step:
        raise InvalidInputError(f"run {run.id} was granted steps {grant.from_step} to {grant.to_step}, not up to {event.reached_step}")
    if event.step_time_s is not None and math.isfinite(event.step_time_s) and event.step_time_s > 0:
        before_s = run.step_time_s if run.step_time_s is not None else event.step_time_s
        run.step_time_s = before_s + STEP_TIME_SMOOTHING * (event.step_time_s - before_s)
    grant.phase = GrantPhase.TRAINED
    _leave_slots(turn, grant)
    if event.reached_step < grant.to_step:
        grant.to_step = event.reached_step
        close(turn, run, place + 1)
    turn.plan.index.touch_run(run)


def committed(turn: Turn, event: ChunkCommitted) -> None:
    """The position moves. A commit at the grant's very start carries no progress: the grant is over and nothing is kept.

    Raises:
        FencedError: the grant is not the run's oldest open one, or the step is not inside it.
    """
    run, place = turn.plan.open_grant(event.client, event.run, event.generation)
    grant, step = run.grants[place], event.checkpoint.step
    if place > 0:
        raise FencedError(f"an earlier grant of run {run.id} than generation {grant.generation} is not committed yet")
    if not grant.from_step <= step <= grant.to_step:
        raise FencedError(f"run {run.id} was granted steps {grant.from_step} to {grant.to_step}; step {step} is not among them")
    if step < grant.to_step:
        close(turn, run, 0, told=1)
    else:
        del run.grants[0]
        _leave_slots(turn, grant)
        turn.plan.index.grants_closed(run, grant.client)
    if step > run.position:
        _advance(turn, run, event.checkpoint)
    else:
        turn.sweep = True
    settle(turn, run)


def failed(turn: Turn, event: ChunkFailed) -> None:
    """Every open grant of the run is over. It is tried elsewhere where the machine may be at fault, else it has failed.

    Raises:
        FencedError: the grant is not open.
    """
    run, place = turn.plan.open_grant(event.client, event.run, event.generation)
    slots = run.grants[place].slots
    reported = run.grants.pop(place)
    _leave_slots(turn, reported)
    turn.plan.index.grants_closed(run, reported.client)
    close(turn, run, 0)
    turn.plan.index.set_home(run, None)
    turn.plan.count("failed_chunks")
    if event.failure.machine_suspect and run.attempts < RETRIES_MAX:
        run.attempts += 1
        run.avoid_slots = tuple(dict.fromkeys((*run.avoid_slots, *slots)))
    else:
        run.failure = placed(event.failure, event.client) if event.failure.machine_suspect else event.failure
        turn.move(run, RunState.FAILED)
    settle(turn, run)


def placed(failure: Failure, client: ClientName) -> Failure:
    """The failure with the machine that it happened on, for people: that is where they must look."""
    return replace(failure, message=f"client {client}: {failure.message}")


def returned(turn: Turn, event: GrantReturned) -> None:
    """That grant and the later ones of the run are over; no step of them was trained.

    Raises:
        FencedError: the grant is not open, or its steps were reported as trained.
    """
    run, place = turn.plan.open_grant(event.client, event.run, event.generation)
    if run.grants[place].phase is GrantPhase.TRAINED:
        raise FencedError(f"generation {event.generation} of run {run.id} was reported as trained and cannot be returned")
    close(turn, run, place, told=1)
    turn.plan.count("returned_grants")
    settle(turn, run)


def _advance(turn: Turn, run: Run, checkpoint: Checkpoint) -> None:
    turn.plan.count("committed_steps", checkpoint.step - run.position)
    turn.plan.count("commits")
    run.position = checkpoint.step
    run.history.append((checkpoint.step, checkpoint.metrics))
    run.attempts = 0
    run.avoid_slots = ()
    spec = turn.plan.experiments[run.experiment].spec
    kept = prune([*run.checkpoints, checkpoint], spec.checkpoint, spec.search.metric)
    turn.sweep = turn.sweep or len(kept) <= len(run.checkpoints)
    run.checkpoints = kept


def _leave_slots(turn: Turn, grant: Grant) -> None:
    for slot_id in grant.slots:
        slot = turn.plan.slots.get(slot_id)
        if slot is not None and (grant.run, grant.generation) in slot.queue:
            slot.queue.remove((grant.run, grant.generation))
            turn.plan.index.touch_slot(slot)
