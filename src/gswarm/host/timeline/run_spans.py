"""Which series belong to a run: the slots it had and their devices, while it had them, and what its own processes used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby, islice

import numpy as np

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot
from gswarm.domain.samples import DeviceInfo
from gswarm.host.timeline.slot_book import SlotSpan
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import Span
from gswarm.profiler.store.span_sums import Tenures, Turns

LASTS_US = 2**62
"""The end of what has none yet."""
_PAGE = 10_000
"""Spans that are objects at the same time."""


def slot_device(slot: SlotId) -> str:
    """The device under which training measures: ``a/0`` is ``slot:0``."""
    return f"slot:{slot.rpartition('/')[2]}"


def slot_gpus(slots: Mapping[SlotId, Slot], devices: Iterable[tuple[ClientName, DeviceInfo, float]]) -> dict[SlotId, str]:
    """The GPU (or MIG device) behind each slot: what its client says, else by the plan's ``cuda:0``. Slots of CPUs are left out."""
    found = {slot: record.spec.device.replace("cuda:", "gpu:") for slot, record in slots.items() if record.spec.device.startswith("cuda:")}
    for client, device, _ in devices:
        if device.kind == "slot" and device.parent.startswith("gpu:"):
            found[SlotId(f"{client}/{device.device.removeprefix('slot:')}")] = device.parent
    return found


def run_spans(runs: Iterable[RunId], spans: Iterable[SlotSpan], gpus: Mapping[SlotId, str], from_s: float, to_s: float) -> tuple[Span, ...]:
    """What the runs had between the two times. A slot's whole GPU counts, also where several slots share it.

    What a client calls the share of a run's processes is believed only of a run that it had; it belongs to the run at any time.
    """
    wanted = set(runs)
    had = [span for span in spans if span.run in wanted]
    found = [Span(run, client, "", f"run:{run}", from_s, to_s) for run, client in sorted({(span.run, span.client) for span in had})]
    for span in had:
        begin_s, end_s = max(span.from_s, from_s), min(span.to_s if span.to_s is not None else to_s, to_s)
        devices = (slot_device(span.slot), *([gpus[span.slot]] if span.slot in gpus else []))
        found += [Span(span.run, span.client, device, "", begin_s, end_s) for device in devices]
    return tuple(found)


def tenures(spans: Iterable[SlotSpan], gpus: Mapping[SlotId, str]) -> Tenures:
    """The same as columns, for as many spans as there are; they come slot by slot."""
    runs: dict[str, int] = {}
    hosts: set[tuple[ClientName, str]] = set()
    parts: dict[tuple[ClientName, str], list[Turns]] = defaultdict(list)
    for slot, own in groupby(spans, key=lambda span: span.slot):
        while page := list(islice(own, _PAGE)):
            client = page[0].client
            hosts.update((client, span.run) for span in page)
            turns = _turns(page, runs)
            parts[client, slot_device(slot)].append(turns)
            if slot in gpus:
                parts[client, gpus[slot]].append(turns)
    return Tenures(runs, {device: _joined(found) for device, found in parts.items()}, frozenset(hosts))


def _turns(spans: list[SlotSpan], runs: dict[str, int]) -> Turns:
    return Turns(
        np.array([runs.setdefault(span.run, len(runs)) for span in spans], np.int32),
        np.array([round(span.from_s * US) for span in spans], np.int64),
        np.array([round(span.to_s * US) if span.to_s is not None else LASTS_US for span in spans], np.int64),
    )


def _joined(parts: list[Turns]) -> Turns:
    columns = zip(*((part.run, part.from_us, part.to_us) for part in parts), strict=True)
    run, from_us, to_us = (np.concatenate(column) for column in columns)
    return Turns(run, from_us, to_us)
