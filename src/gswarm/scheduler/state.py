"""The data of the plan and how it is looked up. ``gswarm.scheduler.core`` adds the events."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gswarm.domain.errors import ConflictError, FencedError, NotFoundError
from gswarm.domain.ids import ClientName, Digest, ExperimentId, JobId, RequestId, RunId, SlotId
from gswarm.domain.plan import (
    Client,
    Experiment,
    ExperimentState,
    Grant,
    Job,
    RequestRecord,
    Run,
    RunState,
    Slot,
)
from gswarm.scheduler.effects import Effect, SendGrant
from gswarm.scheduler.index import Index
from gswarm.scheduler.lifecycle import LIVE, check_transition

_DIGEST_IN_JSON = re.compile(r'"([0-9a-f]{64})"')
GONE_EXPERIMENTS = frozenset({ExperimentState.REJECTED, ExperimentState.DELETED})


@dataclass
class Plan:
    """Everything the host knows, in plain serialisable fields, each dict by id and in order of creation."""

    experiments: dict[ExperimentId, Experiment] = field(default_factory=dict)
    runs: dict[RunId, Run] = field(default_factory=dict)
    clients: dict[ClientName, Client] = field(default_factory=dict)
    slots: dict[SlotId, Slot] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    """Open ones in order of request; finished ones are moved to the end, the last 1,000 are kept."""
    requests: dict[RequestId, RequestRecord] = field(default_factory=dict)
    """The newest 10,000 that took effect, oldest first."""
    timers: dict[str, float] = field(default_factory=dict)
    """When each running timer is due. A timer that fires and is not here, or not yet due, is stale."""
    counters: dict[str, int] = field(default_factory=dict)
    """Totals since the cluster began; ``experiments``, ``runs`` and ``jobs`` number the ids."""
    undo_window_s: float = 600.0
    """How long a deleted run can be restored."""
    epoch: int = 0
    """Grows with each restore of the host from a backup (``gswarm.domain.epochs``)."""

    def __post_init__(self) -> None:
        self.index: Index = Index(self)

    def find_run(self, ref: str) -> Run:
        """The run with that id, or with that name if no other has it; a deleted run stands back behind a live one.

        Raises:
            NotFoundError: there is none.
            ConflictError: several have the name.
        """
        run = self.runs.get(RunId(ref))
        if run is not None:
            return run
        named = [self.runs[run_id] for run_id in self.index.run_names.get(ref, ())]
        found = [run for run in named if run.state is not RunState.DELETED] or named
        if not found:
            raise NotFoundError(f"there is no run {ref!r}", "gswarm run list shows the runs")
        if len(found) > 1:
            raise ConflictError(f"{len(found)} runs are named {ref!r}", f"use an id: {', '.join(run.id for run in found)}")
        return found[0]

    def find_experiment(self, ref: str) -> Experiment:
        """The experiment with that id, or of that name: the one that is not deleted or rejected, else the newest.

        Raises:
            NotFoundError: there is none.
        """
        experiment = self.experiments.get(ExperimentId(ref))
        if experiment is not None:
            return experiment
        named = self.index.experiment_names.get(ref)
        if not named:
            raise NotFoundError(f"there is no experiment {ref!r}", "gswarm experiment list shows the experiments")
        found = [self.experiments[experiment_id] for experiment_id in named]
        return next((one for one in found if one.state not in GONE_EXPERIMENTS), found[-1])

    def result_of(self, request: RequestId) -> str | None:
        """The id that the request led to; ``None`` if it is not known (any more)."""
        record = self.requests.get(request)
        return record.result_id if record is not None else None

    def live_roots(self) -> tuple[Digest, ...]:
        """Manifests that something still refers to, sorted: bases, data, kept and start checkpoints of runs that are not
        deleted, and whatever digests the requests and results of jobs name."""
        roots: set[Digest] = set()
        for run in self.runs.values():
            if run.state is RunState.DELETED:
                continue
            roots.update((run.base, run.data))
            roots.update(checkpoint.manifest for checkpoint in run.checkpoints)
            if run.start is not None:
                roots.add(run.start.manifest)
        for job in self.jobs.values():
            for text in (job.request_json, job.result_json or ""):
                roots.update(Digest(name) for name in _DIGEST_IN_JSON.findall(text))
        return tuple(sorted(roots))

    def open_grant(self, client: ClientName, run_id: RunId, generation: int) -> tuple[Run, int]:
        """The run, and the place of that open grant in ``run.grants``.

        Raises:
            FencedError: the grant is not open, or another client has it.
        """
        run = self.runs.get(run_id)
        for place, grant in enumerate(run.grants if run is not None else ()):
            if grant.generation == generation and grant.client == client:
                assert run is not None
                return run, place
        raise FencedError(
            f"{client} holds no open grant of generation {generation} of run {run_id}", "its lease is over; the result does not count"
        )

    def count(self, name: str, by: int = 1) -> int:
        """Raise a counter and return it."""
        self.counters[name] = self.counters.get(name, 0) + by
        return self.counters[name]


@dataclass(slots=True)
class Turn:
    """One event being applied: the plan, the time and the effects so far. Handlers check everything before they change anything."""

    plan: Plan
    now_s: float
    effects: list[Effect] = field(default_factory=list)
    sweep: bool = False
    """References went away: one ``SweepBlobs`` at the end."""

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send_grant(self, grant: Grant) -> None:
        """Tell the client."""
        self.emit(send_grant(grant))

    def move(self, run: Run, target: RunState) -> None:
        """Change a run's state, and its experiment's if that follows. The caller refreshes the index when the run is settled.

        Raises:
            InvariantError: the lifecycle knows no such move.
        """
        if run.state is target:
            return
        check_transition(run.id, run.state, target)
        alive = target in LIVE
        if alive != (run.state in LIVE):
            run.ended_at_s = None if alive else self.now_s
            self.plan.index.count_live(run, 1 if alive else -1)
        run.state = target
        refresh_experiment(self, self.plan.experiments[run.experiment])


def refresh_experiment(turn: Turn, experiment: Experiment) -> None:
    """An experiment is active while a run of it is live. One that becomes active again starts no poorer than the others."""
    alive = turn.plan.index.live_runs(experiment.id) > 0
    match experiment.state:
        case ExperimentState.ACTIVE if not alive:
            experiment.state = ExperimentState.IDLE
            experiment.ended_at_s = turn.now_s
        case ExperimentState.IDLE if alive:
            activate(turn, experiment)
        case _:
            return


def activate(turn: Turn, experiment: Experiment) -> None:
    """Make it active; its share begins where the least served active experiment is, so that it cannot claim the past."""
    priority = experiment.spec.resources.priority
    others = (
        other.service_s
        for other in turn.plan.experiments.values()
        if other.state is ExperimentState.ACTIVE and other is not experiment and other.spec.resources.priority == priority
    )
    experiment.state = ExperimentState.ACTIVE
    experiment.ended_at_s = None
    experiment.service_s = max(experiment.service_s, min(others, default=0.0))
    turn.plan.index.reorder(experiment)


def send_grant(grant: Grant) -> SendGrant:
    """The effect keeps a copy: grants change later, an effect does not."""
    copy = Grant(grant.run, grant.generation, grant.client, grant.slots, grant.from_step, grant.to_step, grant.granted_at_s, grant.phase)
    return SendGrant(grant.client, copy)
