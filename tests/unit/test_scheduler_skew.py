"""The lazy heap, and the automatic skew."""

from __future__ import annotations

import random

import pytest

from gswarm.scheduler.heap import LazyHeap
from gswarm.scheduler.skew import CHUNKS_MAX, auto_skew, makespan


def test_a_lazy_heap_is_a_sorted_dict() -> None:
    draw = random.Random(7)
    heap: LazyHeap[str] = LazyHeap()
    model: dict[str, tuple[int, int]] = {}
    for _ in range(3_000):
        number = draw.randrange(40)
        item = f"r{number}"
        if draw.random() < 0.6:
            model[item] = (draw.randrange(9), number)
            heap.put(item, model[item])
        else:
            model.pop(item, None)
            heap.discard(item)
        assert heap.first() == min(model, key=lambda one: model[one], default=None)
        odd = [one for one in model if int(one[1:]) % 2]
        assert heap.first_where(lambda one: int(one[1:]) % 2 == 1) == min(odd, key=lambda one: model[one], default=None)
        assert len(heap) == len(model)
    assert heap.keys() == model


def test_a_lazy_heap_does_not_grow_without_end() -> None:
    heap: LazyHeap[str] = LazyHeap()
    for number in range(10_000):
        heap.put("r1", (number,))
    assert len(heap._heap) < 200


@pytest.mark.parametrize(("runs", "slots", "chunks"), [(16, 4, 8), (6, 2, 8), (8, 1, 4), (9, 4, 8), (100, 8, 8), (3, 2, 30)])
def test_the_chosen_skew_is_about_the_best(runs: int, slots: int, chunks: int) -> None:
    counts = [chunks] * runs
    best = min(makespan(counts, slots, skew) for skew in range(1, chunks + 1))
    assert makespan(counts, slots, auto_skew(counts, slots)) <= best * 1.01


def test_where_nothing_is_shared_the_skew_is_one() -> None:
    assert auto_skew([8] * 4, 4) == 1
    assert auto_skew([1] * 9, 4) == 1
    assert auto_skew([], 4) == 1
    assert auto_skew([8] * 9, 0) >= 1


def test_a_makespan_counts_switches() -> None:
    assert makespan([2, 2], 1, skew=1, switch_cost=0.0) == 4.0
    assert makespan([2, 2], 1, skew=1, switch_cost=0.5) == 4.0 + 3 * 0.5
    assert makespan([3], 5, skew=1, switch_cost=0.5) == 3.5


def test_large_experiments_are_represented_by_small_ones() -> None:
    skew = auto_skew([1_000] * 5_000, 64)
    assert 1_000 // CHUNKS_MAX <= skew <= 1_000
