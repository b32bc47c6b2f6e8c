"""What the timeline says about a time in which the host was away: chunks that ended meanwhile, slots whose client came back."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.host.timeline.chunk_book import ChunkTime, Outcome
from gswarm.host.timeline.chunk_parts import slot_parts, trained_span
from gswarm.host.timeline.slot_idle import read_idle

SLOT = SlotId(f"{CLIENT}/0")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


def idle_samples(api: ApiHost, from_s: float, to_s: float, busy_until_s: float) -> None:
    """One a second: the slot is busy, then idle."""
    times = [from_s + second for second in range(1, int(to_s - from_s) + 1)]
    stamps = b"".join(struct.pack("<q", round(at_s * 1e6)) for at_s in times)
    values = b"".join(struct.pack("<d", 0.0 if at_s <= busy_until_s else 1.0) for at_s in times)
    column = SampleColumns("slot:0", "", ("idle_share",), stamps, values)
    api.profiler.samples.append(ClientName(CLIENT), SampleBatch("0123456789abcdef", 1, (column,)))


def steps(api: ApiHost, run: str, times: dict[int, float]) -> None:
    api.series.append(
        [StepMetrics(run=RunId(run), generation=1, step=step, values=(("step_time_s", 1.0),), at_s=at_s) for step, at_s in times.items()]
    )


def chunk(run: str, begun_s: float, ended_s: float, from_step: int, to_step: int) -> ChunkTime:
    ids = (ClientName(CLIENT), ExperimentId("e1"), RunId(run))
    return ChunkTime(SLOT, begun_s, ended_s, *ids, 1, from_step, to_step, 1.0, Outcome.TRAINED)


def parts(api: ApiHost, *chunks: ChunkTime, until_s: float) -> list[Any]:
    idle = read_idle(api.profiler.samples, [SLOT], until_s - 600, until_s)
    return list(slot_parts(api.series, [(one, trained_span(api.series, one)) for one in chunks], idle.of(SLOT)))


def test_an_outage_of_the_host_is_no_evaluation(api: ApiHost) -> None:
    now_s = float(int(time.time()))
    steps(api, "r1", {1: now_s - 300, 4: now_s - 200})
    idle_samples(api, now_s - 320, now_s, busy_until_s=now_s - 190)
    (found,) = parts(api, chunk("r1", now_s - 310, now_s - 5, 0, 4), until_s=now_s)
    assert found.trained.to_s == now_s - 200
    assert found.evaluated_s == pytest.approx(now_s - 190, abs=2.0)


def test_a_long_evaluation_stays_one(api: ApiHost) -> None:
    now_s = float(int(time.time()))
    steps(api, "r1", {1: now_s - 300, 4: now_s - 200})
    idle_samples(api, now_s - 320, now_s, busy_until_s=now_s)
    (found,) = parts(api, chunk("r1", now_s - 310, now_s - 5, 0, 4), until_s=now_s)
    assert found.evaluated_s == now_s - 5


def test_nobody_measured_so_the_host_is_believed(api: ApiHost) -> None:
    now_s = float(int(time.time()))
    steps(api, "r1", {1: now_s - 300, 4: now_s - 200})
    (found,) = parts(api, chunk("r1", now_s - 310, now_s - 5, 0, 4), until_s=now_s)
    assert found.evaluated_s == now_s - 5


def test_the_next_chunk_that_trained_meanwhile_began_with_its_first_step(api: ApiHost) -> None:
    now_s = float(int(time.time()))
    steps(api, "r1", {1: now_s - 300, 4: now_s - 200})
    steps(api, "r2", {1: now_s - 190, 4: now_s - 100})
    idle_samples(api, now_s - 320, now_s, busy_until_s=now_s - 99)
    first, second = parts(api, chunk("r1", now_s - 310, now_s - 5, 0, 4), chunk("r2", now_s - 5, now_s - 4, 0, 4), until_s=now_s)
    assert first.chunk.ended_s == second.chunk.begun_s == now_s - 191
    assert (second.trained.from_s, second.trained.to_s) == (now_s - 191, now_s - 100)
    assert second.evaluated_s == pytest.approx(now_s - 99, abs=2.0)


def test_a_slot_whose_client_came_back_is_known_from_before(api: ApiHost) -> None:
    with_runs(api, slots=1)
    now_s = float(int(time.time()))
    idle_samples(api, now_s - 300, now_s, busy_until_s=0.0)
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    answer = httpx.get(f"{api.url}/api/v1/timeline", params={"from": -900}, headers=headers, timeout=20).json()
    assert answer["slots"][0]["since"] == pytest.approx(now_s - 300, abs=2.0)


def test_the_metrics_of_a_run_have_its_evaluations(api: ApiHost) -> None:
    run, *_ = with_runs(api)
    api.train(run)
    steps(api, run, {1: 1000.0, 4: 1004.0})
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    answer = httpx.get(f"{api.url}/api/v1/runs/{run}/metrics", headers=headers, timeout=20).json()
    history = api.state.runs[RunId(run)].history
    assert "eval_loss" in answer["metrics"]
    found = next(series for series in answer["series"] if series["metric"] == "eval_loss")
    assert [point[:2] for point in found["points"]] == [[step, dict(values)["eval_loss"]] for step, values in history]
    assert found["points"][0][2] == 1004.0
    params = {"metric": "eval_loss", "from_step": 5}
    only = httpx.get(f"{api.url}/api/v1/runs/{run}/metrics", params=params, headers=headers, timeout=20).json()
    assert [series["points"] for series in only["series"]] == [[]]
