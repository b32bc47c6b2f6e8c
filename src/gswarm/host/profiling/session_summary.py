"""What a profiler session was about: what each run used, and when slots trained nothing, and why."""

from __future__ import annotations

import heapq
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot
from gswarm.host.profiling.services import ProfilerServices
from gswarm.host.timeline import slot_book
from gswarm.host.timeline.idle_causes import Cause
from gswarm.host.timeline.run_spans import slot_device, slot_gpus, tenures
from gswarm.host.timeline.slot_book import Asked
from gswarm.profiler.export import Selection
from gswarm.profiler.query import SERIES_MAX
from gswarm.profiler.report import ReportTable, amount
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import Aggregate, AnswerSeries, SampleQuery
from gswarm.profiler.store.span_sums import SpanSum, Tenures

BUBBLE_MIN_S = 1.0
BUBBLES_MAX = 1_000
"""The longest are told one by one."""
IDLE_SHARE = 0.9
"""A slot that has a run and trains less than the rest of this share of the time has a bubble."""
SHARES = {"idle_share": Cause.WAITING, "swap_share": Cause.SWAP}
SLOTS_MAX = SERIES_MAX // 2
"""Whose shares are asked for at once."""


@dataclass(frozen=True, slots=True)
class Bubble:
    client: ClientName
    device: str
    from_s: float
    to_s: float
    cause: Cause

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s


@dataclass(frozen=True, slots=True)
class IdleSum:
    """What the bubbles of one cause came to."""

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0

    def plus(self, count: int, total_s: float, longest_s: float) -> IdleSum:
        return IdleSum(self.count + count, self.total_s + total_s, max(self.longest_s, longest_s))


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
    """Attributes:
    bubbles: the longest, in order of time.
    idle: of all of them, by (client, device, cause).
    """

    runs: tuple[RunUse, ...]
    bubbles: tuple[Bubble, ...]
    idle: Mapping[tuple[ClientName, str, Cause], IdleSum]

    @property
    def left_out(self) -> int:
        """Bubbles that only ``idle`` counts."""
        return sum(one.count for one in self.idle.values()) - len(self.bubbles)

    def causes(self) -> dict[Cause, IdleSum]:
        """Of all slots together, what took longest first."""
        found: dict[Cause, IdleSum] = {}
        for (_client, _device, cause), one in self.idle.items():
            found[cause] = found.get(cause, IdleSum()).plus(one.count, one.total_s, one.longest_s)
        return dict(sorted(found.items(), key=lambda item: -item[1].total_s))

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
        idle = tuple(
            (client, device, cause.replace("_", " "), f"{one.total_s:.1f} s") for (client, device, cause), one in sorted(self.idle.items())
        )
        heads = ("run", "name", "GPU-hours", "slot-hours", "energy", "memory, mean", "memory, peak", "utilisation", "idle")
        return ReportTable("Runs", heads, runs), ReportTable("Idle slots", ("client", "slot", "cause", "time"), idle)


def _text(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)


def _bytes(value: float | None) -> str:
    return "n/a" if value is None else amount(value, "bytes")


def _share(value: float | None) -> str:
    return "n/a" if value is None else amount(value, "ratio")


def summarize(profiler: ProfilerServices, selection: Selection, slots: Mapping[SlotId, Slot], names: Mapping[RunId, str]) -> SessionSummary:
    """Reads the chronicle and the samples; blocking. However much happened, each run and each slot counts as a whole.

    Args:
        slots: those of the plan now, for their GPUs.
        names: of runs.
    """
    asked = Asked(selection.from_s, selection.to_s, selection.clients)
    gpus = slot_gpus(slots, profiler.samples.devices())
    with profiler.chronicle.reading() as database:
        had = tenures(slot_book.read_spans(database, asked), gpus)
        bubbles = _Bubbles(database, asked)
    for bubble in _untrained(profiler, selection, had):
        bubbles.add(bubble)

    def sums(metric: str) -> dict[str, list[SpanSum]]:
        found: dict[str, list[SpanSum]] = defaultdict(list)
        for one in profiler.samples.sums(metric, had, selection.from_s, selection.to_s):
            found[one.run].append(one)
        return found

    measured = {name: sums(name) for name in ("gpu_power", "gpu_memory_used", "process_memory_used", "gpu_utilization", "idle_share")}
    used = _Used(had, selection, gpus, measured)
    runs = sorted(map(RunId, had.runs), key=lambda run: (len(run), run))
    return SessionSummary(tuple(used.of(run, names.get(run, run)) for run in runs), bubbles.longest(), bubbles.idle)


class _Used:
    """What runs had, and what that used.

    Args:
        gpus: behind slots.
        measured: sums by metric and run.
    """

    def __init__(
        self, had: Tenures, selection: Selection, gpus: Mapping[SlotId, str], measured: Mapping[str, Mapping[str, list[SpanSum]]]
    ) -> None:
        self._measured = measured
        self._slot_s: dict[str, float] = defaultdict(float)
        self._gpu_s: dict[str, dict[tuple[ClientName, str], float]] = defaultdict(lambda: defaultdict(float))
        behind = {(ClientName(slot.rpartition("/")[0]), slot_device(slot)): gpu for slot, gpu in gpus.items()}
        names = list(had.runs)
        for client, device in had.devices:
            if device.startswith("slot:"):
                for number, time_s in had.times((client, device), selection.from_s, selection.to_s):
                    self._slot_s[names[number]] += time_s
                    if (client, device) in behind:
                        self._gpu_s[names[number]][client, behind[client, device]] += time_s
        power: dict[tuple[ClientName, str], list[SpanSum]] = defaultdict(list)
        for sums in measured["gpu_power"].values():
            for one in sums:
                power[one.client, one.device].append(one)
        self._power = {device: _mean(sums) for device, sums in power.items()}

    def of(self, run: RunId, name: str) -> RunUse:
        memory = self._measured["process_memory_used"].get(run) or self._measured["gpu_memory_used"].get(run, [])
        return RunUse(
            run=run,
            name=name,
            gpu_hours=sum(self._gpu_s[run].values()) / 3600,
            slot_hours=self._slot_s[run] / 3600,
            energy_wh=self._energy_wh(run),
            memory_mean_bytes=_mean(memory),
            memory_peak_bytes=max((one.high for one in memory), default=None),
            utilization_mean=_mean(self._measured["gpu_utilization"].get(run, [])),
            idle_share=_mean(self._measured["idle_share"].get(run, [])),
        )

    def _energy_wh(self, run: RunId) -> float | None:
        """A GPU that the run had too shortly for a sample took what it takes with other runs."""
        own = {(one.client, one.device): _mean([one]) for one in self._measured["gpu_power"].get(run, [])}
        watts = ((own.get(device, self._power.get(device)), time_s) for device, time_s in self._gpu_s[run].items())
        known = [mean * time_s / 3600 for mean, time_s in watts if mean is not None]
        return sum(known) if known else None


def _mean(sums: Sequence[SpanSum]) -> float | None:
    count = sum(one.count for one in sums)
    return sum(one.total for one in sums) / count if count else None


# ---- bubbles ------------------------------------------------------------------------------------------------------------


class _Bubbles:
    """Sums of all, and the longest: first what the chronicle knows, then what is added."""

    def __init__(self, database: sqlite3.Connection, asked: Asked) -> None:
        self.idle: dict[tuple[ClientName, str, Cause], IdleSum] = {}
        for one in slot_book.read_idle_times(database, asked, BUBBLE_MIN_S):
            self._count(one.client, slot_device(one.slot), one.cause, one.count, one.total_s, one.longest_s)
        self._longest = [
            Bubble(one.client, slot_device(one.slot), one.from_s, one.to_s, one.cause)
            for one in slot_book.read_longest_idle(database, asked, BUBBLE_MIN_S, BUBBLES_MAX)
        ]

    def add(self, bubble: Bubble) -> None:
        self._count(bubble.client, bubble.device, bubble.cause, 1, bubble.length_s, bubble.length_s)
        self._longest.append(bubble)
        if len(self._longest) >= 2 * BUBBLES_MAX:
            self._cut()

    def _count(self, client: ClientName, device: str, cause: Cause, count: int, total_s: float, longest_s: float) -> None:
        key = (client, device, cause)
        self.idle[key] = self.idle.get(key, IdleSum()).plus(count, total_s, longest_s)

    def _cut(self) -> None:
        self._longest = heapq.nlargest(BUBBLES_MAX, self._longest, key=lambda one: one.length_s)

    def longest(self) -> tuple[Bubble, ...]:
        self._cut()
        return tuple(sorted(self._longest, key=lambda one: (one.from_s, one.client, one.device)))


def _untrained(profiler: ProfilerServices, selection: Selection, had: Tenures) -> Iterator[Bubble]:
    """When a slot had a run and did not train, by the shares that its client measured."""
    for clients in _groups(had):
        query = SampleQuery(tuple(SHARES), selection.from_s, selection.to_s, 2_000, clients, aggregate=Aggregate.MEAN)
        answer = profiler.samples.query(query)
        width_us = round(max(answer.step_s, 1.0) * US)
        for line in answer.series:
            yield from _of_line(line, width_us, had, selection)


def _groups(had: Tenures) -> Iterator[frozenset[ClientName]]:
    """Clients with no more slots together than one question may be about."""
    slots: dict[ClientName, int] = defaultdict(int)
    for client, device in had.devices:
        slots[client] += device.startswith("slot:")
    group: list[ClientName] = []
    for client, count in sorted(slots.items()):
        if group and count + sum(slots[one] for one in group) > SLOTS_MAX:
            yield frozenset(group)
            group = []
        group.append(client)
    if group:
        yield frozenset(group)


def _of_line(line: AnswerSeries, width_us: int, had: Tenures, selection: Selection) -> Iterator[Bubble]:
    """Buckets that lie in a time in which the slot had one run, those side by side together."""
    turns = had.devices.get((ClientName(line.client), line.device))
    begin_us = line.at_us[np.nan_to_num(line.mean) >= IDLE_SHARE]
    if turns is None or not len(begin_us):
        return
    turn = np.searchsorted(turns.from_us, begin_us, side="right") - 1
    begin_us = begin_us[(turn >= 0) & (begin_us + width_us <= turns.to_us[turn])]
    for first, last in _side_by_side(begin_us, width_us):
        begin_s, end_s = max(first / US, selection.from_s), min((last + width_us) / US, selection.to_s)
        if end_s - begin_s >= BUBBLE_MIN_S:
            yield Bubble(ClientName(line.client), line.device, begin_s, end_s, SHARES[line.metric])


def _side_by_side(begin_us: NDArray[np.int64], width_us: int) -> Iterator[tuple[int, int]]:
    """The first and the last bucket of each row of them."""
    if len(begin_us):
        breaks = np.flatnonzero(np.diff(begin_us) > width_us + US // 1000) + 1
        for part in np.split(begin_us, breaks):
            yield int(part[0]), int(part[-1])
