"""What the host says about itself and its plan at ``/metrics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from gswarm.domain.ids import RunId
from gswarm.domain.plan import ClientState, ExperimentState, Run, RunState
from gswarm.host.services import HostServices
from gswarm.host.status import HostStatus, host_status
from gswarm.profiler.catalog import Kind
from gswarm.profiler.exposition import Family
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.index import number_of

RUNS_MAX = 200
"""Runs with series of their own: those that hold a slot, the oldest first."""

_NO_LABELS: dict[str, str] = {}


async def host_families(services: HostServices) -> list[Family]:
    """The plan, the journal, the disks and the alerts. Called on the event loop's thread. Raises StorageError."""
    status = await host_status(services)
    return [*_plan_families(services), *_journal_families(services, status), *_run_families(active_runs(services))]


def active_runs(services: HostServices) -> list[Run]:
    """Runs that hold a slot now, the oldest ``RUNS_MAX``."""
    granted = {run_id for runs in services.state.index.granted.values() for run_id in runs}
    return [services.state.runs[run_id] for run_id in sorted(granted, key=number_of)[:RUNS_MAX]]


def _plan_families(services: HostServices) -> Iterator[Family]:
    state = services.state
    runs = Counter(run.state for run in state.runs.values())
    experiments = Counter(experiment.state for experiment in state.experiments.values())
    clients = Counter(client.state for client in state.clients.values())
    busy = sum(1 for slot in state.slots.values() if slot.queue)
    free = len(state.index.vacant)
    slots = {"busy": busy, "free": free, "unavailable": len(state.slots) - busy - free}
    firing = Counter((alert.rule, alert.severity) for alert in services.alerts.firing)
    yield _one("gswarm_build_info", "The host's version; always 1", 1.0, version=services.version)
    yield Family("gswarm_runs", "Runs by state", tuple(({"state": one}, runs[one]) for one in RunState))
    yield Family("gswarm_experiments", "Experiments by state", tuple(({"state": one}, experiments[one]) for one in ExperimentState))
    yield Family("gswarm_clients", "Clients by state", tuple(({"state": one}, clients[one]) for one in ClientState))
    yield _one("gswarm_clients_connected", "Clients with a session now", len(services.sessions.connected))
    yield Family(
        "gswarm_slots", "Slots that train, are free, or cannot train now", tuple(({"state": name}, n) for name, n in slots.items())
    )
    yield _one("gswarm_queue_runs", "Runs that wait for a slot", len(state.index.places))
    yield _one("gswarm_jobs_open", "Jobs that are not finished", state.index.jobs.open_count())
    yield Family(
        "gswarm_alerts_firing",
        "Alerts that fire now",
        tuple(({"rule": rule, "severity": severity}, count) for (rule, severity), count in sorted(firing.items())),
    )
    yield _count(
        "gswarm_refused_reports", "Reports of clients that did not count, since the host started", services.sessions.refused_reports
    )
    refused = services.profiler.samples.counts.refused
    yield _count("gswarm_refused_samples", "Values and devices beyond the sample store's limits, since the host started", refused)
    yield _count("gswarm_refused_transfers", "Transfers that were refused, since the host started", services.rights.refused_count)


def _journal_families(services: HostServices, status: HostStatus) -> Iterator[Family]:
    journal = status.journal
    flush_s = journal.last_flush_ms / 1_000 if journal.last_flush_ms is not None else float("nan")
    yield _count("gswarm_events", "Events of the plan since the cluster began", journal.newest_event)
    yield _one("gswarm_journal_lag_events", "Events that a start after a crash would replay", journal.lag_events)
    yield _one("gswarm_journal_waiting_events", "Events that wait for the journal", journal.waiting_events)
    yield _one("gswarm_journal_flush_seconds", "Time of the newest flush", flush_s)
    yield _one("gswarm_journal_size_bytes", "The journal's file", journal.size_bytes)
    yield _one("gswarm_open_leases", "Grants that are neither committed nor over", status.open_leases)
    yield _one("gswarm_uptime_seconds", "Since the host started", services.clock() - services.started_at_s)
    disks = status.disks.items()
    yield Family(
        "gswarm_host_disk_free_bytes", "Free on the host's disks", tuple(({"disk": name}, disk.free_bytes) for name, disk in disks)
    )
    yield Family("gswarm_host_disk_size_bytes", "The host's disks", tuple(({"disk": name}, disk.total_bytes) for name, disk in disks))


def _run_families(runs: list[Run]) -> Iterator[Family]:
    labels = [{"run": run.id, "name": run.name, "experiment": run.experiment} for run in runs]
    yield Family("gswarm_run_step", "Committed optimizer steps", tuple((one, run.position) for one, run in zip(labels, runs, strict=True)))
    yield Family(
        "gswarm_run_steps_planned", "Optimizer steps in all", tuple((one, run.total_steps) for one, run in zip(labels, runs, strict=True))
    )


def loss_families(series: SeriesStore, runs: Sequence[tuple[str, str, str]]) -> list[Family]:
    """The newest losses of runs. Reads the disk: not for the event loop's thread.

    Args:
        runs: (id, name, experiment).
    """
    found = [({"run": run, "name": name, "experiment": experiment}, series.latest(RunId(run))) for run, name, experiment in runs]
    return [
        Family(
            f"gswarm_run_{metric}",
            about,
            tuple((labels, values[metric][1]) for labels, values in found if metric in values),
        )
        for metric, about in (("loss", "The newest training loss"), ("eval_loss", "The newest evaluation loss"))
    ]


def _one(name: str, about: str, value: float, **labels: str) -> Family:
    return Family(name, about, ((labels or _NO_LABELS, value),))


def _count(name: str, about: str, value: float) -> Family:
    return Family(name, about, ((_NO_LABELS, value),), Kind.COUNTER)
