"""``gswarm profiler top``: rows from what the host says, on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from gswarm.cli.output import Format
from gswarm.cli.top import Look, make_rows, show
from gswarm.cli.top_view import draw

GIB = 1024**3


def device(
    client: str, name: str, kind: str, parent: str = "", owners: tuple[str, ...] = (), total: int | None = 140 * GIB
) -> dict[str, Any]:
    processes = [{"pid": 1, "account": "x", "command": "y", "owner": one, "memory_used_bytes": 5} for one in owners]
    return {
        "client": client, "device": name, "kind": kind, "name": "NVIDIA H200", "uuid": "", "memory_total_bytes": total,
        "parent": parent, "seen_at": 99.0, "processes": processes,
    }  # fmt: skip


def series(client: str, name: str, at: float = 99.5, owner: str = "", **values: float | None) -> dict[str, Any]:
    return {"client": client, "device": name, "owner": owner, "values": values, "at": at}


DEVICES = [
    device("b", "gpu:0", "gpu", owners=("run:r7", "outsider:anna")),
    device("a", "gpu:1", "gpu"),
    device("a", "machine", "machine", total=None),
    device("a", "slot:0", "slot", parent="gpu:1"),
]
LATEST = {
    "at": 100.0,
    "series": [
        series("a", "machine", cpu_utilization=0.5, memory_used=GIB, load_1m=3.0),
        series("a", "gpu:1", gpu_utilization=None, gpu_power=350.0, gpu_power_limit=700.0, gpu_temperature=91.0),
        series("a", "slot:0", owner="run:r3", step_time=1.0),
        series("a", "slot:0", at=98.0, owner="run:r2", step_time=1.0),
        series("b", "gpu:0", at=10.0, gpu_utilization=None),
    ],
}
ALERT = {
    "rule": "throttle",
    "severity": "critical",
    "client": "a",
    "device": "gpu:1",
    "run": None,
    "text": "is hot",
    "value": 91.0,
    "since": 1.0,
    "until": None,
}


def test_rows_are_in_order_and_say_who() -> None:
    rows = make_rows(DEVICES, LATEST)
    assert [(row.client, row.device, row.used_by) for row in rows] == [
        ("a", "machine", []), ("a", "gpu:1", ["run:r3"]), ("b", "gpu:0", ["outsider:anna", "run:r7"]),
    ]  # fmt: skip
    assert (rows[0].utilization, rows[0].memory_used_bytes, rows[0].memory_total_bytes) == (0.5, GIB, None)
    assert (rows[1].utilization, rows[1].power_w, rows[1].temperature_c) == (None, 350.0, 91.0)
    assert rows[2].utilization is None


def used(*slots: dict[str, Any], **values: float | None) -> list[str]:
    """By whom gpu:1 of client a is used."""
    latest = {"at": 100.0, "series": [series("a", "slot:0", **values), *slots] if values else [*slots]}
    return make_rows(DEVICES, latest)[1].used_by


def test_a_slot_is_used_by_the_run_that_made_the_newest_step() -> None:
    turns = [series("a", "slot:0", at=100.0 - age_s, owner=f"run:r{5 + age_s}", step_time=1.0) for age_s in (3, 2, 0, 1)]
    assert used(*turns) == ["run:r5"]
    assert used(*turns, idle_share=0.9) == ["run:r5"]
    assert used(*turns, idle_share=1.0) == []
    assert used(series("a", "slot:0", at=40.0, owner="run:r1", step_time=60.0), idle_share=None) == ["run:r1"], "a long step"


def test_who_uses_the_devices_of_a_silent_client_is_not_known() -> None:
    silent = [{**one, "seen_at": 80.0} for one in DEVICES]
    assert [row.used_by for row in make_rows(silent, {"at": 100.0, "series": []})] == [[], [], []]


def test_the_view_shows_what_is_known() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(draw(Look(100.0, make_rows(DEVICES, LATEST), [ALERT])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("2 clients, 2 GPUs", "350/700 W", "91 °C", "n/a", "r3", "outsider:anna, r7", "critical: a gpu:1 is hot"):
        assert part in text
    console.print(draw(Look(100.0, make_rows(DEVICES, LATEST) * 40, []), height=20))
    assert "more that do less" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_mig_device_is_a_part_of_a_gpu_and_not_one_more() -> None:
    devices = [*DEVICES, device("a", "gpu:1/mig:0", "mig", parent="gpu:1"), device("a", "gpu:1/mig:1", "mig", parent="gpu:1")]
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(draw(Look(100.0, make_rows(devices, LATEST), [])))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 clients, 2 GPUs" in text
    assert "gpu:1/mig:1" in text


def test_pipes_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    look = Look(100.0, make_rows(DEVICES, LATEST), [ALERT])
    show(look, Format.JSON)
    document = json.loads(capsys.readouterr().out)
    assert [one["device"] for one in document["devices"]] == ["machine", "gpu:1", "gpu:0"]
    show(look, Format.QUIET)
    assert capsys.readouterr().out.split() == ["a/machine", "a/gpu:1", "b/gpu:0"]
    show(look, Format.TABLE)
    assert "critical: a gpu:1 is hot" in capsys.readouterr().out
    show(Look(1.0, [], []), Format.TABLE)
    assert "nothing is measured yet" in capsys.readouterr().out
