"""Training metrics and log lines of clients, into their stores."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from gswarm.domain.epochs import epoch_of
from gswarm.domain.errors import GswarmError, StorageError
from gswarm.domain.ids import ClientName, RunId
from gswarm.domain.messages import ChunkFailedReport, LogLine, MetricBatch, StepMetrics
from gswarm.domain.plan import Run
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.core import ClusterState

METRICS_PER_CLIENT_MAX = 1_000
"""Different names of metrics from one client since the host started; the store has room for the names of many clients."""
LOST_PROCESS_CODES = frozenset({"trainer_died", "trainer_hung"})

_log = logging.getLogger("gswarm.host.intake")


class LogStore(Protocol):
    def append(self, lines: Sequence[LogLine]) -> None:
        """Stores lines of any runs; blocking."""


class MetricIntake:
    """Stores what a client may tell: metrics and logs of runs that it holds or held last. The rest is counted and left."""

    def __init__(self, state: ClusterState, series: SeriesStore, run_logs: LogStore) -> None:
        self._state = state
        self._series = series
        self._run_logs = run_logs
        self._granted: dict[RunId, set[ClientName]] = {}
        self._names: dict[ClientName, set[str]] = {}
        self.refused_count = 0
        self.lost_log_lines = 0
        """Since the start, for want of room."""
        self._is_losing_logs = False

    def granted(self, client: ClientName, run: RunId) -> None:
        """From now on the client may tell about the run, also when its grant is over: metrics travel apart from reports."""
        self._granted.setdefault(run, set()).add(client)

    async def failed(self, client: ClientName, report: ChunkFailedReport, at_s: float) -> None:
        """Puts why a chunk failed into the run's log; of a trainer process that could not say it itself also its last output."""
        failure = report.failure
        text = f"failed on {client} ({failure.code}): {failure.message}"
        if failure.code in LOST_PROCESS_CODES and failure.log_tail:
            text += f"\nthe trainer process's last output:\n{failure.log_tail}"
        try:
            await asyncio.to_thread(self._run_logs.append, [LogLine(report.run, at_s, "error", text)])
        except GswarmError as error:
            _log.warning("the log of run %s lacks its failure: %s", report.run, error)

    async def store(self, client: ClientName, batch: MetricBatch) -> None:
        """Returns once the batch is stored. Raises StorageError."""
        runs = {row.run for row in batch.steps} | {line.run for line in batch.logs}
        allowed = {run for run in runs if self._may_tell(client, run)}
        generations = {run: self._state.runs[run].generation for run in allowed}
        lengths = {run: self._state.runs[run].total_steps for run in allowed}
        steps = [
            self._with_known_names(client, row)
            for row in batch.steps
            if row.run in allowed and _is_of(row.generation, generations[row.run]) and row.step <= lengths[row.run]
        ]
        logs = [line for line in batch.logs if line.run in allowed]
        self.refused_count += len(batch.steps) - len(steps) + len(batch.logs) - len(logs)
        if steps or logs:
            await asyncio.to_thread(self._write, steps, logs)

    def _with_known_names(self, client: ClientName, row: StepMetrics) -> StepMetrics:
        """The row without what is beyond the client's ``METRICS_PER_CLIENT_MAX`` names."""
        known = self._names.setdefault(client, set())
        known.update(islice([name for name, _ in row.values if name not in known], METRICS_PER_CLIENT_MAX - len(known)))
        if all(name in known for name, _ in row.values):
            return row
        kept = tuple(pair for pair in row.values if pair[0] in known)
        self.refused_count += len(row.values) - len(kept)
        return replace(row, values=kept)

    def _write(self, steps: list[StepMetrics], logs: list[LogLine]) -> None:
        if steps:
            self._series.append(steps)
        if logs:
            self._write_logs(logs)

    def _write_logs(self, logs: list[LogLine]) -> None:
        """Lines that find no room are lost, counted and said: what is measured does not wait behind them."""
        try:
            self._run_logs.append(logs)
        except StorageError as error:
            if not self._is_losing_logs:
                _log.warning("lines of runs' logs are being lost: %s", error)
            self._is_losing_logs = True
            self.lost_log_lines += len(logs)
            return
        if self._is_losing_logs:
            self._is_losing_logs = False
            _log.warning("runs' logs are written again; %d lines were lost since the start", self.lost_log_lines)

    def _may_tell(self, client: ClientName, run_id: RunId) -> bool:
        run = self._state.runs.get(run_id)
        return run is not None and (client in self._granted.get(run_id, ()) or client in _holders(self._state, run))


def _is_of(generation: int, newest: int) -> bool:
    """Not ahead of the run, and not from before a restore: after that the same id may be another run."""
    return generation <= newest and epoch_of(generation) == epoch_of(newest)


def _holders(state: ClusterState, run: Run) -> set[str]:
    """Also past holders that are still known, for what they tell after a restart of the host."""
    holders: set[str] = {grant.client for grant in run.grants}
    if run.home is not None and run.home in state.slots:
        holders.add(state.slots[run.home].client)
    return holders.union(*(checkpoint.holders for checkpoint in run.checkpoints))
