"""Which blobs must stay, decided by marking. Nobody counts references by hand, so no count can be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from gswarm.domain.ids import Digest


def mark(roots: Iterable[Digest], expand: Callable[[Digest], Iterable[Digest]]) -> set[Digest]:
    """Everything that can be reached from ``roots``; ``expand`` says what a blob refers to directly."""
    marked: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest not in marked:
            marked.add(digest)
            waiting.extend(expand(digest))
    return marked


def plan_sweep(
    present: Iterable[Digest], marked: AbstractSet[Digest], pinned: AbstractSet[Digest], young: AbstractSet[Digest]
) -> list[Digest]:
    """What may be deleted, sorted: present, and neither marked, pinned nor young."""
    return sorted(set(present) - marked - pinned - young)
