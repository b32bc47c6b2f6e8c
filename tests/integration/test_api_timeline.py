"""The timeline: which chunk had which slot when, over a real plan and its chronicle; and charts of some owners only."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_host import CLIENT, ApiHost, api_host, with_runs

from gswarm.domain.ids import RunId, SlotId
from gswarm.domain.messages import StepMetrics
from gswarm.domain.plan import Failure
from gswarm.domain.samples import SampleBatch, SampleColumns
from gswarm.host.timeline import chunk_book
from gswarm.host.timeline.chunk_book import ChunkBook, Outcome, read_chunks, write_chunks
from gswarm.scheduler.events import ChunkFailed, ChunkTrained


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiHost]:
    with api_host(tmp_path) as made:
        yield made


def get(api: ApiHost, path: str = "timeline", **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.bearer['viewer']}"}
    return httpx.get(f"{api.url}/api/v1/{path}", params=params, headers=headers, timeout=20)


def ask(api: ApiHost, **params: Any) -> Any:
    answer = get(api, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def settled(api: ApiHost) -> None:
    """The chronicle has taken every entry of the journal."""

    async def follow() -> None:
        chronicle = api.profiler.chronicle
        while chronicle._seen < api.plan.seq:
            await asyncio.sleep(0)
        chronicle._look_at_slots(time.time())

    api.call(follow())


def bars(answer: Any, run: str) -> list[tuple[int, int, str]]:
    return [(bar["from_step"], bar["to_step"], bar["outcome"]) for bar in answer["chunks"] if bar["run"] == run]


def test_chunks_lie_on_their_slots_one_behind_the_other(api: ApiHost) -> None:
    run, *_ = with_runs(api, slots=2)
    begun_s = time.time()
    api.train(run)
    api.train(run)
    settled(api)
    answer = ask(api)
    assert all(0 < row["since"] <= time.time() for row in answer["slots"])
    assert [(row["slot"], row["client"], row["device"]) for row in answer["slots"]] == [
        (f"{CLIENT}/0", CLIENT, "slot:0"),
        (f"{CLIENT}/1", CLIENT, "slot:1"),
    ]
    assert answer["complete"]
    assert bars(answer, run)[:2] == [(0, 4, "trained"), (4, 8, "trained")]
    for slot in answer["slots"]:
        own = [bar for bar in answer["chunks"] if bar["slot"] == slot["slot"]]
        assert all(before["to"] <= after["from"] for before, after in itertools.pairwise(own))
        assert (own[-1]["to"], own[-1]["outcome"]) == (None, "training")
    assert answer["from"] < begun_s < answer["to"]


def test_set_up_and_evaluation_are_told_from_the_times_of_the_steps(api: ApiHost) -> None:
    run, *_ = with_runs(api)
    settled(api)
    begun_s = ask(api)["chunks"][0]["from"]
    steps = [
        StepMetrics(run=RunId(run), generation=1, step=step, values=(("step_time_s", 0.01),), at_s=begun_s + step * 0.01)
        for step in range(1, 5)
    ]
    api.series.append(steps)
    assert ask(api)["chunks"][0]["train_from"] == pytest.approx(begun_s)
    assert ask(api)["chunks"][0]["train_to"] is None
    api.series.append([StepMetrics(run=RunId(run), generation=1, step=4, values=(("step_time_s", 0.01),), at_s=begun_s + 3600)])
    api.train(run)
    settled(api)
    first = ask(api)["chunks"][0]
    assert first["train_to"] == first["to"], "a clock that is ahead stays inside its chunk"


def test_a_failed_chunk_and_one_that_was_given_back_are_told_apart(api: ApiHost) -> None:
    first, *_ = with_runs(api)
    settled(api)
    grant = api.state.runs[RunId(first)].grants[0]
    api.submit(ChunkFailed(grant.client, RunId(first), grant.generation, Failure("cuda_error", "it broke", False, "")))
    settled(api)
    training = next(bar["run"] for bar in ask(api)["chunks"] if bar["to"] is None)
    api.host().stop_run(training)
    api.give_back(training)
    settled(api)
    answer = ask(api)
    assert bars(answer, first)[0] == (0, 4, "failed")
    assert bars(answer, training)[0] == (0, 4, "dropped")


def test_of_one_experiment_in_a_range_and_not_too_many(api: ApiHost) -> None:
    run, *_ = with_runs(api)
    for _ in range(3):
        api.train(run)
    settled(api)
    whole = ask(api)
    assert ask(api, experiment="tiny")["chunks"] == whole["chunks"]
    assert ask(api, **{"from": 1000, "to": 2000})["chunks"] == []
    newest = ask(api, limit=2)
    assert (newest["chunks"], newest["complete"]) == (whole["chunks"][-2:], False)
    assert get(api, experiment="nothing").status_code == 404
    assert get(api, **{"from": 5, "to": 1}).status_code == 400


def test_a_chunk_whose_end_is_heard_late_is_no_dropped_one(api: ApiHost) -> None:
    run, *_ = with_runs(api)
    database = sqlite3.connect(":memory:")
    database.executescript(chunk_book.SCHEMA)
    book, slot = ChunkBook(database), SlotId(f"{CLIENT}/0")
    book.look_at(api.state, [slot], 10.0)
    generation = api.state.slots[slot].queue[0][1]
    api.train(run)
    book.look_at(api.state, [slot], 20.0)
    book.take(ChunkTrained(CLIENT, RunId(run), generation, 4, 0.5), 19.0)
    write_chunks(database, book.take_changed())
    first, second = read_chunks(database, 0.0, 100.0, 10)
    assert (first.begun_s, first.ended_s, first.to_step, first.outcome) == (10.0, 19.0, 4, Outcome.TRAINED)
    assert (second.begun_s, second.ended_s, second.outcome) == (20.0, None, Outcome.TRAINING)
    again = ChunkBook(database)
    again.look_at(api.state, [slot], 30.0)
    assert not again.take_changed(), "what was open before a restart goes on"


def test_charts_show_the_shares_of_chosen_owners_and_devices_as_ever(api: ApiHost) -> None:
    at_s = time.time() - 10
    stamp = struct.pack("<q", round(at_s * 1e6))
    columns = (
        SampleColumns("gpu:0", "", ("gpu_power",), stamp, struct.pack("<d", 360.0)),
        SampleColumns("gpu:0", "run:r1", ("process_memory_used",), stamp, struct.pack("<d", 5e9)),
        SampleColumns("gpu:0", "outsider:ann", ("process_memory_used",), stamp, struct.pack("<d", 1e9)),
    )
    api.profiler.samples.append(CLIENT, SampleBatch("0123456789abcdef", 1, columns))

    def owners(metric: str, **params: str) -> list[str]:
        return [line["owner"] for line in get(api, "profiler/query", metric=metric, **params).json()["series"]]

    assert sorted(owners("process_memory_used")) == ["outsider:ann", "run:r1"]
    assert owners("process_memory_used", owners="outsider:ann") == ["outsider:ann"]
    assert owners("process_memory_used", owners="outsider:bob") == []
    assert owners("gpu_power", owners="outsider:ann") == [""]
