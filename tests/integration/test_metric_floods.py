"""What one client may put into the stores of metrics and logs: how much, and of which steps of a run."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from host_rig import Rig, rig
from host_support import checkpoint, submitted

from gswarm.domain.ids import ClientName, Digest, JobId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkTrainedReport,
    GrantOrder,
    JobReport,
    LogLine,
    MetricBatch,
    StepMetrics,
)
from gswarm.domain.plan import RunSize
from gswarm.host.intake import MetricIntake
from gswarm.host.stints import LATE_LINES_S, PER_RUN_MAX, Stints
from gswarm.profiler.run_logs import RunLogStore

A, B, R1 = ClientName("a"), ClientName("b"), RunId("r1")
TOTAL_STEPS = 20


@dataclass
class Flooded:
    host: Rig
    intake: MetricIntake
    generation: int

    async def tell(self, step: int, **values: float) -> None:
        await self.intake.store(A, MetricBatch(1, (StepMetrics(R1, self.generation, step, 1.0, tuple(values.items())),)))


def prepared() -> JobReport:
    """The only run can be granted."""
    digest = Digest("ab" * 32)
    return JobReport(1, JobId("j1"), "{}", sizes=(RunSize(10, TOTAL_STEPS, 10, 2, digest, digest),))


@pytest.fixture
async def flooded(tmp_path: Path) -> AsyncIterator[Flooded]:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=1))
        client = await host.connected("a")
        client.send(prepared())
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


async def test_steps_beyond_what_was_granted_are_refused(flooded: Flooded) -> None:
    end = flooded.host.state.runs[R1].grants[-1].to_step
    assert end < TOTAL_STEPS
    for step in (0, end, end + 1, TOTAL_STEPS, 2**63, 2**64 - 1):
        await flooded.tell(step, loss=1.0)
    assert [step for step, _, _ in flooded.host.series.query(R1, "loss")] == [end]
    assert flooded.intake.refused_count == 5


async def test_numbers_that_are_not_finite_are_gaps(flooded: Flooded) -> None:
    await flooded.tell(1, loss=1.0, grad_norm=math.inf)
    await flooded.tell(2, loss=math.nan, grad_norm=2.0)
    await flooded.tell(3, loss=-math.inf, grad_norm=3.0)
    assert [step for step, _, _ in flooded.host.series.query(R1, "loss")] == [1]
    assert [step for step, _, _ in flooded.host.series.query(R1, "grad_norm")] == [2, 3]


async def test_a_flood_of_lines_stays_within_its_runs_files(flooded: Flooded, tmp_path: Path) -> None:
    logs = RunLogStore(tmp_path / "logs", file_bytes_max=20_000)
    intake = MetricIntake(flooded.host.state, flooded.host.series, logs, flooded.host.clock.now_s)
    for number in range(60):
        lines = tuple(LogLine(R1, 1.0, "info", f"{number} " + "x" * 100) for _ in range(50))
        await intake.store(A, MetricBatch(number, (), lines))
    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) < 3 * 20_000
    assert logs.tail(R1, 1)[0][1].text.startswith("59 ")
    await intake.store(ClientName("stranger"), MetricBatch(1, (), (LogLine(R1, 1.0, "info", "forged"),)))
    assert logs.tail(R1, 1)[0][1].text.startswith("59 ")


# ---- a run that goes from client to client --------------------------------------------------------------------------------


@dataclass
class Moved:
    """The run was a's from step 0 on, and is b's from where a's last commit was."""

    host: Rig
    intake: MetricIntake
    of_a: GrantOrder
    of_b: GrantOrder

    async def tell(self, client: ClientName, generation: int, step: int, loss: float) -> None:
        await self.intake.store(client, MetricBatch(1, (StepMetrics(R1, generation, step, 1.0, (("loss", loss),)),)))

    async def say(self, client: ClientName, text: str) -> None:
        await self.intake.store(client, MetricBatch(1, (), (LogLine(R1, 1.0, "info", text),)))

    def losses(self) -> dict[int, float]:
        return {step: value for step, value, _ in self.host.series.query(R1, "loss")}


@pytest.fixture
async def moved(tmp_path: Path) -> AsyncIterator[Moved]:
    async with rig(tmp_path) as host:
        await host.loop.submit(submitted(runs=1))
        a = await host.connected("a")
        a.send(prepared())
        first = (await a.next(GrantOrder))[0]
        assert isinstance(first, GrantOrder)
        a.send(ChunkTrainedReport(2, R1, first.generation, first.to_step, 0.5))
        made = replace(checkpoint(R1, first.to_step), manifest=host.put_checkpoint("of a"))
        a.send(ChunkCommittedReport(3, R1, first.generation, made))
        await a.next(Ack, 3)
        host.sessions.expel(A, "revoked")
        b = await host.connected("b")
        second = (await b.next(GrantOrder))[0]
        assert isinstance(second, GrantOrder)
        assert (second.from_step, second.generation > first.generation + 1) == (first.to_step, True)
        yield Moved(host, host.sessions._intake, first, second)


async def test_a_client_whose_lease_is_over_replaces_no_value_of_the_next_one(moved: Moved) -> None:
    step = moved.of_b.from_step + 1
    await moved.tell(B, moved.of_b.generation, step, 0.5)
    newest = moved.host.state.runs[R1].generation
    for generation in (moved.of_b.generation, newest, newest + 1, 2**62):
        await moved.tell(A, generation, step, 99.0)
    assert moved.losses() == {step: 0.5}
    assert moved.intake.refused_count == 4
    # It was granted that step too, with an older generation: what comes late fills gaps only.
    await moved.tell(A, moved.of_a.generation + 1, step, 88.0)
    await moved.tell(A, moved.of_a.generation, step - 1, 0.75)
    await moved.tell(A, moved.of_a.generation + 1, moved.of_b.to_step, 0.25)
    assert moved.losses() == {step - 1: 0.75, step: 0.5, moved.of_b.to_step: 0.25}
    await moved.tell(B, moved.of_b.generation, moved.of_b.to_step, 0.4)
    assert moved.losses()[moved.of_b.to_step] == 0.4
    assert moved.intake.refused_count == 4


async def test_a_client_replaces_no_value_of_the_one_before_it(moved: Moved) -> None:
    await moved.tell(A, moved.of_a.generation, 1, 0.75)
    for step in (1, moved.of_b.from_step):
        await moved.tell(B, moved.of_b.generation, step, 0.0)
    assert moved.losses() == {1: 0.75}
    assert moved.intake.refused_count == 2


async def test_lines_of_the_client_before_are_taken_for_a_moment(moved: Moved) -> None:
    said = [line.text for line in moved.host.logs.lines]
    await moved.say(A, "last words")
    await moved.say(B, "begins")
    await moved.host.clock.advance_with(moved.host.loop, LATE_LINES_S + 1)
    await moved.say(A, "too late")
    await moved.say(B, "goes on")
    assert [line.text for line in moved.host.logs.lines][len(said) :] == ["last words", "begins", "goes on"]
    assert moved.intake.refused_count == 1


async def test_a_host_that_started_anew_knows_who_trained_what_was_committed(moved: Moved) -> None:
    """A report may be journaled just before the host dies, and the metrics of its steps come after that."""
    run, before = moved.host.state.runs[R1], moved.intake
    again = MetricIntake(moved.host.state, moved.host.series, moved.host.logs, moved.host.clock.now_s)
    moved.intake = again
    await moved.tell(A, moved.of_a.generation, moved.of_a.to_step, 0.7)
    await moved.tell(B, moved.of_b.generation, moved.of_b.to_step, 0.6)
    assert moved.losses() == {moved.of_a.to_step: 0.7, moved.of_b.to_step: 0.6}
    for step, generation in ((moved.of_b.to_step, run.generation), (1, run.generation + 1), (1, 2**40)):
        await moved.tell(A, generation, step, 99.0)
        await moved.tell(ClientName("stranger"), generation, step, 99.0)
    await moved.say(ClientName("stranger"), "forged")
    await moved.say(B, "goes on")
    assert moved.losses() == {moved.of_a.to_step: 0.7, moved.of_b.to_step: 0.6}
    assert (again.refused_count, before.refused_count) == (7, 0)


async def test_stints_are_remembered_up_to_a_limit(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.stints.RUNS_MAX", 2)
    stints = Stints(moved.host.state, moved.host.clock.now_s)
    for number in range(1, 4 * PER_RUN_MAX):
        stints.granted((A, B)[number % 2], replace(moved.of_b, generation=number))
    assert len(stints._of[R1]) == PER_RUN_MAX
    for number in range(5):
        stints.granted(A, replace(moved.of_b, run=RunId(f"r{number}")))
    assert list(stints._of) == ["r3", "r4"]
    # A client that keeps its run has one stint, however many grants that were.
    for number in range(5):
        stints.granted(A, replace(moved.of_b, run=RunId("r4"), generation=number, from_step=number, to_step=number + 1))
    assert [(stint.from_step, stint.to_step) for stint in stints._of[RunId("r4")]] == [(0, moved.of_b.to_step)]
