"""The protocol of the series store: training metrics of runs, by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gswarm.domain.ids import RunId
from gswarm.domain.messages import StepMetrics


class SeriesStore(Protocol):
    """One value a (run, metric, step): the newest generation's wins. Safe to call from several threads."""

    def append(self, batch: Sequence[StepMetrics]) -> None:
        """Stores a batch; durable against a crash of the process when it returns."""

    def metrics(self, run: RunId) -> list[str]:
        """Names of the run's metrics, sorted."""

    def query(
        self, run: RunId, metric: str, from_step: int = 0, to_step: int | None = None, points: int | None = None
    ) -> list[tuple[int, float, float]]:
        """(step, value, seconds since the epoch) in step order. At most ``points`` if given: min and max of a bucket stay."""

    def latest(self, run: RunId) -> dict[str, tuple[int, float]]:
        """Per metric the newest (step, value)."""

    def delete_run(self, run: RunId) -> None: ...

    def close(self) -> None: ...
