"""The timeline: which chunk had which slot when, and what its time was made of."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from gswarm.domain.ids import ExperimentId, SlotId
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.profiler import From, To, range_of
from gswarm.host.services import HostServices
from gswarm.host.timeline.chunk_book import ChunkTime
from gswarm.host.timeline.chunk_parts import ChunkParts, TrainedSpan, is_late, slot_parts, trained_span
from gswarm.host.timeline.run_spans import slot_device
from gswarm.host.timeline.slot_idle import SlotIdle, read_idle

CHUNKS_MAX = 5_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class SlotRow(_Model):
    slot: str
    client: str
    device: str = Field(description="Of the profiler: gpu:0, or slot:0 where the slot has no GPU.")
    since: float = Field(description="Known in the range from then on: its client was registered, told of it, or its first chunk began.")


class ChunkBar(_Model):
    """A chunk on one slot: set-up until ``train_from``, training until ``train_to``, evaluation until ``evaluated_to``."""

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
    evaluated_to: float | None = Field(description="Before ``to`` where the host heard late of its end: it was away, and the slot idle.")
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
    experiment: Annotated[
        str | None, Query(max_length=200, description="Only this experiment's chunks, its id or its name; time of others is not idle.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=CHUNKS_MAX)] = CHUNKS_MAX,
) -> TimelineRange:
    """Which chunk had which slot when: a slot's time that no chunk of any experiment has was idle."""
    now_s = services.clock()
    from_s, to_s = range_of(from_, to, now_s)
    only = services.state.find_experiment(experiment).id if experiment is not None else None
    clients = services.state.clients
    registered = {slot_id: clients[one.client].registered_at_s for slot_id, one in services.state.slots.items() if one.client in clients}
    until_s = min(to_s, max(now_s, from_s + 1))
    chunks, idle, complete = await asyncio.to_thread(_chunks, services, (from_s, until_s), registered, only, limit)
    first_s = {bar.slot: bar.from_ for bar in reversed(chunks)}
    known = {slot_id: slot for slot_id, slot in services.state.slots.items() if only is None or slot_id in first_s}
    rows = []
    for slot in sorted({*first_s, *known}, key=_order):
        record = known.get(SlotId(slot))
        device = _device(slot, record.spec.device if record is not None else "")
        told = (first_s.get(slot), registered.get(SlotId(slot)), idle.told_since(SlotId(slot)))
        since_s = min((at_s for at_s in told if at_s is not None), default=to_s)
        rows.append(SlotRow(slot=slot, client=slot.rpartition("/")[0], device=device, since=since_s))
    return TimelineRange(from_=from_s, to=to_s, slots=rows, chunks=chunks, complete=complete)


def _device(slot: str, device: str) -> str:
    return device.replace("cuda:", "gpu:") if device.startswith("cuda:") else slot_device(SlotId(slot))


def _order(slot: str) -> tuple[str, int, str]:
    client, _, index = slot.rpartition("/")
    return client, int(index) if index.isdigit() else 0, index


def _chunks(
    services: HostServices, within: tuple[float, float], registered: dict[SlotId, float], only: ExperimentId | None, limit: int
) -> tuple[list[ChunkBar], SlotIdle, bool]:
    found = services.profiler.chronicle.chunks(*within, limit + 1, only)
    chunks = found[-limit:]
    by_slot: dict[SlotId, list[tuple[ChunkTime, TrainedSpan | None]]] = defaultdict(list)
    for chunk in chunks:
        by_slot[chunk.slot].append((chunk, trained_span(services.series, chunk)))
    # Most answers need no samples: slots are known for longer than the range, and their chunks ended when the host heard so.
    wanted = {slot for slot, at_s in registered.items() if at_s > within[0]}
    wanted |= {slot for slot, own in by_slot.items() if any(is_late(*one) for one in own)}
    idle = read_idle(services.profiler.samples, wanted, *within)
    parts = [one for slot, own in by_slot.items() for one in slot_parts(services.series, own, idle.of(slot))]
    bars = sorted((_bar(one) for one in parts), key=lambda bar: bar.from_)
    return bars, idle, len(found) <= limit


def _bar(parts: ChunkParts) -> ChunkBar:
    chunk, trained = parts.chunk, parts.trained
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
        evaluated_to=parts.evaluated_s,
        step_time_s=chunk.step_time_s,
        outcome=chunk.outcome.value,
    )
