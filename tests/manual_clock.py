"""A clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Timer:
    when_s: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ManualClock:
    """What ``gswarm.host.clock.Clock`` asks of one."""

    time_s: float = 100.0
    timers: list[Timer] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when_s, callback))
        return self.timers[-1]

    def take_due(self, until_s: float) -> Timer | None:
        """The first timer that is due by then, if there is one; it is not due again."""
        due = min((one for one in self.timers if not one.cancelled and one.when_s <= until_s), key=lambda one: one.when_s, default=None)
        if due is not None:
            self.timers.remove(due)
        return due

    def advance(self, seconds: float, late_s: float = 0.0) -> None:
        """Moves on, calling each timer at its time; with ``late_s`` the process stood still and calls it that much later."""
        end_s = self.time_s + seconds
        while (due := self.take_due(end_s)) is not None:
            self.time_s = max(self.time_s, due.when_s + late_s)
            due.callback()
        self.time_s = max(self.time_s, end_s)
