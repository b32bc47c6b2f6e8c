"""Forecasts: the schedule is one, figures are what can be worked out by hand, and the chart shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gswarm.domain.errors import InvalidInputError, InvariantError, LimitError
from gswarm.domain.ids import RunId, SlotId
from gswarm.domain.spec import CheckpointPolicy, Chunks, Durability, ExperimentSpec, Resources, RunSpec
from gswarm.simulator.forecast import gantt
from gswarm.simulator.forecast.described import ClusterDescription, Costs, Machines, Workload, load_description
from gswarm.simulator.forecast.forecast import Forecast, forecast
from gswarm.simulator.forecast.page import page
from gswarm.simulator.forecast.schedule import Stretch, check_schedule

SPEC = RunSpec("m", "d", num_train_epochs=1)
FREE = Costs(step_time_s=1.0, hot_switch_s=0, cold_start_s=0, checkpoint_mb=0, message_s=0)


def workload(runs: int, chunks: int = 4, chunk_steps: int = 10, **experiment: Any) -> Workload:
    spec = ExperimentSpec("x", SPEC, chunks=Chunks(steps=chunk_steps), **experiment)
    return Workload.by_batch(spec, (SPEC,) * runs, chunks * chunk_steps, 1.0)


def play(runs: int, machines: tuple[Machines, ...], costs: Costs = FREE, chunks: int = 4) -> Forecast:
    return forecast(ClusterDescription(machines=machines, costs=costs), workload(runs, chunks))


def test_equal_runs_on_free_slots_reach_every_bound() -> None:
    result = play(4, (Machines(slots=2),))
    assert (result.runs, result.slots, result.chunks) == (4, 2, 16)
    assert result.makespan_s == pytest.approx(80)
    assert result.makespan_s == pytest.approx(result.lower_bound_s)
    assert result.first_comparison_s == pytest.approx(result.first_comparison_bound_s) == 20
    assert result.sequential_s == 160
    assert result.train_share == pytest.approx(1)
    assert result.switch_share == result.idle_share == 0


def test_a_fast_machine_takes_the_larger_part() -> None:
    result = play(8, (Machines(slots=1, speed=3.0), Machines(slots=1)), chunks=8)
    steps = {slot: sum(one.to_step - one.from_step for one in result.played.trained if one.slot == slot) for slot in result.played.slots}
    fast, slow = steps.values()
    assert fast + slow == 8 * 80
    assert fast > 2.5 * slow
    assert result.lower_bound_s == pytest.approx(8 * 80 / 4)
    assert result.makespan_s < 1.15 * result.lower_bound_s


def test_costs_are_paid_where_they_arise() -> None:
    costs = FREE.model_copy(update={"cold_start_s": 5.0, "eval_time_s": 2.0})
    alone = play(1, (Machines(),), costs)
    assert alone.makespan_s == pytest.approx(5 + 40)  # one cold start; without validation data nothing is evaluated
    assert alone.switch_share == pytest.approx(5 / 45)
    spec = replace(SPEC, val_size=0.1)
    evaluated = replace(workload(1), runs=(spec,))
    assert forecast(ClusterDescription(costs=costs), evaluated).makespan_s == pytest.approx(5 + 40 + 4 * 2)


def test_checkpoints_share_the_host_s_link() -> None:
    """Four slots end together; 1,000 MB a checkpoint over 8 Gbit/s takes a second each, one after another."""
    costs = FREE.model_copy(update={"checkpoint_mb": 1000.0})
    slow = ClusterDescription(machines=(Machines(count=4, link_gbit_s=80),), host_gbit_s=8, costs=costs)
    result = forecast(slow, workload(4, chunks=1))
    assert result.makespan_s == pytest.approx(10 + 4)
    assert result.link_s == pytest.approx(4)
    local = workload(4, chunks=1, checkpoint=CheckpointPolicy(durability=Durability.LOCAL))
    assert forecast(slow, local).makespan_s == pytest.approx(10)
    assert forecast(slow, local).link_s == 0


def test_larger_batches_take_longer() -> None:
    spec = ExperimentSpec("x", SPEC, chunks=Chunks(steps=10))
    runs = (SPEC, replace(SPEC, per_device_train_batch_size=4))
    load = Workload.by_batch(spec, runs, 400, 0.5)
    assert load.step_times_s == (0.5, 2.0)
    assert forecast(ClusterDescription(costs=FREE), load).makespan_s == pytest.approx(400 * 0.5 + 100 * 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_uneven_clusters_and_delays_give_schedules_that_hold(seed: int) -> None:
    """``forecast`` checks each; slow messages make stops meet grants that have begun."""
    machines = tuple(Machines(count=1 + (seed + n) % 3, slots=1 + n, speed=0.5 + n) for n in range(3))
    costs = Costs(step_time_s=0.1, cold_start_s=0.5 * seed, message_s=0.4 * seed, checkpoint_mb=100.0)
    result = forecast(ClusterDescription(machines=machines, host_gbit_s=1, costs=costs), workload(3 + 7 * seed, chunks=2 + seed))
    assert result.makespan_s >= result.lower_bound_s
    assert 0 < result.train_share <= 1
    again = forecast(ClusterDescription(machines=machines, host_gbit_s=1, costs=costs), workload(3 + 7 * seed, chunks=2 + seed))
    assert again.played.trained == result.played.trained


def stretch(slot: str, run: str, from_step: int, to_step: int, began_s: float, ended_s: float) -> Stretch:
    return Stretch(SlotId(slot), RunId(run), from_step, to_step, began_s, ended_s)


@pytest.mark.parametrize(
    ("trained", "says"),
    [
        ([stretch("s", "r1", 0, 5, 0, 5), stretch("s", "r2", 0, 5, 4, 9)], "s does two things at once"),
        ([stretch("s", "r1", 0, 5, 0, 5), stretch("t", "r1", 5, 10, 4, 9)], "r1 does two things at once"),
        ([stretch("s", "r1", 0, 5, 0, 5), stretch("s", "r1", 5, 9, 5, 9)], "ends at step 9 of 10"),
        ([stretch("s", "r1", 0, 5, 0, 5), stretch("s", "r1", 4, 10, 5, 11)], "trains step 4 when it stands at 5"),
        ([stretch("s", "r2", 0, 5, 0, 5)], "r1 ends at step 0"),
    ],
)
def test_what_is_no_schedule_is_found(trained: list[Stretch], says: str) -> None:
    with pytest.raises(InvariantError, match=says):
        check_schedule(trained, {RunId("r1"): 10})


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="slots"):
        play(1, (Machines(count=5000, slots=3),))
    with pytest.raises(LimitError, match="chunks"):
        forecast(ClusterDescription(), workload(2, chunks=600_000, chunk_steps=1))
    with pytest.raises(InvalidInputError, match="several slots"):
        forecast(ClusterDescription(), workload(1, resources=Resources(gpus_per_run=2)))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_description(tmp_path / "absent.yaml")
    for text, says in {"machines: []": "machines", "speed: 2": "speed", "machines: [{speed: .inf}]": "speed", "rows: 0": "rows"}.items():
        (tmp_path / "cluster.yaml").write_text(text)
        with pytest.raises(InvalidInputError, match=says):
            load_description(tmp_path / "cluster.yaml")


def test_a_description_is_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("machines: [{count: 2, slots: 8, speed: 1.5}, {slots: 4}]\nhost_gbit_s: 25\nrows: 5000\n")
    described = load_description(tmp_path / "cluster.yaml")
    assert (described.slot_count, described.rows, described.machines[0].speed) == (20, 5000, 1.5)


def test_the_chart_shows_who_trains_where_and_how_much() -> None:
    result = play(2, (Machines(slots=2),))
    chart = gantt.draw(result.played.trained, result.played.slots, result.makespan_s, rows=24, columns=40)
    assert gantt.lines(chart) == ["     c0/0 " + "1" * 40, "     c0/1 " + "2" * 40, "all slots " + "█" * 40]
    few = gantt.draw(result.played.trained, result.played.slots, 2 * result.makespan_s, rows=1, columns=10)
    assert gantt.lines(few) == ["     c0/0 11111·····", "all slots █████     "]


def test_the_page_needs_nothing_else_and_names_are_harmless() -> None:
    result = play(2, (Machines(slots=2),))
    named = replace(result, played=replace(result.played, names=dict.fromkeys(result.played.names, "<script>alert(1)</script>")))
    chart = gantt.draw(result.played.trained, result.played.slots, result.makespan_s, rows=24, columns=40)
    text = page("<b>x</b>", [("makespan", "4<5")], chart, named)
    assert "<script" not in text
    assert "http" not in text
    assert text.count("<rect") == 2
    assert "&lt;b&gt;x&lt;/b&gt;" in text
