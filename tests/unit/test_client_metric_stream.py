"""Metrics on a connection that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gswarm.client import metrics
from gswarm.client.metrics import BATCH_ROWS, MetricStream
from gswarm.domain.errors import UnavailableError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import MetricBatch, StepMetrics


async def test_rows_that_no_batch_carried_before_a_break_are_sent_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing new is measured that would wake the stream."""
    monkeypatch.setattr(metrics, "FLUSH_S", 0.0)
    monkeypatch.setattr(metrics, "Backoff", lambda **limits: _NoWait())
    stored: list[int] = []
    connections = 0

    async def host(batches: AsyncIterator[MetricBatch]) -> AsyncIterator[int]:
        nonlocal connections
        connections += 1
        async for batch in batches:
            if connections == 1:
                raise UnavailableError("the connection broke")
            stored.extend(row.step for row in batch.steps)
            yield batch.seq

    stream = MetricStream(host)
    for step in range(2 * BATCH_ROWS):
        stream.add_step(StepMetrics(RunId("r1"), 1, step, 0.0, ()))
    running = asyncio.create_task(stream.run())
    async with asyncio.timeout(5):
        while len(stored) < 2 * BATCH_ROWS:
            await asyncio.sleep(0.001)
    running.cancel()
    assert stored == list(range(2 * BATCH_ROWS))


class _NoWait:
    def __next__(self) -> float:
        return 0.0

    def reset(self) -> None:
        """There is nothing to reset."""
