"""``gswarm chaos``: break the clients and trainers of this machine at random, and show that the work does not mind."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Column, Format, Output, column, duration, print_json, put, say, show_rows
from gswarm.cli.reach import data_dir as default_data_dir
from gswarm.cli.reach import known_ca, open_host
from gswarm.cli.token import parse_duration
from gswarm.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from gswarm.cli.chaos_deeds import Target
    from gswarm.cli.chaos_session import Report


def chaos(
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without it only what could be done is listed.")] = False,
    duration_: Annotated[str, typer.Option("--for", metavar="10m", help="How long: 90s, 10m, 2h.")] = "10m",
    every: Annotated[str, typer.Option("--every", metavar="30s", help="Mean pause between two deeds.")] = "30s",
    freeze: Annotated[str, typer.Option("--freeze", metavar="20s", help="How long a frozen process stands still.")] = "20s",
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed draws the same deeds.  [drawn]")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="DEED", help="One of the listed deeds; may be repeated.")] = None,
    data_dirs: Annotated[
        list[Path] | None, typer.Option("--data-dir", help="Of clients on this machine; may be repeated.  [GSWARM_DATA_DIR or ~/.gswarm]")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="At the end, train what trained meanwhile again and compare.")
    ] = True,
    output: Output = Format.TABLE,
) -> None:
    """Kill, freeze and cut off clients and trainers of this machine at random, and check that the work goes on exactly.

    Only processes of this account that run from the data dir and belong to the host's cluster are touched. Exits 1 if the work minded.
    """
    from gswarm.cli.chaos_deeds import Deed
    from gswarm.cli.chaos_session import Plan, Session

    unknown = sorted(set(only or ()) - set(Deed))
    if unknown:
        raise InvalidInputError(f"there is no deed {unknown[0]!r}", f"these are: {', '.join(Deed)}")
    plan = Plan(
        deeds=tuple(deed for deed in Deed if only is None or deed in only),
        for_s=parse_duration(duration_),
        every_s=parse_duration(every),
        freeze_s=parse_duration(freeze),
        seed=seed if seed is not None else random.SystemRandom().randrange(2**31),
    )
    with open_host() as host:
        session = Session(host, data_dirs or [default_data_dir()], known_ca(), plan, lambda line: say(output, line))
        if not yes:
            _list(session.possible(), output)
            return
        # Ended by SIGTERM it undoes what it is at, as by Ctrl-C: nothing stays frozen.
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        say(output, f"seed {plan.seed}, for {duration(plan.for_s)}")
        session.run()
        if verify:
            session.verify()
    _print(session.report, output)
    if session.report.faults:
        raise typer.Exit(1)


def _list(found: list[Target], output: Format) -> None:
    rows = [{"deed": target.deed.value, "client": target.client, "pid": target.process.pid, "about": target.deed.about} for target in found]
    columns = [column("deed", "deed"), column("client", "client"), Column("process", lambda row: str(row["pid"]), right=True)]
    empty = "nothing could be done: no client of this host runs here from that data dir, under this account"
    show_rows(output, rows, [*columns, column("what", "about")], key="pid", empty=empty)
    if rows:
        say(output, "nothing was done; 'gswarm chaos --yes --for 10m' does these at random, one at a time")


def _print(report: Report, output: Format) -> None:
    document = report.document()
    match output:
        case Format.JSON:
            print_json(document)
        case Format.QUIET:
            put("ok" if document["ok"] else "broken")
        case Format.TABLE:
            deeds = [column("deed", "deed"), column("client", "client"), column("outcome", "outcome")]
            show_rows(output, report.deeds, [*deeds, Column("went on after", lambda row: duration(row["went_on_after_s"]), right=True)])
            show_rows(output, report.runs, [column(name, name) for name in ("run", "from", "to", "identical")], key="run")
            put(f"{len(report.deeds)} deeds, {report.refused_reports} reports came too late and were refused, seed {report.seed}")
            for fault in report.faults:
                put(f"BROKEN  {fault}")
            if not report.faults:
                put("the work did not mind")
