"""A forecast's slots over time: which run trains where, in cells that a terminal or a page can show."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from gswarm.domain.ids import RunId, SlotId
from gswarm.simulator.forecast.schedule import Stretch

SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
IDLE = "·"
LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Gantt:
    """``cells[row][column]`` is the run that trains longest in that time on that slot; ``None`` where nothing trains half of it."""

    slots: tuple[SlotId, ...]
    cells: tuple[tuple[RunId | None, ...], ...]
    use: tuple[float, ...]
    """Per column the share of all slots' time that trains, also of slots that have no row."""
    column_s: float
    slots_all: int


def draw(trained: list[Stretch], slots: list[SlotId], makespan_s: float, rows: int, columns: int) -> Gantt:
    """Evenly chosen slots if there are more than ``rows``."""
    shown = tuple(slots[index * len(slots) // min(rows, len(slots))] for index in range(min(rows, len(slots))))
    column_s = max(makespan_s, 1e-9) / columns
    busy_s = [0.0] * columns
    by_slot: dict[SlotId, list[Stretch]] = {slot: [] for slot in shown}
    for one in trained:
        _spread(one, column_s, busy_s)
        if one.slot in by_slot:
            by_slot[one.slot].append(one)
    cells = tuple(_row(by_slot[slot], column_s, columns) for slot in shown)
    return Gantt(shown, cells, tuple(busy / (column_s * len(slots)) for busy in busy_s), column_s, len(slots))


def _spread(one: Stretch, column_s: float, into: list[float]) -> None:
    """Adds the stretch's seconds to the columns that it touches."""
    at_s = one.began_s
    while at_s < one.ended_s:
        column = min(int(at_s / column_s), len(into) - 1)
        end_s = one.ended_s if column == len(into) - 1 else min(one.ended_s, max((column + 1) * column_s, at_s + 1e-9 * column_s))
        into[column] += end_s - at_s
        at_s = end_s


def _row(stretches: list[Stretch], column_s: float, columns: int) -> tuple[RunId | None, ...]:
    stretches.sort(key=lambda one: one.began_s)
    starts = [one.began_s for one in stretches]
    row: list[RunId | None] = []
    for column in range(columns):
        begin_s, end_s = column * column_s, (column + 1) * column_s
        seconds: dict[RunId, float] = defaultdict(float)
        index = max(0, bisect_right(starts, begin_s) - 1)
        while index < len(stretches) and stretches[index].began_s < end_s:
            one = stretches[index]
            seconds[one.run] += max(0.0, min(one.ended_s, end_s) - max(one.began_s, begin_s))
            index += 1
        is_busy = sum(seconds.values()) >= column_s / 2
        row.append(max(seconds, key=lambda run: seconds[run]) if is_busy else None)
    return tuple(row)


def lines(gantt: Gantt) -> list[str]:
    """For a terminal: a line a slot with a sign a run, and under them how much of all slots trains."""
    width = max(len(slot) for slot in (*gantt.slots, "all slots"))
    shown = [f"{slot:>{width}} {''.join(symbol(run) for run in row)}" for slot, row in zip(gantt.slots, gantt.cells, strict=True)]
    use = "".join(LEVELS[round(min(1.0, share) * (len(LEVELS) - 1))] for share in gantt.use)
    return [*shown, f"{'all slots':>{width}} {use}"]


def symbol(run: RunId | None) -> str:
    return IDLE if run is None else SYMBOLS[_number(run) % len(SYMBOLS)]


def colour(run: RunId) -> str:
    """As CSS; neighbouring numbers are far apart on the wheel."""
    return f"hsl({_number(run) * 137.508 % 360:.0f} 60% {45 + _number(run) * 7 % 20}%)"


def _number(run: RunId) -> int:
    digits = "".join(sign for sign in run if sign.isdigit())
    return int(digits or 0)
