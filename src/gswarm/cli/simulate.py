"""``gswarm simulate``: the real scheduler on a pretended cluster: how long an experiment would take, or whether every promise holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gswarm.cli.output import Format, Output, print_json_line
from gswarm.domain.errors import InvalidInputError


def simulate(
    experiment: Annotated[Path | None, typer.Option("--experiment", "-e", help="Forecast this experiment file.")] = None,
    cluster: Annotated[Path | None, typer.Option("--cluster", help="A cluster's description (docs/simulate.md).")] = None,
    clients: Annotated[int | None, typer.Option("--clients", min=1, help="Instead: so many machines that are alike.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Slots of each of them.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Training rows, where the data set is not a file here.")] = None,
    step_time_s: Annotated[float | None, typer.Option("--step-time", help="Seconds of a step of the base configuration.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the chart as a page.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Play this cluster and its failures.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="So many clusters, from that one on.")] = 1,
    output: Output = Format.TABLE,
) -> None:
    """Forecast an experiment on a cluster that need not exist; or, with --seed, play clusters that everything happens to.

    A forecast prints makespan, lower bound, first comparison, use of the slots and a Gantt chart. Seeds are checked for every promise at
    every step; exit code 1 at the first that fails.
    """
    if experiment is not None:
        if seed is not None:
            raise InvalidInputError("a forecast has no seed: nothing in it is random", "give either --experiment or --seed")
        from gswarm.cli.forecast import show_forecast

        show_forecast(experiment, cluster, clients, slots, rows, step_time_s, html, output)
        return
    if any(option is not None for option in (cluster, clients, slots, rows, step_time_s, html)):
        raise InvalidInputError("there is nothing to forecast", "give --experiment FILE; simulated failures draw their own clusters")
    _play(seed or 0, count, output)


def _play(seed: int, count: int, output: Format) -> None:
    from gswarm.simulator.run import Outcome, first_failure, report

    def tell(outcome: Outcome) -> None:
        scenario = outcome.scenario
        if output is Format.JSON:
            violation = str(outcome.violation) if outcome.violation is not None else None
            print_json_line({"seed": scenario.seed, "events": outcome.events, "digest": outcome.digest, "violation": violation})
        elif outcome.violation is None and output is Format.TABLE:
            print(
                f"seed {scenario.seed}: {len(scenario.clients)} clients, {len(scenario.happenings)} happenings, "
                f"{outcome.simulated_s:.0f} s, {outcome.events} events, digest {outcome.digest}"
            )

    failed = first_failure(seed, count, tell)
    if failed is not None:
        if output is not Format.JSON:
            print(report(failed))
        raise typer.Exit(1)
