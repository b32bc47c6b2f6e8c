"""All of a client's measuring: the sampler process, what training says, the spool and the stream to the host."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from gswarm.client.sampling.collector import Collector
from gswarm.client.sampling.columns import batches
from gswarm.client.sampling.process import SAMPLER_COMMAND, Sampler
from gswarm.client.sampling.spool import Spools
from gswarm.client.sampling.stream import OpenStream, SampleStream
from gswarm.domain.plan import SlotSpec
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns

FLUSH_S = 0.5
"""What comes together in that time is one batch."""
OWN_S = 1.0
"""How often the client tells what it knows itself."""
DEVICES_PER_BATCH = 16
"""With the processes that they name, these fit into a message."""
DRAIN_S = 1.0

logger = logging.getLogger(__name__)


class Station:
    """Runs beside the client's loop and never in its way.

    Args:
        directory: the client's own; the spool is in it.
        open_stream: ``HostConnection.samples``.
        on_outsiders: told whenever other devices than before are used by outsiders; the collector knows which.
    """

    def __init__(
        self,
        directory: Path,
        budget_bytes: int,
        open_stream: OpenStream,
        slots: Sequence[SlotSpec],
        slot_devices: Sequence[str],
        ours: Callable[[], Mapping[int, str]],
        on_outsiders: Callable[[], None] = lambda: None,
        command: tuple[str, ...] = SAMPLER_COMMAND,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.collector = Collector(slots, slot_devices, ours, clock_s)
        self.sampler = Sampler(directory, self.collector.line, command)
        spools = Spools(directory / "samples", budget_bytes)
        self.stream = SampleStream(open_stream, spools, self.sampler.set_intervals, self.collector.tell_all_devices)
        self._on_outsiders = on_outsiders
        self._outsiders: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled; what was measured by then is on the disk."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.sampler.run())
                tasks.create_task(self.stream.run())
                tasks.create_task(self._keep())
        finally:
            await self._flush()
            await self.stream.close()

    async def drained(self) -> None:
        """The last words: the host gets a moment to take what is there. The rest waits on the disk."""
        await self._flush()
        await self.stream.drained(DRAIN_S)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        own_due_s = loop.time()
        while True:
            await asyncio.sleep(FLUSH_S)
            if loop.time() >= own_due_s:
                own_due_s = loop.time() + OWN_S
                self.collector.add_own({"samples_lost": float(self.stream.lost_rows + self.collector.lost_rows)})
            await self._flush()
            if self.collector.outsiders != self._outsiders:
                self._outsiders = dict(self.collector.outsiders)
                self._on_outsiders()

    async def _flush(self) -> None:
        gathered = self.collector.take()
        described = [gathered.devices[begin : begin + DEVICES_PER_BATCH] for begin in range(0, len(gathered.devices), DEVICES_PER_BATCH)]
        no_columns: tuple[SampleColumns, ...] = ()
        no_devices: tuple[DeviceInfo, ...] = ()
        for columns, devices in zip_longest(batches(gathered.columns), described):
            await self.stream.add(SampleBatch("", 0, columns or no_columns, devices or no_devices))
