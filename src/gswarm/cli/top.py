"""``gswarm profiler top``: every machine and GPU of the cluster now, and who uses it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gswarm.cli.output import Column, Format, Json, Output, clean, print_json_line, print_table, put, size
from gswarm.cli.reach import open_host
from gswarm.domain.errors import NotFoundError

if TYPE_CHECKING:
    from gswarm.sdk import Host

METRICS = (
    "gpu_utilization", "gpu_memory_used", "gpu_memory_total", "gpu_power", "gpu_power_limit", "gpu_temperature", "cpu_utilization",
    "memory_used", "memory_total", "load_1m", "idle_share", "step_time",
)  # fmt: skip
GIB = 1024**3
SILENT_S = 15.0
"""A device that was heard of longer ago is shown as silent, and who uses it is not known."""


@dataclass(frozen=True, slots=True)
class Row:
    """A machine, a GPU or a part of one. ``None`` is not known."""

    client: str
    device: str
    name: str
    utilization: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    power_w: float | None
    power_limit_w: float | None
    temperature_c: float | None
    load: float | None
    used_by: list[str]
    age_s: float


@dataclass(frozen=True, slots=True)
class Look:
    """What the host said at one moment."""

    at: float
    rows: list[Row]
    alerts: list[Json]


def top(
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Clients and their devices live: utilisation, memory, power, temperature, who runs there, alerts."""
    with open_host() as host:
        if once:
            show(look(host), output)
        elif output is Format.TABLE and sys.stdout.isatty():
            from gswarm.cli.top_view import live

            live(looks(host, interval_s))
        else:
            for one in looks(host, interval_s):
                show(one, output)


def looks(host: Host, interval_s: float) -> Iterator[Look]:
    """A look now and one after each interval, for ever."""
    while True:
        yield look(host)
        time.sleep(interval_s)


def look(host: Host) -> Look:
    latest = host.profiler_latest(METRICS)
    try:
        alerts = [alert for alert in host.alerts() if alert["until"] is None]
    except NotFoundError:
        alerts = []
    return Look(latest["at"], make_rows(host.profiler_devices(), latest), alerts)


def make_rows(devices: list[Json], latest: Json) -> list[Row]:
    """A row a machine, GPU and MIG device, those of a client together. Slots are shown by who trains on them."""
    values = {(series["client"], series["device"]): series["values"] for series in latest["series"] if not series["owner"]}
    trains = _trains(latest, values)
    users: dict[tuple[str, str], set[str]] = {}
    for device in devices:
        key = (device["client"], device["parent"] if device["kind"] == "slot" else device["device"])
        names = users.setdefault(key, set())
        if latest["at"] - device["seen_at"] <= SILENT_S:
            names.update(process["owner"] for process in device["processes"])
        names.add(trains.get((device["client"], device["device"]), ""))
    shown = [device for device in devices if device["kind"] != "slot"]
    return [
        _row(device, values.get((device["client"], device["device"]), {}), users, latest["at"])
        for device in sorted(shown, key=lambda device: (device["client"], device["kind"] != "machine", device["device"]))
    ]


def _trains(latest: Json, values: dict[tuple[str, str], Json]) -> dict[tuple[str, str], str]:
    """Who made the newest step on each slot that is not idle."""
    newest: dict[tuple[str, str], Json] = {}
    for series in latest["series"]:
        key = (series["client"], series["device"])
        if series["owner"] and series["device"].startswith("slot:") and values.get(key, {}).get("idle_share") != 1.0:
            newest[key] = max(newest.get(key, series), series, key=lambda one: one["at"])
    return {key: series["owner"] for key, series in newest.items()}


def _row(device: Json, values: Json, users: dict[tuple[str, str], set[str]], at: float) -> Row:
    machine = device["kind"] == "machine"
    return Row(
        client=device["client"],
        device=device["device"],
        name=device["name"],
        utilization=values.get("cpu_utilization" if machine else "gpu_utilization"),
        memory_used_bytes=values.get("memory_used" if machine else "gpu_memory_used"),
        memory_total_bytes=device["memory_total_bytes"],
        power_w=values.get("gpu_power"),
        power_limit_w=values.get("gpu_power_limit"),
        temperature_c=values.get("gpu_temperature"),
        load=values.get("load_1m"),
        used_by=sorted(users.get((device["client"], device["device"]), set()) - {""}),
        age_s=max(at - device["seen_at"], 0.0),
    )


def show(one: Look, output: Format) -> None:
    """One look, for pipes and files: a table, a line of JSON, or who and where alone."""
    match output:
        case Format.JSON:
            print_json_line({"at": one.at, "devices": [asdict(row) for row in one.rows], "alerts": one.alerts})
        case Format.QUIET:
            for row in one.rows:
                put(f"{row.client}/{row.device}")
        case Format.TABLE:
            cells = [[clean(item.cell(asdict(row))) for item in COLUMNS] for row in one.rows]
            print_table(COLUMNS, cells) if cells else print("nothing is measured yet")
            for alert in one.alerts:
                put(f"{alert['severity']}: {alert['client'] or ''} {alert['device'] or ''} {alert['text']}")


def share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0%}"


def memory(row: Json) -> str:
    used, total = row["memory_used_bytes"], row["memory_total_bytes"]
    if total is None:
        return "n/a" if used is None else size(used)
    return f"{'n/a' if used is None else f'{used / GIB:.1f}'}/{total / GIB:.0f} GiB"


def power(row: Json) -> str:
    if row["power_w"] is None:
        return "n/a"
    limit = "" if row["power_limit_w"] is None else f"/{row['power_limit_w']:.0f}"
    return f"{row['power_w']:.0f}{limit} W"


def temperature(row: Json) -> str:
    return "n/a" if row["temperature_c"] is None else f"{row['temperature_c']:.0f} °C"


def used_by(row: Json) -> str:
    names: list[Any] = row["used_by"]
    return ", ".join(name.removeprefix("run:") for name in names) or "-"


COLUMNS = (
    Column("client", lambda row: row["client"]),
    Column("device", lambda row: row["device"]),
    Column("name", lambda row: row["name"]),
    Column("busy", lambda row: share(row["utilization"]), right=True),
    Column("memory", memory, right=True),
    Column("power", power, right=True),
    Column("temp", temperature, right=True),
    Column("used by", used_by),
)
