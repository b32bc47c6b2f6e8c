"""The timeline: which chunk had which slot when, and what its time was made of."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from gswarm.domain.ids import ExperimentId, SlotId
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.profiler import From, To, range_of
from gswarm.host.chunk_book import ChunkTime
from gswarm.host.chunk_parts import TrainedSpan, trained_span
from gswarm.host.services import HostServices

CHUNKS_MAX = 5_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class SlotRow(_Model):
    slot: str
    client: str
    device: str = Field(description="Of the profiler: gpu:0, or slot:0 where the slot has no GPU.")
    since: float = Field(description="Known from then on: when its client registered last, or its first chunk of the range began.")


class ChunkBar(_Model):
    """A chunk on one slot: set-up until ``train_from``, then training, then evaluation from ``train_to`` until its end."""

    slot: str
    run: str
    experiment: str
    generation: int
    from_step: int
    to_step: int
    from_: Annotated[float, Field(alias="from")]
    to: float | None = Field(description="null while it trains.")
    train_from: float | None = Field(description="null where its steps are not known.")
    train_to: float | None
    step_time_s: float | None
    outcome: Literal["training", "trained", "failed", "dropped"]


class TimelineRange(_Model):
    from_: Annotated[float, Field(alias="from")]
    to: float
    slots: list[SlotRow]
    chunks: list[ChunkBar] = Field(description="In order of their begin.")
    complete: bool = Field(description="Whether the range has no more chunks than these, which are its newest.")


async def cluster_timeline(
    services: ServicesDep,
    from_: From = -3600.0,
    to: To = 0.0,
    experiment: Annotated[str | None, Query(max_length=200, description="Only this experiment's; its id or its name.")] = None,
    limit: Annotated[int, Query(ge=1, le=CHUNKS_MAX)] = CHUNKS_MAX,
) -> TimelineRange:
    """Which chunk had which slot when: a slot's time that no chunk has was idle."""
    from_s, to_s = range_of(from_, to, services.clock())
    only = services.state.find_experiment(experiment).id if experiment is not None else None
    chunks, complete = await asyncio.to_thread(_chunks, services, from_s, to_s, only, limit)
    first_s = {bar.slot: bar.from_ for bar in reversed(chunks)}
    known = {slot_id: slot for slot_id, slot in services.state.slots.items() if only is None or slot_id in first_s}
    rows = []
    for slot in sorted({*first_s, *known}, key=_order):
        record = known.get(SlotId(slot))
        device = _device(slot, record.spec.device if record is not None else "")
        client = services.state.clients.get(record.client) if record is not None else None
        since_s = min(first_s.get(slot, to_s), client.registered_at_s if client is not None else to_s)
        rows.append(SlotRow(slot=slot, client=slot.rpartition("/")[0], device=device, since=since_s))
    return TimelineRange(from_=from_s, to=to_s, slots=rows, chunks=chunks, complete=complete)


def _device(slot: str, device: str) -> str:
    return device.replace("cuda:", "gpu:") if device.startswith("cuda:") else f"slot:{slot.rpartition('/')[2]}"


def _order(slot: str) -> tuple[str, int, str]:
    client, _, index = slot.rpartition("/")
    return client, int(index) if index.isdigit() else 0, index


def _chunks(services: HostServices, from_s: float, to_s: float, only: ExperimentId | None, limit: int) -> tuple[list[ChunkBar], bool]:
    found = services.profiler.chronicle.chunks(from_s, to_s, limit + 1, only)
    return [_bar(chunk, trained_span(services.series, chunk)) for chunk in found[-limit:]], len(found) <= limit


def _bar(chunk: ChunkTime, trained: TrainedSpan | None) -> ChunkBar:
    return ChunkBar(
        slot=chunk.slot,
        run=chunk.run,
        experiment=chunk.experiment,
        generation=chunk.generation,
        from_step=chunk.from_step,
        to_step=chunk.to_step,
        from_=chunk.begun_s,
        to=chunk.ended_s,
        train_from=trained.from_s if trained is not None else None,
        train_to=trained.to_s if trained is not None else None,
        step_time_s=chunk.step_time_s,
        outcome=chunk.outcome.value,
    )
