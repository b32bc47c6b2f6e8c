"""The newest value of every series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import SeriesKey
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import Times, Values
from gswarm.profiler.store.subjects import Registry

LatestRows = Sequence[tuple[ClientName, str, str, Sequence[str], int, Sequence[float]]]
"""(client, device, owner, metrics, microseconds since the epoch, values)."""


class Latest:
    """Not safe for several threads."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, tuple[str, ...]], tuple[int, Values]] = {}

    def take(self, subject: int, metrics: tuple[str, ...], at_us: Times, values: Values) -> None:
        """Rows of one subject; ``values`` has the shape (metrics, rows)."""
        place = len(at_us) - 1 if at_us[-1] >= at_us[0] else int(at_us.argmax())
        if len(at_us) > 2 and at_us[place] < at_us.max():
            place = int(at_us.argmax())
        newest = int(at_us[place])
        known = self._rows.get((subject, metrics))
        if known is None or newest >= known[0]:
            self._rows[subject, metrics] = (newest, values[:, place].copy())

    def encode(self, registry: Registry) -> LatestRows:
        """For the store's next start."""
        return [(*registry.subject(subject), metrics, at_us, values.tolist()) for (subject, metrics), (at_us, values) in self._rows.items()]

    def restore(self, rows: LatestRows, registry: Registry) -> None:
        """What ``encode`` gave."""
        for client, device, owner, metrics, at_us, values in rows:
            self._rows[registry.number(client, device, owner), tuple(metrics)] = (at_us, np.array(values, np.float64))

    def values(self, registry: Registry) -> dict[SeriesKey, tuple[float, float]]:
        found: dict[SeriesKey, tuple[float, float]] = {}
        for (subject, metrics), (at_us, values) in self._rows.items():
            client, device, owner = registry.subject(subject)
            at_s = at_us / US
            for metric, value in zip(metrics, values.tolist(), strict=True):
                key = SeriesKey(client, device, owner, metric)
                known = found.get(key)
                if known is None or at_s > known[0]:
                    found[key] = (at_s, value if math.isfinite(value) else math.nan)
        return found

    def forget_before(self, at_us: int) -> None:
        self._rows = {key: row for key, row in self._rows.items() if row[0] >= at_us}
