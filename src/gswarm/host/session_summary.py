"""What a profiler session was about: what each run used, and when slots trained nothing, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot
from gswarm.host.chronicle import Note, NoteKind, SlotSpan
from gswarm.host.profiler_services import ProfilerServices
from gswarm.host.run_spans import run_spans, slot_device, slot_gpus
from gswarm.profiler.export import Selection
from gswarm.profiler.query import SpanSum
from gswarm.profiler.report import ReportTable, amount
from gswarm.profiler.rows import US
from gswarm.profiler.sample_store import Aggregate, SampleQuery

BUBBLE_MIN_S = 1.0
BUBBLES_MAX = 1_000
"""The longest are told."""
SWAP_MAX_S = 30.0
"""A gap before another run that is longer is no change of runs any more."""
IDLE_SHARE = 0.9
"""A slot that has a run and trains less than the rest of this share of the time has a bubble."""


class Cause(StrEnum):
    NO_WORK = "no_work"
    WAITING = "waiting"
    """The slot had a run, and that waited: for a checkpoint, its model or its data."""
    SWAP = "swap"
    CLIENT_LOST = "client_lost"
    STOPPED = "stopped"
    """A person stopped or deleted the run that was there."""


@dataclass(frozen=True, slots=True)
class Bubble:
    client: ClientName
    device: str
    from_s: float
    to_s: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class RunUse:
    """``None`` is what nobody measured. A GPU that several slots share counts for each of their runs."""

    run: RunId
    name: str
    gpu_hours: float
    slot_hours: float
    energy_wh: float | None
    memory_mean_bytes: float | None
    memory_peak_bytes: float | None
    utilization_mean: float | None
    idle_share: float | None


@dataclass(frozen=True, slots=True)
class SessionSummary:
    runs: tuple[RunUse, ...]
    bubbles: tuple[Bubble, ...]

    def tables(self) -> tuple[ReportTable, ...]:
        """For the report."""
        runs = tuple(
            (
                run.run,
                run.name,
                f"{run.gpu_hours:.3f}",
                f"{run.slot_hours:.3f}",
                _text(run.energy_wh, "{:.1f} Wh"),
                _bytes(run.memory_mean_bytes),
                _bytes(run.memory_peak_bytes),
                _share(run.utilization_mean),
                _share(run.idle_share),
            )
            for run in self.runs
        )
        totals: dict[tuple[str, str, Cause], float] = defaultdict(float)
        for bubble in self.bubbles:
            totals[bubble.client, bubble.device, bubble.cause] += bubble.to_s - bubble.from_s
        bubbles = tuple((client, device, cause.replace("_", " "), f"{s:.1f} s") for (client, device, cause), s in sorted(totals.items()))
        heads = ("run", "name", "GPU-hours", "slot-hours", "energy", "memory, mean", "memory, peak", "utilisation", "idle")
        return ReportTable("Runs", heads, runs), ReportTable("Idle slots", ("client", "slot", "cause", "time"), bubbles)


def _text(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)


def _bytes(value: float | None) -> str:
    return "n/a" if value is None else amount(value, "bytes")


def _share(value: float | None) -> str:
    return "n/a" if value is None else amount(value, "ratio")


def summarize(profiler: ProfilerServices, selection: Selection, slots: Mapping[SlotId, Slot], names: Mapping[RunId, str]) -> SessionSummary:
    """Reads the chronicle and the samples; blocking.

    Args:
        slots: those of the plan now; what lies before a slot's first run is idle too.
        names: of runs.
    """
    from_s, to_s = selection.from_s, selection.to_s
    spans = [span for span in profiler.chronicle.spans(from_s, to_s) if selection.has(span.client)]
    gpus = slot_gpus(slots, profiler.samples.devices())
    runs = sorted({span.run for span in spans}, key=lambda run: (len(run), run))
    wanted = run_spans(runs, spans, gpus, from_s, to_s)

    def sums(metric: str) -> dict[str, list[SpanSum]]:
        found: dict[str, list[SpanSum]] = defaultdict(list)
        for one in profiler.samples.sums(metric, wanted, from_s, to_s):
            if one.count:
                found[one.run].append(one)
        return found

    measured = {name: sums(name) for name in ("gpu_power", "gpu_memory_used", "process_memory_used", "gpu_utilization", "idle_share")}
    used = [_use(run, names.get(run, run), [span for span in spans if span.run == run], gpus, measured, selection) for run in runs]
    return SessionSummary(tuple(used), tuple(_bubbles(profiler, selection, spans, slots)))


def _use(
    run: RunId,
    name: str,
    spans: Sequence[SlotSpan],
    gpus: Mapping[SlotId, str],
    measured: Mapping[str, Mapping[str, list[SpanSum]]],
    selection: Selection,
) -> RunUse:
    had_s: dict[tuple[ClientName, str], float] = defaultdict(float)
    for span in spans:
        if span.slot in gpus:
            had_s[span.client, gpus[span.slot]] += _length_s(span, selection)
    power = measured["gpu_power"].get(run, [])
    memory = measured["process_memory_used"].get(run) or measured["gpu_memory_used"].get(run, [])
    energy_wh = sum(one.total / one.count * had_s[one.client, one.device] / 3600 for one in power)
    return RunUse(
        run=run,
        name=name,
        gpu_hours=sum(had_s.values()) / 3600,
        slot_hours=sum(_length_s(span, selection) for span in spans) / 3600,
        energy_wh=energy_wh if power else None,
        memory_mean_bytes=_mean(memory),
        memory_peak_bytes=max((one.high for one in memory), default=None),
        utilization_mean=_mean(measured["gpu_utilization"].get(run, [])),
        idle_share=_mean(measured["idle_share"].get(run, [])),
    )


def _mean(sums: Sequence[SpanSum]) -> float | None:
    count = sum(one.count for one in sums)
    return sum(one.total for one in sums) / count if count else None


def _length_s(span: SlotSpan, selection: Selection) -> float:
    end_s = span.to_s if span.to_s is not None else selection.to_s
    return max(0.0, min(end_s, selection.to_s) - max(span.from_s, selection.from_s))


# ---- bubbles ------------------------------------------------------------------------------------------------------------


def _bubbles(profiler: ProfilerServices, selection: Selection, spans: Sequence[SlotSpan], slots: Mapping[SlotId, Slot]) -> list[Bubble]:
    """The longest, in order of time."""
    notes = profiler.chronicle.notes(selection.from_s - 3600.0, selection.to_s)
    by_slot: dict[SlotId, list[SlotSpan]] = {slot: [] for slot, record in slots.items() if selection.has(record.client)}
    for span in spans:
        by_slot.setdefault(span.slot, []).append(span)
    found = [bubble for slot, own in by_slot.items() for bubble in gaps(slot, own, notes, selection)]
    found += _untrained(profiler, selection, spans)
    longest = sorted(found, key=lambda bubble: bubble.from_s - bubble.to_s)[:BUBBLES_MAX]
    return sorted(longest, key=lambda bubble: (bubble.from_s, bubble.client, bubble.device))


def gaps(slot: SlotId, spans: Sequence[SlotSpan], notes: Iterable[Note], selection: Selection) -> list[Bubble]:
    """When a slot had no run, and why. ``spans`` are the slot's, in order of time."""
    client, device = ClientName(slot.rpartition("/")[0]), slot_device(slot)
    concerning = [note for note in notes if note.client == client or note.kind is NoteKind.OP]
    found = []
    end_s, before = selection.from_s, None
    for after in (*spans, None):
        begin_s = after.from_s if after is not None else selection.to_s
        if begin_s - end_s >= BUBBLE_MIN_S:
            found.append(Bubble(client, device, end_s, begin_s, _cause(end_s, begin_s, client, before, after, concerning)))
        if after is not None:
            end_s = max(end_s, after.to_s if after.to_s is not None else selection.to_s)
            before = after
    return found


def _cause(from_s: float, to_s: float, client: ClientName, before: SlotSpan | None, after: SlotSpan | None, notes: Sequence[Note]) -> Cause:
    within = [note for note in notes if from_s - BUBBLE_MIN_S <= note.at_s <= to_s]
    if any(note.kind is NoteKind.CLIENT and note.client == client and " is gone" in note.text for note in within):
        return Cause.CLIENT_LOST
    # A stop takes effect at the next step; what was asked for up to a minute before counts.
    asked = [note for note in notes if note.kind is NoteKind.OP and from_s - 60.0 <= note.at_s <= to_s]
    if before is not None and any(
        note.run == before.run and ("stop requested" in note.text or "delete requested" in note.text) for note in asked
    ):
        return Cause.STOPPED
    if before is not None and after is not None and to_s - from_s <= SWAP_MAX_S:
        return Cause.SWAP if before.run != after.run else Cause.WAITING
    return Cause.NO_WORK


def _untrained(profiler: ProfilerServices, selection: Selection, spans: Sequence[SlotSpan]) -> list[Bubble]:
    """When a slot had a run and did not train, by the shares that its client measured."""
    shares = ("idle_share", "swap_share")
    query = SampleQuery(shares, selection.from_s, selection.to_s, 2_000, selection.clients, aggregate=Aggregate.MEAN)
    had: dict[tuple[ClientName, str], list[SlotSpan]] = defaultdict(list)
    for span in spans:
        had[span.client, slot_device(span.slot)].append(span)
    answer = profiler.samples.query(query)
    width_us = max(answer.step_s, 1.0) * US
    found: list[Bubble] = []
    for line in answer.series:
        cause = Cause.SWAP if line.metric == "swap_share" else Cause.WAITING
        own = had.get((ClientName(line.client), line.device), [])
        for begin_us in line.at_us[np.nan_to_num(line.mean) >= IDLE_SHARE].tolist():
            begin_s, end_s = begin_us / US, (begin_us + width_us) / US
            if not any(span.from_s <= begin_s and (span.to_s is None or end_s <= span.to_s) for span in own):
                continue
            last = found[-1] if found else None
            if (
                last is not None
                and (last.device, last.client, last.cause) == (line.device, line.client, cause)
                and begin_s <= last.to_s + 1e-3
            ):
                found[-1] = Bubble(last.client, last.device, last.from_s, end_s, cause)
            else:
                found.append(Bubble(ClientName(line.client), line.device, begin_s, end_s, cause))
    return found
