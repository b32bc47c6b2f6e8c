"""Which series belong to a run: the slots it had and their devices, while it had them, and what its own processes used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gswarm.domain.ids import ClientName, RunId, SlotId
from gswarm.domain.plan import Slot
from gswarm.domain.samples import DeviceInfo
from gswarm.host.chronicle import SlotSpan
from gswarm.profiler.sample_store import Span

GPU_KINDS = frozenset({"gpu", "mig"})


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
