"""``gswarm events``: what happened in the cluster, and who did what."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Column, Format, Json, Output, column, moment, number, print_json, print_json_line, put, show_rows, text
from gswarm.cli.reach import open_host
from gswarm.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from gswarm.sdk import Host


class AuditKind(StrEnum):
    WRITES = "writes"
    REFUSALS = "refusals"


AUDIT_COLUMNS = (
    Column("when", lambda record: moment(record["at"])),
    column("who", "who"),
    column("from", "address"),
    Column("what", lambda record: f"{record['method']} {record['path']}"),
    column("outcome", "outcome"),
    number("status", "status"),
    Column("detail", lambda record: text(record["detail"] or (f"{record['unrecorded']} missing" if record["unrecorded"] else ""))),
)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen, until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many of the newest to begin with.")] = 50,
    after: Annotated[int | None, typer.Option("--after", min=0, help="All behind this event instead.")] = None,
    audit: Annotated[
        AuditKind | None, typer.Option("--audit", help="The audit log instead (administrators): changes, or callers who were refused.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened: every event of the plan, who asked for it, and when."""
    with open_host() as host:
        if audit is not None:
            if follow or after is not None:
                raise InvalidInputError("the audit log is not followed", "leave --follow and --after out")
            show_rows(output, host.audit(audit.value, last)[::-1], AUDIT_COLUMNS, key="number")
            return
        found = _events(host, last, after, follow)
        if output is Format.JSON and not follow:
            print_json(list(found))
            return
        for event in found:
            match output:
                case Format.JSON:
                    print_json_line(event)
                case Format.QUIET:
                    put(str(event["id"]))
                case Format.TABLE:
                    put(f"{event['id']:>6}  {moment(event['at'])}  {event['text']}")


def _events(host: Host, last: int, after: int | None, follow: bool) -> Iterator[Json]:
    journal = host.status()["journal"]
    newest = int(journal["newest_event"])
    start = after if after is not None else max(newest - last, int(journal["oldest_event"]) - 1, 0)
    if start >= newest and not follow:
        return
    for event in host.events(start):
        yield event
        if event["id"] >= newest and not follow:
            return
