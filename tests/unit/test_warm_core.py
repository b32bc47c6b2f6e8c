"""A thread whose turn begins is moved to the core that was left, and may go anywhere afterwards."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from gswarm.training.warm_core import WarmCore


@pytest.mark.parametrize("core", sorted(os.sched_getaffinity(0)))
def test_the_next_thread_begins_where_the_last_one_was(core: int) -> None:
    before = os.sched_getaffinity(0)
    asked: list[object] = []
    warm = WarmCore()

    def leave() -> None:
        os.sched_setaffinity(0, {core})
        warm.leave()

    def take() -> set[int]:
        warm.take()
        return os.sched_getaffinity(0)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other, pytest.MonkeyPatch.context() as patch:
        one.submit(leave).result()
        real = os.sched_setaffinity
        patch.setattr(os, "sched_setaffinity", lambda pid, cores: (asked.append(set(cores)), real(pid, cores)))
        assert other.submit(take).result() == before
    assert asked == ([{core}, before] if len(before) > 1 else [])


def test_before_anybody_has_left_nothing_is_moved() -> None:
    before = os.sched_getaffinity(0)
    WarmCore().take()
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_ours_any_more_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    warm = WarmCore()
    warm.leave()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4001, 4002})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: pytest.fail("moved"))
    warm.take()
