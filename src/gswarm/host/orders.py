"""Effects as messages for clients: what an order says beyond the ids is looked up in the plan. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from gswarm.domain.ids import Digest, SlotId
from gswarm.domain.messages import DropOrder, GrantOrder, HostMessage, JobOrder, RevokeOrder, StopOrder
from gswarm.domain.plan import Checkpoint, Experiment, Grant, Job, JobKind, Run
from gswarm.domain.spec import Durability, RunSpec
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendDrop, SendGrant, SendJob, SendRevoke, SendStop

_SPEC = TypeAdapter(RunSpec)
_SPECS = TypeAdapter(tuple[RunSpec, ...])
_CHECKPOINT = TypeAdapter(Checkpoint | None)


def order_of(state: ClusterState, effect: Effect, trusted_code: tuple[Digest, ...] = ()) -> HostMessage | None:
    """The message that carries out ``effect``, or ``None`` if it is not for a client, or its job is gone.

    Args:
        trusted_code: digests of models' code that an admin has consented to.
    """
    match effect:
        case SendGrant(grant=grant):
            run = state.runs[grant.run]
            return grant_order(grant, run, state.experiments[run.experiment], trusted_code)
        case SendStop(run=run_id, generation=generation):
            return StopOrder(run_id, generation)
        case SendRevoke(run=run_id, generation=generation):
            return RevokeOrder(run_id, generation)
        case SendDrop(run=run_id):
            return DropOrder(run_id)
        case SendJob(job=job_id):
            job = state.jobs.get(job_id)
            return JobOrder(job.id, job.kind, _job_request(state, job, trusted_code)) if job is not None else None
        case _:
            return None


def grant_order(grant: Grant, run: Run, experiment: Experiment, trusted_code: tuple[Digest, ...] = ()) -> GrantOrder:
    """A run that has committed nothing begins at its start: a parent's checkpoint (a warm clone) or the base."""
    warm_start = run.latest is None and run.start is not None
    local = experiment.spec.checkpoint.durability is Durability.LOCAL
    return GrantOrder(
        run=run.id,
        generation=grant.generation,
        slot_index=slot_index(grant.slots[0]),
        from_step=grant.from_step,
        to_step=grant.to_step,
        total_steps=run.total_steps,
        steps_per_epoch=run.steps_per_epoch,
        spec=run.spec,
        base=run.base,
        data=run.data,
        checkpoint=run.start if warm_start else run.latest,
        warm_start=warm_start,
        durability=Durability.LOCAL.value if local else Durability.REPLICATED.value,
        first_step=run.first_step,
        trusted_code=trusted_code,
    )


def slot_index(slot: SlotId) -> int:
    """``3`` of ``gpu-node-1/3``."""
    return int(slot.rpartition("/")[2])


def _job_request(state: ClusterState, job: Job, trusted_code: tuple[Digest, ...]) -> str:
    """The job's arguments as JSON text: what was asked for, and what the plan knows about its subject.

    ``prepare``: shared, runs. ``verify``: spec, base, data, total_steps, steps_per_epoch, start, warm_start, first_step, until_step,
    weights_digest, manifest. ``export``: spec, base, checkpoint, format. All have trusted_code where there is any.
    """
    asked: dict[str, Any] = json.loads(job.request_json or "{}") | ({"trusted_code": trusted_code} if trusted_code else {})
    if job.kind is JobKind.PREPARE:
        planned = state.experiments[job.experiment].planned if job.experiment is not None else ()
        return json.dumps(asked | _compact(_SPECS.dump_python(planned, mode="json")))
    assert job.run is not None
    run = state.runs[job.run]
    # Which checkpoint was settled when the job was asked for; the run may have gone on, and may not keep that one any more.
    checkpoint = _CHECKPOINT.validate_python(asked.pop("checkpoint")) if "checkpoint" in asked else run.latest
    known: dict[str, Any] = {"spec": _SPEC.dump_python(run.spec, mode="json"), "base": run.base}
    if job.kind is JobKind.EXPORT:
        return json.dumps(asked | known | {"checkpoint": _CHECKPOINT.dump_python(checkpoint, mode="json")})
    return json.dumps(
        asked
        | known
        | {
            "data": run.data,
            "total_steps": run.total_steps,
            "steps_per_epoch": run.steps_per_epoch,
            "start": _CHECKPOINT.dump_python(run.start, mode="json"),
            "warm_start": run.start is not None,
            "first_step": run.first_step,
            "until_step": checkpoint.step if checkpoint is not None else None,
            "weights_digest": checkpoint.weights_digest if checkpoint is not None else None,
            "manifest": checkpoint.manifest if checkpoint is not None else None,
        }
    )


def _compact(specs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all configurations share is said once: as many as an experiment may have must fit into one message."""
    shared = {key: value for key, value in (specs[0] if specs else {}).items() if all(spec[key] == value for spec in specs)}
    return {"shared": shared, "runs": [{key: value for key, value in spec.items() if key not in shared} for spec in specs]}
