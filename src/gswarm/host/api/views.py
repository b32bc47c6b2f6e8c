"""From the plan's records to what the API answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.parse import experiment_to_dict, run_spec_to_dict
from gswarm.domain.plan import (
    Checkpoint,
    Client,
    Experiment,
    ExperimentState,
    Failure,
    Grant,
    Job,
    Run,
    RunState,
    Slot,
)
from gswarm.domain.spec import Goal, Metric
from gswarm.domain.steps import chunk_count, chunks_done
from gswarm.domain.strict_json import load_json
from gswarm.host.api import models
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.explain import Explanation, explain_slot
from gswarm.scheduler.lifecycle import possible_ops, refused_ops
from gswarm.scheduler.operations import experiment_ops
from gswarm.scheduler.retention import best_of as best_of_kept

Latest = Mapping[str, tuple[int, float]]
"""Per metric the newest (step, value)."""


def failure_view(failure: Failure | None) -> models.FailureView | None:
    return models.FailureView(code=failure.code, message=failure.message, log_tail=failure.log_tail) if failure else None


def better(metric: Metric, left: float, right: float) -> bool:
    return left < right if metric.goal is Goal.MINIMIZE else left > right


def best_of(run: Run, metric: Metric) -> tuple[int, dict[str, float]] | None:
    """Step and metrics of the run's best commit; the earliest among equals."""
    best: tuple[int, dict[str, float]] | None = None
    for step, pairs in run.history:
        values = dict(pairs)
        value = values.get(metric.name)
        if value is not None and math.isfinite(value) and (best is None or better(metric, value, best[1][metric.name])):
            best = (step, values)
    return best


def checkpoint_at(run: Run, step: int) -> Checkpoint | None:
    return next((checkpoint for checkpoint in run.checkpoints if checkpoint.step == step), None)


def best_view(run: Run, metric: Metric) -> models.BestView | None:
    found = best_of(run, metric)
    if found is None:
        return None
    step, values = found
    kept = checkpoint_at(run, step)
    return models.BestView(metric=metric.name, value=values[metric.name], step=step, checkpoint=kept.manifest if kept else None)


def start_view(start: Checkpoint | None) -> models.StartView | None:
    return models.StartView(step=start.step, manifest=start.manifest, weights_digest=start.weights_digest) if start else None


def training_slot(state: ClusterState, run: Run) -> str | None:
    """The slot that trains the run now; ``None`` while its grant waits behind another run's, or it has none."""
    for grant in run.grants:
        slot = state.slots.get(grant.slots[0])
        if slot is not None and slot.queue and slot.queue[0] == (run.id, grant.generation):
            return slot.spec.id
    return None


def grant_view(grant: Grant) -> models.GrantView:
    return models.GrantView(
        generation=grant.generation,
        client=grant.client,
        slot=grant.slots[0],
        from_step=grant.from_step,
        to_step=grant.to_step,
        phase=grant.phase,
        granted_at=grant.granted_at_s,
    )


def run_view(state: ClusterState, run: Run, latest: Latest) -> models.RunView:
    """``latest`` are the newest training metrics; metrics of the newest commit stand behind them."""
    experiment = state.experiments[run.experiment]
    chunks = experiment.spec.chunks
    current_step = min(max([run.position, *(step for step, _ in latest.values())]), run.total_steps)
    metrics = dict(run.history[-1][1]) if run.history else {}
    metrics.update({name: value for name, (_, value) in latest.items() if math.isfinite(value)})
    return models.RunView(
        id=run.id,
        name=run.name,
        experiment=run.experiment,
        state=run.state,
        possible=list(possible_ops(run.state)),
        refused={str(op): reason for op, reason in refused_ops(run.state).items()},
        position=run.position,
        current_step=current_step,
        first_step=run.first_step,
        total_steps=run.total_steps,
        steps_per_epoch=run.steps_per_epoch,
        epoch=round(current_step / run.steps_per_epoch, 4),
        chunks_done=chunks_done(run.position, chunks, run.steps_per_epoch, run.total_steps),
        chunks_total=chunk_count(chunks, run.steps_per_epoch, run.total_steps),
        changes=dict(run.changes),
        metrics=metrics,
        best=best_view(run, experiment.spec.search.metric),
        slot=training_slot(state, run),
        home=run.home,
        grants=[grant_view(grant) for grant in run.grants],
        generation=run.generation,
        step_time_s=run.step_time_s,
        eta_s=remaining_s(run, current_step),
        failure=failure_view(run.failure),
        parent=run.parent,
        warm_start=run.warm_start,
        start=start_view(run.start),
        verification=_json_object(run.verification) if run.verification else None,
        checkpoints=len(run.checkpoints),
        created_at=run.created_at_s,
        ended_at=run.ended_at_s,
        spec=run_spec_to_dict(run.spec),
    )


ENDED = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.PRUNED, RunState.DELETING, RunState.DELETED})
GONE = frozenset({RunState.DELETING, RunState.DELETED})
GOING_ON = frozenset({RunState.QUEUED, RunState.RUNNING})


def remaining_s(run: Run, current_step: int | None = None) -> float | None:
    """Seconds of training that are left on one slot; ``None`` before a step was timed, and for runs that ended."""
    if run.step_time_s is None or run.state in ENDED:
        return None
    done = run.position if current_step is None else current_step
    return max(run.total_steps - done, 0) * run.step_time_s


def experiment_eta_s(state: ClusterState, runs: list[Run]) -> float | None:
    """Work that is left over the slots that are there; untimed runs count as the mean of the timed ones."""
    timed = [run.step_time_s for run in runs if run.step_time_s is not None]
    waiting = [run for run in runs if run.state in GOING_ON]
    if not timed or not waiting:
        return None
    mean_s = sum(timed) / len(timed)
    left_s = [(run.total_steps - run.position) * (run.step_time_s or mean_s) for run in waiting]
    slots = sum(len(client.slots) for client in state.clients.values() if client.state == "ready")
    return max(sum(left_s) / max(min(slots, len(waiting)), 1), max(left_s))


def experiment_view(state: ClusterState, experiment: Experiment) -> models.ExperimentView:
    runs = [state.runs[run] for run in experiment.runs]
    alive = [run for run in runs if run.state not in GONE]
    metric = experiment.spec.search.metric
    best_run, best = _leader(alive, metric)
    planned = experiment.state in {ExperimentState.PREPARING, ExperimentState.REJECTED}
    return models.ExperimentView(
        id=experiment.id,
        name=experiment.spec.name,
        state=experiment.state,
        possible=list(experiment_ops(state, experiment)),
        runs=len(experiment.planned) if planned else len(alive),
        states=dict(Counter(str(run.state) for run in runs)),
        steps_done=sum(run.position for run in alive),
        steps_total=sum(run.total_steps for run in alive),
        eta_s=experiment_eta_s(state, alive),
        metric=models.MetricView(name=metric.name, goal=metric.goal),
        best=best,
        best_run=best_run,
        max_skew=experiment.max_skew,
        priority=experiment.spec.resources.priority,
        failure=failure_view(experiment.failure),
        created_at=experiment.created_at_s,
        ended_at=experiment.ended_at_s,
        spec=experiment_to_dict(experiment.spec),
    )


def _leader(runs: list[Run], metric: Metric) -> tuple[str | None, models.BestView | None]:
    leader: tuple[str | None, models.BestView | None] = (None, None)
    for run in runs:
        best = best_view(run, metric)
        if best is not None and (leader[1] is None or better(metric, best.value, leader[1].value)):
            leader = (run.id, best)
    return leader


def results_view(state: ClusterState, experiment: Experiment, metric: Metric) -> models.ResultsView:
    """The leaderboard: runs with a value first, best first; then the others in order of submission."""
    ranked: list[tuple[float, models.ResultRow]] = []
    unranked: list[models.ResultRow] = []
    sign = 1.0 if metric.goal is Goal.MINIMIZE else -1.0
    for run in (state.runs[run_id] for run_id in experiment.runs):
        if run.state in GONE:
            continue
        best = best_of(run, metric)
        row = _result_row(run, metric, best)
        if row.value is None:
            unranked.append(row)
        else:
            ranked.append((sign * row.value, row))
    ranked.sort(key=lambda pair: pair[0])
    rows = [row.model_copy(update={"rank": rank}) for rank, (_, row) in enumerate(ranked, start=1)]
    return models.ResultsView(experiment=experiment.id, metric=models.MetricView(name=metric.name, goal=metric.goal), rows=rows + unranked)


def _result_row(run: Run, metric: Metric, best: tuple[int, dict[str, float]] | None) -> models.ResultRow:
    step, values = best if best is not None else (None, dict(run.history[-1][1]) if run.history else {})
    kept = checkpoint_at(run, step) if step is not None else None
    return models.ResultRow(
        rank=None,
        id=run.id,
        name=run.name,
        state=run.state,
        changes=dict(run.changes),
        value=values.get(metric.name) if step is not None else None,
        step=step,
        metrics=values,
        position=run.position,
        total_steps=run.total_steps,
        checkpoint=kept.manifest if kept else None,
        weights_digest=kept.weights_digest if kept else None,
        holders=list(kept.holders) if kept else [],
    )


def timeline(state: ClusterState, experiment: Experiment) -> list[models.TimelineChunk]:
    """Commits of every run in step order, run by run."""
    chunks: list[models.TimelineChunk] = []
    for run in (state.runs[run_id] for run_id in experiment.runs):
        kept = {checkpoint.step for checkpoint in run.checkpoints}
        from_step = run.first_step
        for step, metrics in run.history:
            chunks.append(
                models.TimelineChunk(run=run.id, from_step=from_step, to_step=step, metrics=dict(metrics), checkpoint_kept=step in kept)
            )
            from_step = step
    return chunks


def checkpoint_views(run: Run, metric: Metric) -> list[models.CheckpointView]:
    best = best_of_kept(run.checkpoints, metric)
    return [
        models.CheckpointView(
            step=checkpoint.step,
            manifest=checkpoint.manifest,
            weights_digest=checkpoint.weights_digest,
            size_bytes=checkpoint.size_bytes,
            metrics=dict(checkpoint.metrics),
            holders=list(checkpoint.holders),
            latest=checkpoint is run.latest,
            best=checkpoint is best,
        )
        for checkpoint in run.checkpoints
    ]


def slot_view(state: ClusterState, slot: Slot, now_s: float) -> models.SlotView:
    spec = slot.spec
    return models.SlotView(
        id=spec.id,
        device=spec.device,
        device_name=spec.device_name,
        threads=spec.threads,
        memory_bytes=spec.memory_bytes,
        runs=[run for run, _ in slot.queue],
        explanation=explain_slot(state, spec.id, now_s).text,
    )


def client_view(state: ClusterState, client: Client, connected: bool, certificate_ends_s: float | None, now_s: float) -> models.ClientView:
    return models.ClientView(
        name=client.name,
        state=client.state,
        connected=connected,
        version=client.version,
        slots=[slot_view(state, state.slots[slot], now_s) for slot in client.slots if slot in state.slots],
        labels=dict(client.labels),
        registered_at=client.registered_at_s,
        lost_at=client.lost_at_s,
        lost_reason=client.lost_reason,
        certificate_expires_at=certificate_ends_s,
    )


def explain_view(subject: Run | Experiment, explanation: Explanation) -> models.ExplainView:
    return models.ExplainView(
        id=subject.id, state=subject.state, code=explanation.code, text=explanation.text, details=dict(explanation.details)
    )


def job_view(job: Job) -> models.JobView:
    return models.JobView(
        id=job.id,
        kind=job.kind,
        state=job_state(job),
        experiment=job.experiment,
        run=job.run,
        client=job.client,
        requested_at=job.requested_at_s,
        request=_json_object(job.request_json),
        result=_json_object(job.result_json) if job.result_json is not None else None,
        failure=failure_view(job.failure),
    )


def job_state(job: Job) -> str:
    if job.failure is not None:
        return "failed"
    if job.result_json is not None:
        return "done"
    return "running" if job.client is not None else "queued"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = load_json(text or "{}", with_gaps=True)
    except InvalidInputError:
        # Of a journal from before results were looked at.
        value = text[:1000]
    return value if isinstance(value, dict) else {"value": value}
