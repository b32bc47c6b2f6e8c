"""How far this machine's clock is from the host's. Reads no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gswarm.domain.samples import SampleAck

KEPT = 8
"""Measurements from which the best is taken (RFC 5905, section 10)."""
WAITING_MAX = 256


@dataclass(frozen=True, slots=True)
class Offset:
    """``offset_s`` is what to add to this clock for the host's; ``error_s`` is half the round trip."""

    offset_s: float
    error_s: float


class ClockOffset:
    """Measures with every batch that is acknowledged, by the formula of RFC 5905, section 8. The quickest of the last few counts:
    the less time a message was on its way, the less of it can have been on one way only."""

    def __init__(self) -> None:
        self._sent_us: dict[int, int] = {}
        self._measured: deque[Offset] = deque(maxlen=KEPT)

    @property
    def best(self) -> Offset | None:
        return min(self._measured, key=lambda one: one.error_s, default=None)

    def sent(self, seq: int, now_us: int) -> None:
        self._sent_us[seq] = now_us
        while len(self._sent_us) > WAITING_MAX:
            del self._sent_us[next(iter(self._sent_us))]

    def heard(self, ack: SampleAck, now_us: int) -> None:
        sent_us = self._sent_us.get(ack.seq)
        for seq in [seq for seq in self._sent_us if seq <= ack.seq]:
            del self._sent_us[seq]
        if sent_us is None:
            return
        round_trip_us = (now_us - sent_us) - (ack.sent_us - ack.received_us)
        if round_trip_us >= 0:  # else a clock was set meanwhile
            offset_us = ((ack.received_us - sent_us) + (ack.sent_us - now_us)) / 2
            self._measured.append(Offset(offset_us / 1e6, round_trip_us / 2e6))

    def lost(self) -> None:
        """The connection is gone: what was under way is not measured."""
        self._sent_us.clear()
