"""A priority queue whose entries can be changed and removed at any time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_SLACK = 64

Key = tuple[Any, ...]
Item = TypeVar("Item", bound=str)


class LazyHeap(Generic[Item]):
    """Items by key, smallest first. Out-of-date entries stay in the heap until they surface: every operation is O(log n) amortised.

    Keys must be unique (put a number last), so that the order depends on the present items alone and not on how they came in.
    """

    __slots__ = ("_heap", "_keys")

    def __init__(self) -> None:
        self._heap: list[tuple[Key, Item]] = []
        self._keys: dict[Item, Key] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, item: Item, key: Key) -> None:
        """Add the item, or move it to another key."""
        if self._keys.get(item) == key:
            return
        self._keys[item] = key
        heapq.heappush(self._heap, (key, item))
        if len(self._heap) > 2 * len(self._keys) + _SLACK:
            self._heap = [(key, item) for item, key in self._keys.items()]
            heapq.heapify(self._heap)

    def discard(self, item: Item) -> None:
        self._keys.pop(item, None)

    def first(self) -> Item | None:
        """The item of the smallest key; ``None`` if there is none."""
        heap = self._heap
        while heap:
            key, item = heap[0]
            if self._keys.get(item) == key:
                return item
            heapq.heappop(heap)
        return None

    def first_where(self, accept: Callable[[Item], bool]) -> Item | None:
        """The first item that ``accept`` takes. Costs O(log n) for each one it does not."""
        passed_over: list[tuple[Key, Item]] = []
        found = self.first()
        while found is not None and not accept(found):
            passed_over.append(heapq.heappop(self._heap))
            found = self.first()
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found

    def keys(self) -> dict[Item, Key]:
        """A copy of what is in it, for checks."""
        return dict(self._keys)
