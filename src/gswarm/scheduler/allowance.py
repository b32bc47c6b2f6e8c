"""What a client may fetch from the pools and leave there: what its open grants and jobs need, and no more. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.plan import JobKind, Run, RunState
from gswarm.domain.spec import RunSpec
from gswarm.scheduler.state import Plan

_DIGEST_IN_JSON = re.compile(r'"([0-9a-f]{64})"')


def has_work(plan: Plan, client: ClientName) -> bool:
    """Whether the client holds a grant or a job, and so may produce something."""
    return bool(plan.index.granted_to(client)) or plan.index.jobs.count(client) > 0


def readable(plan: Plan, client: ClientName) -> frozenset[Digest]:
    """Manifests that the client may fetch, each with everything that it names."""
    found: set[Digest] = set()
    for run_id in plan.index.granted_to(client):
        found |= _of_run(plan.runs[run_id])
    for job in plan.index.jobs.of_client(client):
        if job.kind is JobKind.PREPARE and job.experiment is not None:
            found.update(_prepared_before(plan, plan.experiments[job.experiment].planned))
        found.update(Digest(name) for name in _DIGEST_IN_JSON.findall(job.request_json))
        if job.run is not None:
            found |= _of_run(plan.runs[job.run])
    return frozenset(found)


def _prepared_before(plan: Plan, planned: Sequence[RunSpec]) -> Iterator[Digest]:
    """What other experiments have made of the same models and data: it is not brought a second time."""
    models = {spec.model_name_or_path for spec in planned}
    data = {(spec.dataset, spec.eval_dataset) for spec in planned}
    for run in plan.runs.values():
        if run.state is RunState.DELETED:
            continue
        if run.spec.model_name_or_path in models:
            yield run.base
        if (run.spec.dataset, run.spec.eval_dataset) in data:
            yield run.data


def _of_run(run: Run) -> set[Digest]:
    """Every kept checkpoint: an order that is on its way may name one that is not the latest any more."""
    start = () if run.start is None else (run.start.manifest,)
    return {run.base, run.data, *start, *(checkpoint.manifest for checkpoint in run.checkpoints)}
