"""Whether a value says something about now. ``/metrics``, the newest values and all who read those ask here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import MACHINE, SeriesKey
from gswarm.profiler.catalog import BY_NAME

Latest = Mapping[SeriesKey, tuple[float, float]]
"""The newest (seconds since the epoch by the client's clock, value) of every series."""
Intervals = Callable[[ClientName], Mapping[str, float]]
"""Seconds between samples of a client as sessions ask for them, by metric, ``*`` for the others."""

STALE_INTERVALS = 5
"""A series without a sample for so many of its intervals says nothing about now."""
STALE_S_MIN = 10.0
"""Clients send twice a second at most, however fast they sample."""


def clock_offset_s(latest: Latest, client: ClientName) -> float:
    """What to add to the client's times for the host's."""
    _at_s, offset_s = latest.get(SeriesKey(client, MACHINE, "", "clock_offset"), (0.0, 0.0))
    return offset_s if math.isfinite(offset_s) else 0.0


@dataclass(frozen=True, slots=True)
class _Client:
    """``now_s`` is by its own clock."""

    now_s: float
    intervals: Mapping[str, float]
    is_silent: bool


class Freshness:
    """What is fresh at one moment.

    Args:
        latest: of all series, those of the clients' machines too: they say how the clocks differ and who is there.
        now_s: seconds since the epoch by the host's clock.
    """

    def __init__(self, latest: Latest, now_s: float, intervals: Intervals = lambda client: {}) -> None:
        self._oldest: dict[tuple[ClientName, str], float] = {}
        heard: dict[ClientName, float] = {}
        for key, (at_s, _value) in latest.items():
            heard[key.client] = max(at_s, heard.get(key.client, -math.inf))
        self._clients: dict[ClientName, _Client] = {}
        for client, heard_s in heard.items():
            own_s, asked = now_s - clock_offset_s(latest, client), intervals(client)
            silent_s = max(STALE_INTERVALS * max(asked.values(), default=1.0), STALE_S_MIN)
            self._clients[client] = _Client(own_s, asked, heard_s < own_s - silent_s)

    def is_fresh(self, key: SeriesKey, at_s: float) -> bool:
        """Whether a sample of one of the series, taken at ``at_s`` by the client's clock, says something about now."""
        oldest_s = self._oldest.get((key.client, key.metric))
        if oldest_s is None:
            oldest_s = self._oldest[key.client, key.metric] = self._oldest_s(key)
        return at_s >= oldest_s

    def _oldest_s(self, key: SeriesKey) -> float:
        client = self._clients[key.client]
        if client.is_silent:
            return math.inf
        asked_s = client.intervals.get(key.metric, client.intervals.get("*", 1.0))
        return client.now_s - max(STALE_INTERVALS * max(asked_s, BY_NAME[key.metric].interval_s), STALE_S_MIN)
