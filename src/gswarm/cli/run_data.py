"""``gswarm run logs|metrics|explain``: what a run said and measured, and why it is where it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Column, Format, Json, Output, column, number, print_json, print_json_line, put, show_item, show_rows
from gswarm.cli.reach import open_host

if TYPE_CHECKING:
    from gswarm.sdk import Host

RunRef = Annotated[str, typer.Argument(metavar="R", help="Id or unique name.")]

PAGE_LINES = 1000
BARS = "▁▂▃▄▅▆▇█"
SPARK_POINTS = 24


def logs(
    run: RunRef,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Print a run's own log."""
    with open_host() as host:
        if output is Format.JSON and not follow:
            print_json(list(_lines(host, run, False)))
            return
        for line in _lines(host, run, follow):
            if output is Format.JSON:
                print_json_line(line)
            elif output is Format.QUIET:
                put(line["text"])
            else:
                clock = time.strftime("%H:%M:%S", time.localtime(line["at"]))
                put(f"{clock} {line['level']:<7} {line['text']}")


def _lines(host: Host, run: str, follow: bool) -> Iterator[Json]:
    after = 0
    while True:
        answer = host.logs(run, after, PAGE_LINES)
        yield from answer["lines"]
        after = answer["next_line"]
        if len(answer["lines"]) < PAGE_LINES:
            break
    if follow:
        yield from host.follow_logs(run, after)


def metrics(
    run: RunRef,
    names: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Only this metric; may be repeated.")] = None,
    points: Annotated[int | None, typer.Option("--points", min=2, help="Most points a metric (json); extremes stay.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show a run's metrics: the whole series with -o json, else how they went."""
    with open_host() as host:
        answer = host.metrics(run, tuple(names or ()), points)
    if output is Format.JSON:
        print_json(answer)
        return
    rows = [summary(series) for series in answer["series"]]
    columns = [
        column("metric", "id"),
        number("points", "points"),
        number("last step", "step"),
        number("first", "first"),
        number("last", "last"),
        number("min", "min"),
        number("max", "max"),
        Column("", lambda row: row["spark"]),
    ]
    show_rows(output, rows, columns, empty="no metrics yet")


def summary(series: Json) -> Json:
    """How one metric went, over its finite values."""
    values = [value for _, value, _ in series["points"] if value is not None]
    return {
        "id": series["metric"],
        "points": len(series["points"]),
        "step": series["points"][-1][0] if series["points"] else None,
        "first": values[0] if values else None,
        "last": values[-1] if values else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "spark": sparkline(values),
    }


def sparkline(values: list[float]) -> str:
    """The course of the values in a few characters."""
    if not values:
        return ""
    count = min(len(values), SPARK_POINTS)
    picked = [values[index * (len(values) - 1) // max(count - 1, 1)] for index in range(count)]
    low, high = min(picked), max(picked)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in picked)


def explain(run: RunRef, output: Output = Format.TABLE) -> None:
    """Say why a run is where it is."""
    with open_host() as host:
        show_explanation(host.explain(run), output)


def show_explanation(answer: Json, output: Format) -> None:
    """Why something is where it is: the sentence, then the numbers behind it."""
    fields = [(answer["id"], f"{answer['state']}: {answer['text']}"), *answer["details"].items()]
    show_item(output, answer, fields)
