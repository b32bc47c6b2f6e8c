"""Gathers what the alert rules look at: the plan on the event loop's thread, samples, losses and disks in another."""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.ids import ClientName, RunId
from gswarm.domain.plan import Run, RunState
from gswarm.domain.samples import MACHINE, SeriesKey
from gswarm.profiler.alert_rules import RECENT_S, ClientReading, DiskReading, GpuReading, Readings, RunReading
from gswarm.profiler.freshness import clock_offset_s
from gswarm.profiler.series import SeriesStore
from gswarm.profiler.store.sample_store import SampleStore
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.index import number_of

LOSSES_KEPT = 100
"""Of each run: what the newest ones are compared with."""
STEPS_BACK = 2_000
"""A run is read from so many steps before its newest one when it is first looked at."""
RUNS_MAX = 1_000
"""Runs whose losses are watched."""
STALE_S = 30.0
"""Older samples say nothing about now."""

Latest = Mapping[SeriesKey, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class PlanReading:
    """What the plan knows; the rest is added by ``gather``."""

    clients: tuple[ClientReading, ...]
    there: Mapping[ClientName, float]
    """Clients whose samples are expected, because they are connected for longer than these may be late, and since when."""
    runs: tuple[RunReading, ...]
    idle_slots: tuple[tuple[str, str], ...]
    waiting_runs: int
    queued: frozenset[str]


def read_plan(state: ClusterState, connected: frozenset[ClientName], config: AlertConfig, now_s: float) -> PlanReading:
    """On the event loop's thread."""
    clients = tuple(
        ClientReading(
            client.name,
            client.lost_at_s if client.fell_silent else None,
            client.lost_reason,
        )
        for client in state.clients.values()
    )
    since_s = {name: state.clients[name].registered_at_s for name in connected if name in state.clients}
    there = {name: at_s for name, at_s in since_s.items() if now_s - at_s > config.samples_late_s}
    granted = sorted({run for runs in state.index.granted.values() for run in runs}, key=number_of)
    training = [state.runs[run] for run in granted[:RUNS_MAX]]
    failed = [run for run in state.runs.values() if _failed_lately(run, now_s)]
    return PlanReading(
        clients,
        there,
        tuple(_run(run) for run in (*training, *failed[-RUNS_MAX:])),
        tuple((state.slots[slot].client, slot) for slot in state.index.vacant),
        state.index.anywhere,
        frozenset(run.id for run in state.runs.values() if run.state is RunState.QUEUED),
    )


def _failed_lately(run: Run, now_s: float) -> bool:
    return run.state is RunState.FAILED and run.ended_at_s is not None and now_s - run.ended_at_s < RECENT_S


def _run(run: Run) -> RunReading:
    failure = run.failure.code if run.failure is not None and run.state is RunState.FAILED else ""
    return RunReading(run.id, run.name, (), failure, run.ended_at_s)


class Losses:
    """The recent losses of the runs that train; reads only what is new. For one thread at a time."""

    def __init__(self, series: SeriesStore) -> None:
        self._series = series
        self._recent: dict[str, deque[tuple[int, float]]] = {}

    def of(self, runs: tuple[RunReading, ...]) -> Iterator[tuple[float, ...]]:
        """Of each of these; others are forgotten. Raises StorageError."""
        known, self._recent = self._recent, {}
        for run in runs:
            if run.failure:
                yield ()
                continue
            recent = self._recent[run.run] = known.get(run.run) or deque(maxlen=LOSSES_KEPT)
            self._read(RunId(run.run), recent)
            yield tuple(value for _step, value in recent)

    def _read(self, run: RunId, recent: deque[tuple[int, float]]) -> None:
        newest = self._series.latest(run).get("loss")
        if newest is None or (recent and newest[0] == recent[-1][0]):
            return
        if recent and newest[0] < recent[-1][0]:
            recent.clear()  # a lease was over, and the run went back to its checkpoint
        start = recent[-1][0] + 1 if recent else max(0, newest[0] - STEPS_BACK)
        recent.extend((step, value) for step, value, _at_s in self._series.query(run, "loss", start))


class Sources:
    """Where the readings come from. Called on the event loop's thread; what it returns is called in another.

    Args:
        connected: clients with a session now.
        disks: the host's own, by name.
    """

    def __init__(
        self,
        state: ClusterState,
        connected: Callable[[], frozenset[ClientName]],
        store: SampleStore,
        series: SeriesStore,
        config: AlertConfig,
        disks: Mapping[str, Path],
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._connected = connected
        self._store = store
        self._losses = Losses(series)
        self._config = config
        self._disks = disks
        self._clock = clock

    def __call__(self, broken_channels: Sequence[tuple[str, str]]) -> Callable[[], Readings]:
        now_s = self._clock()
        plan = read_plan(self._state, self._connected(), self._config, now_s)
        return lambda: gather(plan, self._store, self._losses, self._disks, tuple(broken_channels), now_s)


def gather(
    plan: PlanReading,
    store: SampleStore,
    losses: Losses,
    disks: Mapping[str, Path],
    broken_channels: tuple[tuple[str, str], ...],
    now_s: float,
) -> Readings:
    """Everything. Reads the disk: not for the event loop's thread. Raises StorageError."""
    latest = store.latest()
    return Readings(
        gpus=tuple(_gpus(latest, now_s)),
        runs=tuple(
            RunReading(run.run, run.name, recent, run.failure, run.ended_at_s)
            for run, recent in zip(plan.runs, losses.of(plan.runs), strict=True)
        ),
        clients=tuple(_client(client, plan.there, latest, now_s) for client in plan.clients),
        disks=tuple(_disk(name, path) for name, path in disks.items()),
        idle_slots=plan.idle_slots,
        waiting_runs=plan.waiting_runs,
        broken_channels=broken_channels,
        there=frozenset(plan.there),
        queued=plan.queued,
    )


_GPU_FIELDS = {
    "gpu_utilization": "utilization",
    "gpu_power": "power_watts",
    "gpu_power_limit": "power_limit_watts",
    "gpu_throttle_reasons": "throttle_reasons",
    "gpu_xid": "xid",
}


def _gpus(latest: Latest, now_s: float) -> Iterator[GpuReading]:
    values: dict[tuple[str, str], dict[str, float]] = {}
    owners: dict[tuple[str, str], set[str]] = {}
    offsets: dict[ClientName, float] = {}
    for key, (at_s, value) in latest.items():
        if not key.device.startswith("gpu:"):
            continue
        if key.client not in offsets:
            offsets[key.client] = clock_offset_s(latest, key.client)
        if now_s - at_s - offsets[key.client] > STALE_S:
            continue
        if key.owner:
            owners.setdefault((key.client, key.device), set()).add(key.owner)
        elif key.metric in _GPU_FIELDS:
            values.setdefault((key.client, key.device), {})[_GPU_FIELDS[key.metric]] = value
    for (client, device), found in sorted(values.items()):
        yield GpuReading(client, device, **found, owners=tuple(sorted(owners.get((client, device), ())))[:4])


def _client(client: ClientReading, there: Mapping[ClientName, float], latest: Latest, now_s: float) -> ClientReading:
    name = ClientName(client.name)
    times = [at_s for metric in ("cpu_utilization", "memory_used") if (at_s := _newest(latest, name, metric)[0]) > 0]
    age_s = max(0.0, now_s - max(times) - clock_offset_s(latest, name)) if times else None
    values = {metric: value for metric in ("samples_lost", "disk_free", "disk_total") if (value := _newest(latest, name, metric)[1]) >= 0}
    is_stale = age_s is None or age_s > STALE_S
    if age_s is None and name in there:
        age_s = now_s - there[name]  # it never told anything, or so long ago that it is forgotten
    return ClientReading(
        client.name,
        client.silent_since_s,
        client.lost_reason,
        age_s if name in there else None,
        values.get("samples_lost", math.nan),
        math.nan if is_stale else values.get("disk_free", math.nan),
        math.nan if is_stale else values.get("disk_total", math.nan),
    )


def _newest(latest: Latest, client: ClientName, metric: str) -> tuple[float, float]:
    return latest.get(SeriesKey(client, MACHINE, "", metric), (0.0, math.nan))


def _disk(name: str, path: Path) -> DiskReading:
    try:
        disk = shutil.disk_usage(path)
    except OSError:
        return DiskReading(name, str(path), math.nan, math.nan)
    return DiskReading(name, str(path), float(disk.free), float(disk.total))
