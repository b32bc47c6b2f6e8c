"""How a slot's time divides, and what its steps say."""

from __future__ import annotations

import math

import pytest

from gswarm.client.sampling.slot_times import HELD_MAX_S, Progress, Shares, SlotMeter
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import Failure
from gswarm.domain.spec import RunSpec
from gswarm.training import protocol as p

R1, R2 = RunId("r1"), RunId("r2")
D = Digest("ab" * 32)


def train(run: RunId, generation: int = 1, to_step: int = 2, batch: int = 4) -> p.TrainRange:
    spec = RunSpec("m", "d", per_device_train_batch_size=batch)
    return p.TrainRange(run, generation, 0, to_step, 10, 10, spec, D, "", "", None, False, 0, "")


def step(run: RunId, number: int, at_s: float, generation: int = 1, **values: float) -> p.StepDone:
    return p.StepDone(run, generation, number, at_s, tuple({"step_time_s": 1.0, **values}.items()))


def trained(run: RunId, eval_time_s: float, generation: int = 1) -> p.RangeTrained:
    return p.RangeTrained(run, generation, 2, "", D, (), 1.0, eval_time_s)


def split(shares: list[Shares]) -> list[tuple[float, float, float]]:
    return [(round(one.train, 3), round(one.swap, 3), round(one.idle, 3)) for one in shares]


def test_one_range_after_another() -> None:
    meter = SlotMeter(0.0)
    meter.sent(train(R1), 1.0)
    meter.heard(p.RangeStarted(R1, 1, was_hot=False, setup_s=1.5), 2.5)
    meter.sent(train(R2), 2.6)
    assert split(meter.shares(3.0)) == [(0, 0, 1), (0, 1, 0), (0.5, 0.5, 0)]
    meter.heard(step(R1, 1, 3.5), 3.5)
    meter.heard(step(R1, 2, 4.5), 4.5)
    assert split(meter.shares(9.0)) == [(1, 0, 0)], "what comes behind the last step is not known yet"
    meter.heard(p.RangeStarted(R2, 1, was_hot=True, setup_s=0.5), 6.5)  # evaluated for 1.5 s, then set up for 0.5 s
    meter.heard(trained(R1, 1.5), 7.0)
    meter.heard(step(R2, 1, 7.5), 7.5)
    assert split(meter.shares(8.0)) == [(1, 0, 0), (1, 0, 0), (0.5, 0.5, 0), (1, 0, 0)]
    assert meter.run == R2


def test_a_range_of_the_same_run_trains_while_the_one_before_is_still_written() -> None:
    meter = SlotMeter(0.0)
    meter.sent(train(R1, to_step=1), 0.0)
    meter.sent(train(R1, generation=2, to_step=4), 0.0)
    meter.heard(p.RangeStarted(R1, 1, was_hot=True, setup_s=0.0), 0.0)
    meter.heard(step(R1, 1, 1.0), 1.0)
    meter.heard(p.RangeStarted(R1, 2, was_hot=True, setup_s=0.0), 1.0)
    meter.heard(trained(R1, eval_time_s=0.0), 1.5)
    meter.heard(step(R1, 2, 2.0, generation=2), 2.0)
    assert split(meter.shares(4.0)) == [(1, 0, 0)] * 4


def test_nothing_follows_a_range() -> None:
    meter = SlotMeter(0.0)
    meter.sent(train(R1, to_step=1), 0.0)
    meter.heard(p.RangeStarted(R1, 1, was_hot=True, setup_s=0.0), 0.0)
    meter.heard(step(R1, 1, 1.0), 1.0)
    meter.heard(trained(R1, eval_time_s=0.5), 3.0)
    assert split(meter.shares(4.0)) == [(1, 0, 0), (0.5, 0, 0.5), (0, 0, 1), (0, 0, 1)]


@pytest.mark.parametrize("end", ["failed", "dropped", "died", "aborted"])
def test_every_other_end_leaves_the_slot_idle(end: str) -> None:
    meter = SlotMeter(0.0)
    meter.sent(train(R1), 0.0)
    meter.heard(p.RangeStarted(R1, 1, was_hot=True, setup_s=0.0), 0.0)
    match end:
        case "failed":
            meter.heard(p.RangeFailed(R1, 1, Failure("x", "y")), 1.0)
        case "dropped":
            meter.heard(p.RangeDropped(R1, 1), 1.0)
        case "died":
            meter.ended(1.0)
        case _:
            meter.sent(p.AbortRange(R1, 1), 1.0)
    assert split(meter.shares(2.0)) == [(1, 0, 0), (0, 0, 1)]


def test_an_open_end_and_a_clock_that_is_set_do_not_pile_up() -> None:
    meter = SlotMeter(0.0)
    meter.sent(train(R1, to_step=1), 0.0)
    meter.heard(p.RangeStarted(R1, 1, was_hot=True, setup_s=0.0), 0.0)
    meter.heard(step(R1, 1, 1.0), 1.0)
    assert len(meter.shares(HELD_MAX_S)) == 1
    assert len(meter.shares(HELD_MAX_S + 2.0)) == HELD_MAX_S + 1
    assert meter.shares(1e9) == []
    assert meter.shares(5.0) == []
    assert len(meter.shares(6.0)) == 1


def test_steps_become_rates() -> None:
    meter = SlotMeter(0.0, peak_flops=1e12)
    meter.sent(train(R1, to_step=9), 0.0)
    meter.heard(step(R1, 1, 1.0, tokens=500.0, data_wait_s=0.25, flops_per_token=1e9), 1.0)
    (first,) = meter.progress()
    assert (first.step_time_s, first.samples_per_s, first.data_wait) == (1.0, 4.0, 0.25)
    assert math.isnan(first.tokens_per_s), "how many were trained before is not known"
    meter.heard(step(R1, 2, 2.0, tokens=600.0, data_wait_s=0.5), 2.0)
    meter.heard(step(R1, 3, 4.0, tokens=800.0, step_time_s=2.0, data_wait_s=0.25), 4.0)
    assert meter.progress() == [Progress(R1, 4.0, 1.5, 100.0, 8 / 3, 0.1, 0.25)]
    assert meter.progress() == []


@pytest.mark.parametrize("back_at", [4, 4001])
def test_tokens_of_steps_that_were_not_seen_here_belong_to_no_step(back_at: int) -> None:
    """A run's tokens go on with its checkpoint, so those of another slot would all have been trained in the first step back here."""
    meter = SlotMeter(0.0)
    for number in (1, 2, 3, 4):
        meter.heard(step(R1, number, float(number), tokens=1000.0 * number), float(number))
    meter.progress()
    meter.heard(step(R1, back_at, 9.0, generation=2, tokens=1000.0 * back_at + 8000), 9.0)
    (first,) = meter.progress()
    assert math.isnan(first.tokens_per_s)
    meter.heard(step(R1, back_at + 1, 10.0, generation=2, tokens=1000.0 * back_at + 9000), 10.0)
    assert [one.tokens_per_s for one in meter.progress()] == [1000.0]


def test_what_the_trainer_does_not_say_is_not_known() -> None:
    meter = SlotMeter(0.0)
    meter.heard(step(R1, 1, 1.0), 1.0)
    (one,) = meter.progress()
    assert all(math.isnan(value) for value in (one.tokens_per_s, one.samples_per_s, one.mfu, one.data_wait))
