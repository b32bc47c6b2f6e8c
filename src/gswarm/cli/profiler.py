"""``gswarm profiler``: what machines and GPUs do."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gswarm.cli import profiler_arguments as arguments
from gswarm.cli import top
from gswarm.cli.output import Column, Format, Json, Output, column, duration, moment, number, print_json, say, show_item, show_rows, size
from gswarm.cli.reach import open_host
from gswarm.domain.errors import InvalidInputError, StorageError

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
        list[str] | None, typer.Option("--metric", help="Only these metrics: M,M or with intervals of their own M=100ms,M; may repeat.")
    ] = None,
    client: Annotated[list[str] | None, typer.Option("--client", help="Only these clients: C,C; may repeat.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Begin a session: a named range of time in which clients sample at its interval."""
    name, usual_s, clients = arguments.session_name(name), arguments.interval_s(interval), arguments.separate(client)
    with open_host() as host:
        metrics = arguments.metrics(host, metric)
        intervals_s = {name: seconds for name, seconds in metrics.items() if seconds is not None}
        session = host.start_profiler(name, usual_s, list(metrics), clients, metric_intervals_s=intervals_s)
        arguments.warn_of_strangers(host, clients)
    _tell(output, session, f"session {name} runs, sampled every {_intervals(session)}; end it with: gswarm profiler stop {name}")


def _tell(output: Format, session: Json, text: str) -> None:
    match output:
        case Format.JSON:
            print_json(session)
        case Format.QUIET:
            print(session["name"])
        case Format.TABLE:
            say(output, text)


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
    _tell(output, session, f"session {name} has ended after {duration(_length_s(session))}; look at it with: gswarm profiler show {name}")


@app.command("status")
def status(output: Output = Format.TABLE) -> None:
    """Show the sessions that run, and how much is measured now."""
    with open_host() as host:
        running = [session for session in host.profiler_sessions() if session["state"] == "running"]
        measured = _measured(host.profiler_devices(), host.profiler_latest(top.METRICS))
    clients, gpus = len({device["client"] for device in measured}), sum(device["kind"] == "gpu" for device in measured)
    match output:
        case Format.JSON:
            print_json({"sessions": running, "devices": len(measured), "clients": clients, "gpus": gpus})
        case Format.QUIET:
            for session in running:
                print(session["name"])
        case Format.TABLE:
            verb = "client is" if clients == 1 else "clients are"
            say(output, f"{clients} {verb} measured, with {gpus} GPU{'s' if gpus != 1 else ''}")
            show_rows(output, running, _COLUMNS, key="name", empty="no session runs")


def _measured(devices: list[Json], latest: Json) -> list[Json]:
    """Those of which any sensor answers now: others belong to a client that is gone, or are gone themselves."""
    answering = {
        (series["client"], series["device"])
        for series in latest["series"]
        if not series["owner"] and any(value is not None for value in series["values"].values())
    }
    return [device for device in devices if (device["client"], device["device"]) in answering]


@app.command("metrics")
def list_metrics(output: Output = Format.TABLE) -> None:
    """Show what can be measured, with units. A machine has what its sensors have."""
    with open_host() as host:
        show_rows(output, host.profiler_metrics(), _METRIC_COLUMNS, key="name")


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
            show_rows(output, summary["causes"], _CAUSE_COLUMNS, key="cause")
            print()
            show_rows(output, summary["bubbles"], _BUBBLE_COLUMNS, key="device")
        if summary["left_out"]:
            say(output, f"and {summary['left_out']:,} shorter ones")


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
    to: Annotated[Path | None, typer.Option("--to", help="The file, - for standard output; by default SESSION.FORMAT here.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Write a session's samples, or a report about it, to a file."""
    if to == Path("-"):
        _export_to_stdout(name, format)
        return
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


def _export_to_stdout(name: str, format: ExportFormat) -> None:
    """The bytes and nothing else."""
    if format is ExportFormat.PARQUET and sys.stdout.isatty():
        raise InvalidInputError("Parquet is nothing that a terminal can show", "redirect it to a file, or name one with --to")
    with open_host() as host:
        try:
            for piece in host.export_profiler_session(name, format):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise  # whoever reads has enough
        except OSError as error:
            raise StorageError(f"standard output cannot be written: {error.strerror}", "name a file with --to") from error


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
_METRIC_COLUMNS = [column("metric", "name"), column("unit", "unit"), column("of", "group"), column("what", "help")]
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
_CAUSE_COLUMNS = [
    Column("idle slots because of", lambda row: row["cause"].replace("_", " ")),
    Column("time", lambda row: duration(row["total_s"]), right=True),
    number("times", "count"),
    Column("longest", lambda row: duration(row["longest_s"]), right=True),
]
_BUBBLE_COLUMNS = [
    column("client", "client"),
    column("idle slot", "device"),
    Column("from", lambda row: moment(row["from"])),
    Column("time", lambda row: duration(row["to"] - row["from"]), right=True),
    Column("cause", lambda row: row["cause"].replace("_", " ")),
]
