"""Samples as Prometheus reads them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from gswarm.domain.ids import ClientName
from gswarm.domain.samples import MACHINE, DeviceInfo, SeriesKey
from gswarm.profiler import exposition
from gswarm.profiler.catalog import BY_NAME, METRICS, UNITS
from gswarm.profiler.exposition import Family, Samples, exposed_name, render, sample_names
from gswarm.profiler.freshness import STALE_INTERVALS, STALE_S_MIN

NOW_S = 5_000.0
A = ClientName("a")
H200 = DeviceInfo("gpu:0", "gpu", "NVIDIA H200", "GPU-1234")


def key(metric: str, device: str = "gpu:0", owner: str = "", client: str = "a") -> SeriesKey:
    return SeriesKey(ClientName(client), device, owner, metric)


def series(values: dict[SeriesKey, tuple[float, float]], *families: Family, **options: object) -> dict[tuple[str, str], float]:
    """By name and the labels that tell them apart; without the process' own."""
    text = render(families, Samples(values, [(A, H200, NOW_S)], NOW_S, **options), is_openmetrics=False).decode()  # type: ignore[arg-type]
    return {
        (one.name, " ".join(one.labels[label] for label in ("client", "device", "owner") if one.labels.get(label))): one.value
        for family in parse_plain(text)
        for one in family.samples
        if not one.name.startswith("process_")
    }


def test_names_have_base_units() -> None:
    names = {name: exposed_name(BY_NAME[name]) for name in BY_NAME}
    assert names["gpu_utilization"] == "gswarm_gpu_utilization_ratio"
    assert names["gpu_power"] == "gswarm_gpu_power_watts"
    assert names["gpu_energy"] == "gswarm_gpu_energy_joules"
    assert names["gpu_pcie_rx"] == "gswarm_gpu_pcie_rx_bytes_per_second"
    assert names["memory_used"] == "gswarm_machine_memory_used_bytes"
    assert names["tokens_rate"] == "gswarm_training_tokens_per_second"
    assert names["idle_share"] == "gswarm_training_idle_ratio"
    assert names["gpu_xid"] == "gswarm_gpu_xid"
    assert len(set(names.values())) == len(METRICS)
    assert "gswarm_gpu_energy_joules_total" in sample_names()
    assert set(exposition._SUFFIXES) == set(UNITS)


def test_the_table_for_those_who_come_from_others_names_what_there_is() -> None:
    text = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text(encoding="utf-8")
    table = text[text.index("| gswarm_... |") : text.index("| label of gswarm |")]
    first_column = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    named = {name for name in re.findall(r"`(\w+)`", first_column) if not name.startswith("_")}
    assert len(named) > 25
    assert {f"gswarm_{name}" for name in named} <= sample_names()


def test_labels_and_values() -> None:
    values = {
        key("gpu_power"): (NOW_S, 512.5),
        key("gpu_energy"): (NOW_S, 1e9),
        key("process_memory_used", owner="run:r1"): (NOW_S, 7.0),
        key("load_1m", MACHINE): (NOW_S, 2.0),
    }
    text = render([], Samples(values, [(A, H200, NOW_S)], NOW_S), is_openmetrics=False).decode()
    assert 'gswarm_gpu_power_watts{client="a",device="gpu:0",model="NVIDIA H200",owner="",uuid="GPU-1234"} 512.5\n' in text
    assert "# TYPE gswarm_gpu_energy_joules_total counter\n" in text
    assert 'gswarm_machine_load_1m{client="a"} 2.0\n' in text
    assert 'owner="run:r1",uuid="GPU-1234"} 7.0\n' in text


def test_what_has_no_answer_is_absent() -> None:
    found = series({key("gpu_fan"): (NOW_S, math.nan), key("gpu_power"): (NOW_S, 1.0), key("from_a_newer_client"): (NOW_S, 1.0)})
    assert [name for name, _ in found] == ["gswarm_gpu_power_watts", "gswarm_series_left_out"]


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 60.0])
def test_what_is_stale_vanishes(interval_s: float) -> None:
    limit_s = max(STALE_INTERVALS * interval_s, STALE_S_MIN)
    values = {key("gpu_power"): (NOW_S - limit_s, 1.0), key("gpu_fan"): (NOW_S - limit_s - 0.1, 1.0)}
    found = series(values, intervals=lambda client: {"*": interval_s})
    assert ("gswarm_gpu_power_watts", "a gpu:0") in found
    assert ("gswarm_gpu_fan_ratio", "a gpu:0") not in found


def test_one_metric_may_have_an_interval_of_its_own_and_training_takes_its_time() -> None:
    values = {
        key("gpu_power"): (NOW_S - 40, 1.0),
        key("gpu_fan"): (NOW_S - 40, 1.0),
        key("step_time", "slot:0", "run:r1"): (NOW_S - 300, 1.0),
        key("tokens_rate", "slot:0", "run:r2"): (NOW_S - 301, 1.0),
    }
    found = series(values, intervals=lambda client: {"*": 1.0, "gpu_power": 10.0})
    assert [name for name, _ in found] == ["gswarm_gpu_power_watts", "gswarm_training_step_time_seconds", "gswarm_series_left_out"]


def test_what_is_told_each_ten_seconds_does_not_flicker() -> None:
    found = series({key("samples_lost", MACHINE): (NOW_S - 12, 3.0), key("cpu_utilization", MACHINE): (NOW_S, 0.5)})
    assert found["gswarm_machine_samples_lost_total", "a"] == 3.0


def test_a_client_that_is_gone_has_no_series_at_all() -> None:
    slot = {key(f"{use}_share", "slot:0"): 1.0 for use in ("train", "swap", "idle")}
    slot[key("step_time", "slot:0", "run:r1")] = 0.3
    slot[key("samples_lost", MACHINE)] = 0.0
    assert len(series({one: (NOW_S - STALE_S_MIN, value) for one, value in slot.items()})) == 6
    assert [name for name, _ in series({one: (NOW_S - STALE_S_MIN - 1, value) for one, value in slot.items()})] == [
        "gswarm_series_left_out"
    ]


def test_shares_of_a_slot_are_measured_each_second_and_told_no_longer() -> None:
    values = {key("idle_share", "slot:0"): (NOW_S - 11, 1.0), key("cpu_utilization", MACHINE): (NOW_S, 0.5)}
    assert [name for name, _ in series(values)] == ["gswarm_machine_cpu_utilization_ratio", "gswarm_series_left_out"]


@pytest.mark.parametrize("offset_s", [-7200.0, 7200.0])
def test_a_wrong_clock_makes_nothing_stale_or_fresh(offset_s: float) -> None:
    values = {
        key("clock_offset", MACHINE): (NOW_S - offset_s, offset_s),
        key("gpu_power"): (NOW_S - offset_s, 1.0),
        key("gpu_fan"): (NOW_S - offset_s - 60, 1.0),
    }
    found = series(values)
    assert ("gswarm_gpu_power_watts", "a gpu:0") in found
    assert ("gswarm_gpu_fan_ratio", "a gpu:0") not in found


def test_floods_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {key("process_memory_used", owner=f"outsider:{number}"): (NOW_S, 1.0) for number in range(exposition.OWNERS_MAX + 4)}
    found = series(owners)
    assert len(found) == exposition.OWNERS_MAX + 1
    assert found["gswarm_series_left_out", ""] == 4
    monkeypatch.setattr(exposition, "SERIES_MAX", 10)
    found = series({key("gpu_power", f"gpu:{number}"): (NOW_S, 1.0) for number in range(25)})
    assert (len(found), found["gswarm_series_left_out", ""]) == (11, 15)


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_hostile_names_stay_inside_their_quotes(is_openmetrics: bool) -> None:
    hostile = 'outsider:a"} 1\ngswarm_fake{x="\\' + "y" * 500
    values = {key("process_memory_used", owner=hostile): (NOW_S, 7.0)}
    text = render([Family("gswarm_runs", "Runs", (({"state": hostile}, 1.0),))], Samples(values, [], NOW_S), is_openmetrics=is_openmetrics)
    parse = parse_openmetrics if is_openmetrics else parse_plain
    found = [one for family in parse(text.decode()) for one in family.samples if not one.name.startswith("process_")]
    assert [one.name for one in found] == ["gswarm_runs", "gswarm_process_memory_used_bytes", "gswarm_series_left_out"]
    assert all(len(text) <= exposition.LABEL_CHARS_MAX for one in found for text in one.labels.values())
    assert found[1].labels["owner"].startswith('outsider:a"} 1\ngswarm_fake')


def test_openmetrics_is_whole() -> None:
    values = {key("gpu_energy"): (NOW_S, 1.5), key("gpu_power"): (NOW_S, 2.0)}
    text = render([], Samples(values, [(A, H200, NOW_S)], NOW_S), is_openmetrics=True).decode()
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["gswarm_gpu_energy_joules"].type == "counter"
    assert families["gswarm_gpu_energy_joules"].samples[0].name == "gswarm_gpu_energy_joules_total"
