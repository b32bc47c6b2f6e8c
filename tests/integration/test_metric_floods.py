"""What one client may put into the stores of metrics and logs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from host_rig import Rig, rig
from host_support import submitted

from gswarm.domain.ids import ClientName, Digest, JobId, RunId
from gswarm.domain.messages import JobReport, LogLine, MetricBatch, StepMetrics
from gswarm.domain.plan import RunSize
from gswarm.host.intake import MetricIntake
from gswarm.profiler.run_logs import RunLogStore

A, R1 = ClientName("a"), RunId("r1")
TOTAL_STEPS = 20


@dataclass
class Flooded:
    host: Rig
    intake: MetricIntake
    generation: int

    async def tell(self, step: int, **values: float) -> None:
        await self.intake.store(A, MetricBatch(1, (StepMetrics(R1, self.generation, step, 1.0, tuple(values.items())),)))


@pytest.fixture
async def flooded(tmp_path: Path) -> AsyncIterator[Flooded]:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=1))
        client = await host.connected("a")
        digest = Digest("ab" * 32)
        client.send(JobReport(1, JobId("j1"), "{}", sizes=(RunSize(10, TOTAL_STEPS, 10, 2, digest, digest),)))
        await client.hear()
        yield Flooded(host, host.sessions._intake, host.state.runs[R1].generation)


async def test_a_client_has_a_limit_of_names(flooded: Flooded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.intake.METRICS_PER_CLIENT_MAX", 3)
    await flooded.tell(1, loss=1.0, lr=0.1)
    await flooded.tell(2, loss=0.9, a=1.0, b=1.0, c=1.0)
    await flooded.tell(3, **{f"name{number}": 1.0 for number in range(100)})
    await flooded.tell(4, loss=0.8)
    assert flooded.host.series.metrics(R1) == ["a", "loss", "lr"]
    assert [value for _, value, _ in flooded.host.series.query(R1, "loss")] == [1.0, 0.9, 0.8]
    assert flooded.intake.refused_count == 102


async def test_steps_beyond_the_runs_end_are_refused(flooded: Flooded) -> None:
    for step in (TOTAL_STEPS, TOTAL_STEPS + 1, 2**63, 2**64 - 1):
        await flooded.tell(step, loss=1.0)
    assert [step for step, _, _ in flooded.host.series.query(R1, "loss")] == [TOTAL_STEPS]
    assert flooded.intake.refused_count == 3


async def test_numbers_that_are_not_finite_are_gaps(flooded: Flooded) -> None:
    await flooded.tell(1, loss=1.0, grad_norm=math.inf)
    await flooded.tell(2, loss=math.nan, grad_norm=2.0)
    await flooded.tell(3, loss=-math.inf, grad_norm=3.0)
    assert [step for step, _, _ in flooded.host.series.query(R1, "loss")] == [1]
    assert [step for step, _, _ in flooded.host.series.query(R1, "grad_norm")] == [2, 3]


async def test_a_flood_of_lines_stays_within_its_runs_files(flooded: Flooded, tmp_path: Path) -> None:
    logs = RunLogStore(tmp_path / "logs", file_bytes_max=20_000)
    intake = MetricIntake(flooded.host.state, flooded.host.series, logs)
    for number in range(60):
        lines = tuple(LogLine(R1, 1.0, "info", f"{number} " + "x" * 100) for _ in range(50))
        await intake.store(A, MetricBatch(number, (), lines))
    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) < 3 * 20_000
    assert logs.tail(R1, 1)[0][1].text.startswith("59 ")
    await intake.store(ClientName("stranger"), MetricBatch(1, (), (LogLine(R1, 1.0, "info", "forged"),)))
    assert logs.tail(R1, 1)[0][1].text.startswith("59 ")
