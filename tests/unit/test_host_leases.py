"""Leases on a clock that the test moves."""

from __future__ import annotations

import pytest

from gswarm.domain.ids import ClientName
from gswarm.host.leases import LeaseWatch
from manual_clock import ManualClock

A, B = ClientName("a"), ClientName("b")


def watch(timeout_s: float = 10.0) -> tuple[ManualClock, LeaseWatch, list[ClientName]]:
    clock, lost = ManualClock(), []
    return clock, LeaseWatch(clock, timeout_s, lost.append), lost


def test_a_silent_client_is_lost_once_and_a_talking_one_stays() -> None:
    clock, leases, lost = watch()
    leases.begin(A)
    leases.begin(B)
    for _ in range(10):
        clock.advance(3)
        leases.heard(B)
    assert lost == [A]


def test_it_is_lost_at_the_timeout_and_not_before() -> None:
    clock, leases, lost = watch()
    leases.begin(A)
    clock.advance(9.99)
    assert lost == []
    clock.advance(0.3)
    assert lost == [A]


def test_one_timer_serves_all_and_heartbeats_start_none() -> None:
    clock, leases, _lost = watch()
    for number in range(1_000):
        leases.begin(ClientName(f"c{number}"))
    for number in range(1_000):
        leases.heard(ClientName(f"c{number}"))
    assert len(clock.timers) == 1


def test_deadlines_close_together_share_a_look() -> None:
    clock, leases, lost = watch(timeout_s=50.0)
    looks = 0
    for number in range(100):
        leases.begin(ClientName(f"c{number}"))
        clock.advance(0.01)
    while clock.timers:
        looks += 1
        clock.advance(clock.timers[0].when_s - clock.time_s)
    assert len(lost) == 100
    assert looks <= 3


def test_forgetting_and_closing_end_the_watch() -> None:
    clock, leases, lost = watch()
    leases.begin(A)
    leases.begin(B)
    leases.forget(A)
    clock.advance(20)
    assert lost == [B]
    leases.begin(A)
    leases.close()
    clock.advance(20)
    assert lost == [B]


def test_who_was_forgotten_is_not_watched_again_by_a_late_message() -> None:
    clock, leases, lost = watch()
    leases.begin(A)
    leases.forget(A)
    leases.heard(A)
    clock.advance(30)
    assert lost == []


@pytest.mark.parametrize("late_s", [3_600, 1.5])
def test_a_host_that_stood_still_blames_nobody(late_s: float) -> None:
    """However short: it may have begun long before the look was due."""
    clock, leases, lost = watch()
    leases.begin(A)
    clock.advance(10, late_s=late_s)
    assert lost == []
    clock.advance(10.5)
    assert lost == [A]


def test_remaining_time() -> None:
    clock, leases, _lost = watch()
    assert leases.remaining_s(A) == 0
    leases.begin(A)
    clock.advance(4)
    assert leases.remaining_s(A) == 6
