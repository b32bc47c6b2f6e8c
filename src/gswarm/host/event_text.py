"""Events in one line each, for people: the event stream, the command line and the logs."""

from __future__ import annotations

from typing import assert_never

from gswarm.domain.plan import RunOp
from gswarm.scheduler import events as e

_ASKED = {RunOp.STOP: "stop", RunOp.RESUME: "resume", RunOp.CLONE: "clone", RunOp.DELETE: "delete", RunOp.RESTORE: "restore"}


def describe(event: e.Event) -> str:
    """What happened, in one line."""
    match event:
        case e.ExperimentSubmitted():
            return f"experiment {event.spec.name} was submitted with {_count(len(event.runs), 'run')}{_by(event.by)}"
        case e.ExperimentOpRequested():
            return f"experiment {event.experiment}: {_ASKED[event.op]} requested{_by(event.by)}"
        case e.RunOpRequested():
            return f"{event.run}: {_ASKED[event.op]} requested{_by(event.by)}"
        case e.RunCloneRequested():
            changes = ", ".join(f"{key}={value}" for key, value in event.changes) or "no changes"
            start = f"warm from {event.warm_start}" if event.warm_start is not None else "from the base"
            return f"{event.parent}: clone requested, {changes}, {start}{_by(event.by)}"
        case e.ClientRegistered():
            return f"client {event.client} is here with {_count(len(event.slots), 'slot')}"
        case e.ClientLost():
            return f"client {event.client} is gone: {event.reason}"
        case e.ClientDrainRequested():
            return f"client {event.client} {'takes no more work' if event.drain else 'takes work again'}{_by(event.by)}"
        case e.SlotsOccupied():
            who = ", ".join(f"{slot} ({account})" for slot, account in event.slots)
            return f"client {event.client}: other people use {who}" if who else f"client {event.client}: no other people use its slots"
        case e.ChunkTrained():
            return f"{event.run}: trained to step {event.reached_step} on {event.client}"
        case e.ChunkCommitted():
            metrics = "".join(f", {name} {value:.4g}" for name, value in event.checkpoint.metrics if name.startswith("eval_loss"))
            return f"{event.run}: step {event.checkpoint.step} is committed{metrics}"
        case e.ChunkFailed():
            return f"{event.run}: failed on {event.client}: {event.failure.message}"
        case e.GrantReturned():
            return f"{event.run}: {event.client} gave its grant back untouched"
        case e.JobRequested():
            return f"{event.run}: {event.kind} requested{_by(event.by)}"
        case e.JobFinished():
            outcome = f"failed on {event.client}: {event.failure.message}" if event.failure is not None else f"is done on {event.client}"
            return f"job {event.job} {outcome}"
        case e.PlanRestored():
            return "the host was restored from a backup; every client must register again"
        case e.TimerFired():
            return f"the time set for {event.key} is over"
        case _:
            assert_never(event)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by(who: str) -> str:
    return f" by {who}" if who else ""
