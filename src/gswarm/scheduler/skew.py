"""``max_skew: auto``: how far a run may get ahead of the slowest waiting run of its experiment, chosen by simulation.

A small skew compares all runs early and often, a large one switches rarely. Which of them ends sooner depends on how many
runs share a slot and how many chunks they have. The simulation lists chunks of equal length on equal slots.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16)
SWITCH_COST = 0.04
"""Of a chunk."""
TOLERANCE = 0.002
"""A smaller skew is chosen although its makespan is this much longer: it compares earlier."""
RUNS_MAX = 48
"""Simulated; a larger experiment is represented by evenly chosen runs on proportionally fewer slots."""
CHUNKS_MAX = 24
"""Simulated per run; longer runs are represented by this many, and the skew is scaled back."""


def auto_skew(chunks: Sequence[int], slots: int) -> int:
    """The skew for runs of so many chunks each on so many equal slots. At least 1; bounded effort; no randomness."""
    slots = max(slots, 1)
    longest = max(chunks, default=1)
    if len(chunks) <= slots or longest <= 1:
        return 1
    counts = list(chunks)
    if len(counts) > RUNS_MAX:
        slots = max(1, round(slots * RUNS_MAX / len(counts)))
        counts = [counts[index * len(counts) // RUNS_MAX] for index in range(RUNS_MAX)]
    scale = max(1.0, longest / CHUNKS_MAX)
    counts = [max(1, round(count / scale)) for count in counts]
    candidates = [*(skew for skew in CANDIDATES if skew < max(counts) - 1), max(counts) - 1]
    spans = {skew: makespan(counts, slots, skew) for skew in candidates}
    limit = min(spans.values()) * (1 + TOLERANCE)
    best = next(skew for skew, span in spans.items() if span <= limit)
    return max(1, round(best * scale))


def makespan(chunks: Sequence[int], slots: int, skew: int, switch_cost: float = SWITCH_COST) -> float:
    """In chunks: the list schedule of runs of so many chunks under the policy's rule."""
    left = list(chunks)
    done = [0] * len(left)
    waiting = set(range(len(left)))
    free = [(0.0, slot) for slot in range(min(slots, len(left)))]
    holds: list[int | None] = [None] * len(free)
    end_s = 0.0
    while free:
        now, slot = heapq.heappop(free)
        held = holds[slot]
        if held is not None:
            left[held] -= 1
            done[held] += 1
            end_s = max(end_s, now)
            if left[held]:
                waiting.add(held)
        run = _next(left, done, waiting, held, skew, slots)
        holds[slot] = run
        if run is not None:
            waiting.remove(run)
            heapq.heappush(free, (now + 1.0 + (switch_cost if run != held else 0.0), slot))
    return end_s


def _next(left: list[int], done: list[int], waiting: set[int], held: int | None, skew: int, slots: int) -> int | None:
    if not waiting:
        return None
    fresh = [run for run in waiting if not done[run]]
    if fresh:
        return min(fresh, key=lambda run: (-left[run], run))
    longest = min(waiting, key=lambda run: (-left[run], run))
    if held is not None and held in waiting and done[held] - min(done[run] for run in waiting) < skew:
        falls_behind = 2 * (len(waiting) - 1) <= slots and left[longest] > left[held] + 1
        return longest if falls_behind else held
    return longest
