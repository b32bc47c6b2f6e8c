"""``gswarm profiler``: what machines and GPUs do."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gswarm.cli import top
from gswarm.cli.output import Column, Format, Json, Output, column, duration, moment, number, print_json, say, show_item, show_rows, size
from gswarm.cli.reach import open_host
from gswarm.cli.token import parse_duration
from gswarm.domain.errors import StorageError

app = typer.Typer(no_args_is_help=True, help="What machines and GPUs do.")
app.command("top")(top.top)

Name = Annotated[str, typer.Argument(metavar="SESSION")]


class ExportFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    HTML = "html"


@app.command("start")
def start(
    name: Annotated[str, typer.Option("--name", help="Of the session.")],
    interval: Annotated[str, typer.Option("--interval", help="Between samples: 100ms to 1s.")] = "1s",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric, as M or with an interval of its own, M=100ms; may repeat.")
    ] = None,
    client: Annotated[list[str] | None, typer.Option("--client", help="Only this client; may repeat.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Begin a session: a named range of time in which clients sample at its interval."""
    with open_host() as host:
        own = {one.partition("=")[0]: one.partition("=")[2] for one in metric or ()}
        intervals_s = {metric: _interval_s(text) for metric, text in own.items() if text}
        session = host.start_profiler(name, _interval_s(interval), list(own), client or (), metric_intervals_s=intervals_s)
    _tell(output, session, f"session {name} runs, sampled every {_intervals(session)}; end it with: gswarm profiler stop {name}")


def _tell(output: Format, session: Json, text: str) -> None:
    match output:
        case Format.JSON:
            print_json(session)
        case Format.QUIET:
            print(session["name"])
        case Format.TABLE:
            say(output, text)


def _interval_s(text: str) -> float:
    """As other durations, and also milliseconds."""
    return parse_duration(text.removesuffix("ms")) / 1000 if text.endswith("ms") else parse_duration(text)


def _intervals(session: Json, names_max: int = 100) -> str:
    """What is asked for, and behind it what is sampled otherwise."""
    grouped: dict[float, list[str]] = {}
    for metric, seconds in session["other_intervals_s"].items():
        grouped.setdefault(seconds, []).append(metric)
    others = [
        f"{seconds:g} s for {', '.join(names) if len(names) <= names_max else f'{len(names)} metrics'}"
        for seconds, names in sorted(grouped.items())
    ]
    return ", ".join([f"{session['interval_s']:g} s", *others])


@app.command("stop")
def stop(name: Name, output: Output = Format.TABLE) -> None:
    """End a session. Its samples stay."""
    with open_host() as host:
        session = host.stop_profiler(name)
    values = f"{session['samples']:,} values" if session["samples"] is not None else "its values were not counted"
    _tell(output, session, f"session {name} has ended after {duration(_length_s(session))}: {values}")


@app.command("status")
def status(output: Output = Format.TABLE) -> None:
    """Show the sessions that run, and which devices are measured."""
    with open_host() as host:
        running = [session for session in host.profiler_sessions() if session["state"] == "running"]
        devices = host.profiler_devices()
    match output:
        case Format.JSON:
            print_json({"sessions": running, "devices": len(devices), "clients": len({device["client"] for device in devices})})
        case Format.QUIET:
            for session in running:
                print(session["name"])
        case Format.TABLE:
            gpus = sum(device["kind"] == "gpu" for device in devices)
            say(output, f"{len({device['client'] for device in devices})} clients are measured, with {gpus} GPUs")
            show_rows(output, running, _COLUMNS, key="name", empty="no session runs")


@app.command("list")
def list_sessions(output: Output = Format.TABLE) -> None:
    """Show all sessions, the newest first."""
    with open_host() as host:
        show_rows(output, host.profiler_sessions(), _COLUMNS, key="name")


@app.command("show")
def show(name: Name, output: Output = Format.TABLE) -> None:
    """Show a session: what each run used in it, and when slots trained nothing, and why."""
    with open_host() as host:
        session = host.profiler_session(name)
        summary = host.profiler_summary(name)
    if output is Format.JSON:
        print_json({**session, **summary})
        return
    fields = [
        ("session", session["name"]),
        ("state", session["state"]),
        ("from", moment(session["started_at"])),
        ("to", moment(session["stopped_at"])),
        ("interval", _intervals(session)),
        ("metrics", ", ".join(session["metrics"]) or "all"),
        ("clients", ", ".join(session["clients"]) or "all"),
        ("values", "-" if session["samples"] is None else f"{session['samples']:,}"),
    ]
    show_item(output, session, fields, key="name")
    if output is Format.TABLE:
        print()
        show_rows(output, summary["runs"], _RUN_COLUMNS, key="run", empty="no run had a slot in it")
        if summary["bubbles"]:
            print()
            show_rows(output, summary["bubbles"], _BUBBLE_COLUMNS, key="device")


@app.command("delete")
def delete(name: Name, output: Output = Format.TABLE) -> None:
    """Forget a session. Its samples stay as long as all others."""
    with open_host() as host:
        session = host.delete_profiler_session(name)
    _tell(output, session, f"session {name} is gone")


@app.command("export")
def export(
    name: Name,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="csv, parquet and json hold every sample; html is a report.")
    ] = ExportFormat.CSV,
    to: Annotated[Path | None, typer.Option("--to", help="The file; by default SESSION.FORMAT here.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Write a session's samples, or a report about it, to a file."""
    path = to if to is not None else Path(f"{name}.{format}")
    temporary = path.with_name(path.name + ".part")
    length = 0
    with open_host() as host:
        try:
            with temporary.open("wb") as file:
                for piece in host.export_profiler_session(name, format):
                    length += file.write(piece)
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}", "name another file with --to") from error
        finally:
            temporary.unlink(missing_ok=True)
    match output:
        case Format.JSON:
            print_json({"path": str(path), "size_bytes": length})
        case Format.QUIET:
            print(path)
        case Format.TABLE:
            say(output, f"{path} has {size(length)}")


def _length_s(session: Json) -> float:
    end_s: float = session["stopped_at"] if session["stopped_at"] is not None else time.time()
    return float(end_s - session["started_at"])


def _share(row: Json, key: str) -> str:
    return "n/a" if row[key] is None else f"{100 * row[key]:.0f} %"


def _bytes(row: Json, key: str) -> str:
    return "n/a" if row[key] is None else size(row[key])


_COLUMNS = [
    column("session", "name"),
    column("state", "state"),
    Column("interval", lambda row: _intervals(row, names_max=1), right=True),
    Column("from", lambda row: moment(row["started_at"])),
    Column("length", lambda row: duration(_length_s(row)), right=True),
    column("metrics", "metrics"),
    column("clients", "clients"),
    number("values", "samples"),
]
_RUN_COLUMNS = [
    column("run", "run"),
    column("name", "name"),
    number("GPU-hours", "gpu_hours"),
    number("slot-hours", "slot_hours"),
    Column("energy", lambda row: "n/a" if row["energy_wh"] is None else f"{row['energy_wh']:.1f} Wh", right=True),
    Column("memory, mean", lambda row: _bytes(row, "memory_mean_bytes"), right=True),
    Column("memory, peak", lambda row: _bytes(row, "memory_peak_bytes"), right=True),
    Column("utilisation", lambda row: _share(row, "utilization_mean"), right=True),
    Column("idle", lambda row: _share(row, "idle_share"), right=True),
]
_BUBBLE_COLUMNS = [
    column("client", "client"),
    column("idle slot", "device"),
    Column("from", lambda row: moment(row["from"])),
    Column("time", lambda row: duration(row["to"] - row["from"]), right=True),
    Column("cause", lambda row: row["cause"].replace("_", " ")),
]
