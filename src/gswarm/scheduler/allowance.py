"""What a client may fetch from the pools and leave there: what its open grants and jobs need, and no more. Pure."""

from __future__ import annotations

import re

from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.plan import JobKind, Run, RunState
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
        if job.kind is JobKind.PREPARE:
            # What it prepares may be in the pool already, for another experiment; it is not brought a second time then.
            found.update(digest for run in plan.runs.values() if run.state is not RunState.DELETED for digest in (run.base, run.data))
        found.update(Digest(name) for name in _DIGEST_IN_JSON.findall(job.request_json))
        if job.run is not None:
            found |= _of_run(plan.runs[job.run])
    return frozenset(found)


def _of_run(run: Run) -> set[Digest]:
    """Every kept checkpoint: an order that is on its way may name one that is not the latest any more."""
    start = () if run.start is None else (run.start.manifest,)
    return {run.base, run.data, *start, *(checkpoint.manifest for checkpoint in run.checkpoints)}
