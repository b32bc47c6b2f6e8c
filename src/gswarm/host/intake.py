"""Training metrics and log lines of clients, into their stores."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol

from gswarm.domain.errors import GswarmError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import ChunkFailedReport, GrantOrder, LogLine, MetricBatch, StepMetrics
from gswarm.host.stints import Stints
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
    """Stores what a client may tell: metrics of steps that it was granted, and lines of runs that it holds or held last. The rest
    is counted and left. Of two values of one step the store keeps that of the newer generation."""

    def __init__(self, state: ClusterState, series: SeriesStore, run_logs: LogStore, now_s: Callable[[], float]) -> None:
        self._stints = Stints(state, now_s)
        self._series = series
        self._run_logs = run_logs
        self._names: dict[ClientName, set[str]] = {}
        self.refused_count = 0
        self.lost_log_lines = 0
        """Since the start, for want of room."""
        self._is_losing_logs = False

    def granted(self, client: ClientName, order: GrantOrder) -> None:
        """From now on the client may tell about these steps, also when its grant is over."""
        self._stints.granted(client, order)

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
        steps = [self._with_known_names(client, row) for row in batch.steps if self._stints.may_measure(client, row)]
        logs = [line for line in batch.logs if self._stints.may_log(client, line.run)]
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
