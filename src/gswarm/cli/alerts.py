"""``gswarm alerts``: what is wrong in the cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from gswarm.cli.output import Column, Format, Json, Output, column, moment, show_rows
from gswarm.cli.reach import open_host


def subject(alert: Json) -> str:
    """``a gpu:0``, ``r3``, or ``host``."""
    return " ".join(part for part in (alert["client"], alert["device"], alert["run"]) if part) or "host"


COLUMNS = (
    Column("since", lambda alert: moment(alert["since"])),
    Column("until", lambda alert: moment(alert["until"])),
    column("severity", "severity"),
    column("rule", "rule"),
    Column("about", subject),
    column("what", "text"),
)


def alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were over in the last hour.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show what is wrong now, the worst first, and what to do about it."""
    with open_host() as host:
        rows = host.alerts()
    show_rows(output, [row for row in rows if everything or row["until"] is None], COLUMNS, empty="nothing is wrong")
