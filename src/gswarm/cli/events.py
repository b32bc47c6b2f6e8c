"""``gswarm events``: what happened in the cluster, and who did what."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Column, Format, Json, Output, column, moment, number, print_json, print_json_line, put, show_rows, text
from gswarm.cli.reach import open_host
from gswarm.domain.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from gswarm.sdk import Host
    from gswarm.sdk.host import About


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
    experiment: Annotated[str | None, typer.Option("--experiment", "-e", help="Only what is about this experiment.")] = None,
    run: Annotated[str | None, typer.Option("--run", "-r", help="Only what is about this run.")] = None,
    client: Annotated[str | None, typer.Option("--client", "-c", help="Only what is about this client.")] = None,
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
            if experiment or run or client:
                raise InvalidInputError("the audit log is by caller, not by experiment, run or client", "leave them out")
            show_rows(output, host.audit(audit.value, last)[::-1], AUDIT_COLUMNS, key="number")
            return
        about = {"experiment": experiment, "run": run, "client": client}
        found = _followed(host, last, after, about) if follow else iter(_past(host, last, after, about))
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


def _past(host: Host, last: int, after: int | None, about: About) -> list[Json]:
    """The oldest first. Raises NotFoundError where not all behind ``after`` are kept."""
    if after is not None:
        journal = host.status()["journal"]
        if after + 1 < journal["oldest_event"]:
            raise NotFoundError(f"not all events behind {after} are kept any more", f"the oldest is {journal['oldest_event']}")
        last = max(journal["newest_event"] - after, 0)
    return [event for event in reversed(host.past_events(last, about)) if after is None or event["id"] > after]


def _followed(host: Host, last: int, after: int | None, about: About) -> Iterator[Json]:
    if after is None:
        after = int(host.ready()["seq"])
        past = _past(host, last, None, about)
        yield from past
        after = max([after, *(event["id"] for event in past)])
    yield from host.events(after, about=about)
