"""Whole scenarios as text: every event, and what the scheduler answers.

``GSWARM_REWRITE_TRANSCRIPTS=1 pytest tests/unit/test_scheduler_transcripts.py`` writes the files anew; read the difference.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import ClientName
from gswarm.domain.plan import GrantPhase, JobKind, RunOp
from gswarm.scheduler.effects import Effect, SendDrop, SendGrant, SendJob, SendRevoke, SendStop, StartTimer, SweepBlobs
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
    JobFinished,
    JobRequested,
    RunCloneRequested,
    RunOpRequested,
    TimerFired,
)
from scheduler_kit import FATAL, SPEC, SUSPECT, Cluster

FOLDER = Path(__file__).parents[1] / "transcripts"
REWRITE = os.environ.get("GSWARM_REWRITE_TRANSCRIPTS") == "1"


@dataclass
class Recorded(Cluster):
    """A cluster that writes down what it is told and what it answers."""

    lines: list[str] = field(default_factory=list)

    def step(self, event: Event) -> list[Effect]:
        self.lines.append(f"{self.now_s - 1_000:g} s  {describe(event)}")
        effects = super().step(event)
        self.lines += [f"    -> {describe_effect(effect)}" for effect in effects]
        return effects

    def refuse(self, event: Event) -> None:
        error = self.refused(event, GswarmError)
        self.lines += [f"{self.now_s - 1_000:g} s  {describe(event)}", f"    !! {error.code}: {error}"]

    def say(self, text: str) -> None:
        self.lines += ["", f"# {text}"]

    def look(self) -> None:
        """The state in a few lines."""
        for run in self.state.runs.values():
            grants = " ".join(f"g{one.generation}[{one.from_step}..{one.to_step} {one.phase}]" for one in run.grants)
            self.lines.append(f"    {run.id} {run.name} {run.state} {run.position}/{run.total_steps} {grants}".rstrip())
        for slot_id, slot in self.state.slots.items():
            self.lines.append(f"    {slot_id} {' '.join(f'{run}:g{generation}' for run, generation in slot.queue) or '-'}")

    def text(self) -> str:
        return "\n".join([*self.lines, ""])


def describe(event: Event) -> str:
    match event:
        case ExperimentSubmitted():
            return f"submitted {event.spec.name} with {len(event.runs)} runs, priority {event.spec.resources.priority}"
        case ExperimentOpRequested():
            return f"asked to {event.op} {event.experiment}"
        case RunOpRequested():
            return f"asked to {event.op} {event.run}"
        case RunCloneRequested():
            return f"asked to clone {event.parent}, warm start {event.warm_start}"
        case ClientRegistered():
            held = ", ".join(f"{one.run}:g{one.generation}" for one in event.held) or "nothing"
            return f"client {event.client} registered with {len(event.slots)} slots, holds {held}"
        case ClientLost():
            return f"client {event.client} lost: {event.reason}"
        case ClientDrainRequested():
            return f"asked to {'drain' if event.drain else 'undrain'} {event.client}"
        case ChunkTrained():
            return f"{event.client} trained {event.run}:g{event.generation} to {event.reached_step}"
        case ChunkCommitted():
            return f"{event.client} committed {event.run}:g{event.generation} at {event.checkpoint.step}"
        case ChunkFailed():
            return f"{event.client} failed {event.run}:g{event.generation}: {event.failure.code}"
        case GrantReturned():
            return f"{event.client} returned {event.run}:g{event.generation}"
        case JobRequested():
            return f"asked to {event.kind} {event.run}"
        case JobFinished():
            return f"{event.client} finished {event.job}: {event.failure.code if event.failure else 'ok'}"
        case TimerFired():
            return f"timer {event.key}"


def describe_effect(effect: Effect) -> str:
    match effect:
        case SendGrant(client, grant):
            return f"grant {grant.run}:g{grant.generation} {grant.from_step}..{grant.to_step} on {' '.join(grant.slots)} to {client}"
        case SendStop(client, run, generation):
            return f"stop {run}:g{generation} to {client}"
        case SendRevoke(client, run, generation):
            return f"revoke {run}:g{generation} to {client}"
        case SendDrop(client, run):
            return f"drop {run} to {client}"
        case SendJob(client, job):
            return f"job {job} to {client}"
        case StartTimer(key, due_at_s):
            return f"timer {key} at {due_at_s - 1_000:g} s"
        case SweepBlobs():
            return "sweep"


def two_clients_four_runs(cluster: Recorded) -> None:
    cluster.client("a")
    cluster.client("b")
    cluster.say("Four runs of two chunks on two slots.")
    cluster.experiment("quick", runs=4, rows=20)
    while any(slot.queue for slot in cluster.state.slots.values()):
        cluster.now_s += 5
        for slot in ("a/0", "b/0"):
            if cluster.queue(slot):
                grant = cluster.active(slot)
                cluster.train(grant)
                cluster.commit(grant)
                for other in cluster.state.runs.values():
                    for waiting in [one for one in other.grants if one.phase is GrantPhase.STOPPING]:
                        cluster.give_back(waiting)
    cluster.look()


def steered(cluster: Recorded) -> None:
    cluster.client("a")
    cluster.experiment("steer", runs=1)
    cluster.say("Stop in the middle of a chunk; the run ends at step 7.")
    first, second = cluster.run("r1").grants
    cluster.op("r1", RunOp.STOP)
    cluster.refuse(cluster.op_event("r1", RunOp.STOP))
    cluster.train(first, 7)
    cluster.commit(first, 7, [("eval_loss", 0.5)])
    cluster.look()
    cluster.say("It goes on from there.")
    cluster.op("r1", RunOp.RESUME)
    cluster.chunk("a/0", [("eval_loss", 0.7)])
    cluster.say("A warm clone of the best checkpoint, and a cold one.")
    cluster.clone("r1", replace(SPEC, learning_rate=1e-3), "best")
    cluster.refuse(cluster.clone_event("r1", warm_start="9"))
    cluster.refuse(cluster.clone_event("r1", replace(SPEC, dataset="other")))
    cluster.clone("r1")
    cluster.say("The parent is deleted, restored, deleted for good.")
    cluster.op("r1", RunOp.DELETE)
    cluster.refuse(cluster.committed_event(second))
    cluster.op("r1", RunOp.RESTORE)
    cluster.op("r1", RunOp.DELETE)
    cluster.now_s += 600
    cluster.sweep("r1")
    cluster.look()
    cluster.finish_everything()
    cluster.look()


def crashes(cluster: Recorded) -> None:
    cluster.client("a")
    cluster.client("b")
    cluster.experiment("crash", runs=2)
    cluster.say("Client a dies with a chunk that it has trained; b gets the run once its own chunk ends.")
    late = cluster.grant("r1")
    cluster.train(late)
    cluster.lose("a")
    cluster.refuse(cluster.committed_event(late))
    cluster.look()
    cluster.say("It comes back, restarted, with a grant that is over.")
    cluster.client("a", incarnation="i2", held=[("r1", 1)])
    cluster.say("The host restarts.")
    cluster.reload()
    cluster.look()
    cluster.say("The machine of b is suspect: the run waits for a. There it turns out that the run itself is at fault.")
    cluster.fail(cluster.grant("r2"), SUSPECT)
    while not cluster.run("r2").grants:
        cluster.chunk("a/0")
    cluster.fail(cluster.grant("r2"), FATAL)
    cluster.op("r2", RunOp.RESUME)
    cluster.finish_everything()
    cluster.look()


def urgent(cluster: Recorded) -> None:
    cluster.client("a", 2)
    cluster.experiment("patient", runs=3)
    cluster.say("A gang of a higher priority arrives: grants ahead are called back, freed slots are kept for it.")
    cluster.experiment("gang", runs=1, rows=20, gpus_per_run=2, priority=9)
    for run in list(cluster.state.runs.values()):
        for grant in [one for one in run.grants if one.phase is GrantPhase.STOPPING]:
            cluster.give_back(grant)
    cluster.chunk("a/0")
    cluster.look()
    cluster.chunk("a/1")
    cluster.look()
    cluster.say("It is verified later, on a client that is being drained: nobody takes the job.")
    cluster.chunk("a/0")
    cluster.step(ClientDrainRequested(ClientName("a"), True))
    cluster.ask_job(JobKind.VERIFY, "r4")
    cluster.step(ClientDrainRequested(ClientName("a"), False))
    cluster.finish_everything()
    cluster.look()


SCENARIOS: dict[str, Callable[[Recorded], None]] = {
    scenario.__name__: scenario for scenario in (two_clients_four_runs, steered, crashes, urgent)
}


def record(name: str) -> str:
    cluster = Recorded()
    SCENARIOS[name](cluster)
    return cluster.text()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_scenario_is_as_written_down(name: str) -> None:
    path, text = FOLDER / f"{name}.txt", record(name)
    if REWRITE:
        path.write_text(text)
    assert text == path.read_text(), f"{path} differs; if that is right, rewrite it with GSWARM_REWRITE_TRANSCRIPTS=1"


def test_hash_seeds_change_nothing() -> None:
    """Two interpreters whose sets and dicts hash differently record the same."""
    program = (
        "import hashlib, test_scheduler_transcripts as t;"
        "print(hashlib.sha256(''.join(t.record(name) for name in t.SCENARIOS).encode()).hexdigest())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
