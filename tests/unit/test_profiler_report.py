"""Pictures of a report: where their axes begin and end, where a line lies on them, and what a report of nothing says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.export import Selection
from gswarm.profiler.report import BOTTOM, HEIGHT, TOP, bounds, report_pieces
from sample_kit import T0, A, batch, columns, open_store


@pytest.mark.parametrize(
    ("metric", "low", "high", "edges"),
    [
        ("gpu_utilization", 0.5, 0.5, (0.0, 1.0)),
        ("gpu_utilization", 1.0, 1.0, (0.0, 1.0)),
        ("gpu_utilization", 0.0, 0.03, (0.0, 1.0)),
        ("mfu", 0.4, 1.2, (0.0, 1.2)),
        ("gpu_power", 350.0, 350.0, (0.0, 350.0)),
        ("gpu_power", 340.0, 350.0, (0.0, 350.0)),
        ("gpu_temperature", 54.0, 56.0, (0.0, 56.0)),
        ("gpu_xid", 0.0, 0.0, (0.0, 1.0)),
        ("clock_offset", -0.02, -0.02, (-0.02, 0.0)),
        ("clock_offset", -0.02, 0.01, (-0.02, 0.01)),
        ("gpu_energy", 5e9, 5e9 + 1000, (5e9, 5e9 + 1000)),
        ("gpu_energy", 5e9, 5e9, (0.0, 5e9)),
    ],
)
def test_axes_begin_at_nothing_and_shares_end_at_all(metric: str, low: float, high: float, edges: tuple[float, float]) -> None:
    assert bounds(BY_NAME[metric], low, high) == edges


def lines(page: str) -> dict[str, tuple[list[str], list[float]]]:
    """By metric: the texts beside its axis, and the heights of its lines as shares of the picture's."""
    found = {}
    for metric, picture in re.findall(r"<small>\((\w+), .*?(<svg.*?</svg>)", page, re.DOTALL):
        texts = re.findall(r'text-anchor="end">([^<:]*)</text>', picture)
        path = re.findall(r'<path d="([^"]*)" fill="none" stroke="#', picture)[0]
        heights = [(HEIGHT - BOTTOM - float(y)) / (HEIGHT - BOTTOM - TOP) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
        found[metric] = texts, heights
    return found


def test_a_flat_line_lies_where_its_value_is(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    values = {"gpu_utilization": [0.5] * 3, "gpu_memory_utilization": [1.0] * 3, "gpu_power": [350.0] * 3, "gpu_memory_used": [0.0] * 3}
    store.append(A, batch(1, columns("gpu:0", [0, 1, 2], values)))
    found = lines(b"".join(report_pieces(store, Selection(T0, T0 + 3), "flat", [], [])).decode())
    assert {metric: set(heights) for metric, (_texts, heights) in found.items()} == {
        "gpu_utilization": {0.5},
        "gpu_memory_utilization": {1.0},
        "gpu_power": {1.0},
        "gpu_memory_used": {0.0},
    }
    assert found["gpu_utilization"][0] == ["0 %", "50 %", "100 %"]
    assert found["gpu_power"][0] == ["0 W", "175 W", "350 W"]
    store.close()


def test_each_owner_has_a_line_with_its_name(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    shares = {"outsider:anna": 10e9, "outsider:<b>": 30e9, "run:r1": 60e9}
    parts = [columns("gpu:0", [0, 1, 2], {"process_memory_used": [used] * 3}, owner=owner) for owner, used in shares.items()]
    parts += [columns("slot:0", [at, at + 1], {"step_time": [1.0 + at, 1.0 + at]}, owner=f"run:r{at}") for at in (0, 1)]
    store.append(A, batch(1, *parts))
    page = b"".join(report_pieces(store, Selection(T0, T0 + 3), "owners", [], [])).decode()
    legends = {
        metric: re.findall(r"&#9632; ([^<]*)<", legend)
        for metric, legend in re.findall(r"<small>\((\w+), .*?<div class=\"legend\">(.*?)</div>", page, re.DOTALL)
    }
    assert sorted(legends["process_memory_used"]) == ["a gpu:0 outsider:&lt;b&gt;", "a gpu:0 outsider:anna", "a gpu:0 run:r1"]
    assert sorted(legends["step_time"]) == ["a slot:0 run:r0", "a slot:0 run:r1"]
    (memory,) = re.findall(r"<small>\(process_memory_used, .*?(<svg.*?</svg>)", page, re.DOTALL)
    drawn = [path.split("L")[0] for path in re.findall(r'<path d="([^"]*)" fill="none" stroke="#', memory)]
    heights = [(HEIGHT - BOTTOM - float(path.split()[1])) / (HEIGHT - BOTTOM - TOP) for path in drawn]
    assert sorted(round(60 * height) for height in heights) == [10, 30, 60], "and no mean of people"
    store.close()


def test_a_session_of_nothing_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    assert b"<h2>Charts</h2><p>Nothing was measured in this time.</p>" in b"".join(
        report_pieces(store, Selection(T0, T0 + 9), "no", [], [])
    )
    store.append(A, batch(1, columns("gpu:0", [0, 1], {"gpu_power": [1.0, 2.0]})))
    assert b"Nothing was measured" not in b"".join(report_pieces(store, Selection(T0, T0 + 9), "yes", [], []))
    store.close()
