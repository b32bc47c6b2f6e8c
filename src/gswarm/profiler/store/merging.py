"""Which rollups become one: equal sizes, so that every value is written again only a few times (as a log-structured merge tree does)."""

from __future__ import annotations

from collections.abc import Sequence

from gswarm.profiler.store.segments import Segment

MERGE_AT = 8
"""So many rollups of a size become one of the next size."""
MERGE_VALUES_MAX = 16_000_000


def mergeable(rollups: Sequence[Segment]) -> list[Segment]:
    """The newest neighbours of about one size, oldest first; none where there are too few, or they are too much to merge in memory."""
    if not rollups:
        return []
    size = max(1, len(rollups[-1].merges))
    chosen = []
    for segment in reversed(rollups):
        if not size <= max(1, len(segment.merges)) < size * MERGE_AT:
            break
        chosen.append(segment)
    chosen.reverse()
    if len(chosen) < MERGE_AT or sum(segment.values for segment in chosen) > MERGE_VALUES_MAX:
        return []
    return chosen
