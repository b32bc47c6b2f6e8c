"""``gswarm experiment``: submit, look, steer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli import results as leaderboard
from gswarm.cli.output import (
    Column,
    Format,
    Json,
    Output,
    column,
    duration,
    moment,
    number,
    print_json,
    put,
    say,
    show_item,
    show_rows,
    text,
)
from gswarm.cli.reach import open_host
from gswarm.cli.run_data import show_explanation
from gswarm.domain.errors import GswarmError, TrainingError, error_from_code

if TYPE_CHECKING:
    from gswarm.sdk import Host

app = typer.Typer(no_args_is_help=True, help="Submit experiments, look at them, steer them.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="An experiment file (YAML).")]
Name = Annotated[str | None, typer.Option("--name", help="Takes the place of the file's own name.")]
ExperimentRef = Annotated[str, typer.Argument(metavar="E", help="Id or unique name.")]

COLUMNS = (
    column("id", "id"),
    column("name", "name"),
    column("state", "state"),
    number("runs", "runs"),
    Column("steps", lambda row: f"{row['steps_done']}/{row['steps_total']}", right=True),
    Column("best", lambda row: text(row["best"]["value"] if row["best"] else None), right=True),
    column("best run", "best_run"),
    Column("left", lambda row: duration(row["eta_s"]), right=True),
    Column("submitted", lambda row: moment(row["created_at"])),
)


@app.command("submit")
def submit(
    file: File,
    name: Name = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it is idle.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs it would make; submit nothing.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Submit an experiment, and wait until a client has checked its model and data."""
    if dry_run:
        _show_plan(file, name, output)
        return
    with open_host() as host:
        experiment = host.submit(file, name)
        if watch:
            _watch(host, experiment["id"], output)
            return
        say(output, f"{experiment['id']}: {runs_text(experiment['runs'])}; a client checks model and data now")
        _warn_without_clients(host, output)
        experiment = wait_until_prepared(host, experiment["id"])
    if output is Format.TABLE:
        put(f"{experiment['id']} ({experiment['name']}) is {experiment['state']} with {runs_text(experiment['runs'])}")
        print(f"follow it: gswarm experiment watch {experiment['id']}")
        return
    show_item(output, experiment, [])


def runs_text(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _warn_without_clients(host: Host, output: Format) -> None:
    if host.ready()["clients"] == 0:
        say(output, "no client is connected yet; start one: gswarm client connect HOST:8090")


def wait_until_prepared(host: Host, ref: str) -> Json:
    """The experiment once it is queued. Raises the reason as a typed error when it was rejected."""
    after = int(host.ready()["seq"])
    experiment = host.experiment(ref)
    events = host.events(after)
    while experiment["state"] == "preparing":
        event = next(events, None)
        if event is None:
            raise GswarmError("the host ended the event stream", f"ask again: gswarm experiment show {ref}")
        if event["type"] in ("job_finished", "experiment_op_requested"):
            experiment = host.experiment(ref)
    raise_if_rejected(experiment)
    return experiment


def raise_if_rejected(experiment: Json) -> None:
    """Raises the experiment's failure as a typed error."""
    failure = experiment["failure"]
    if experiment["state"] == "rejected" and failure is not None:
        raise error_from_code(
            failure["code"], f"{experiment['name']} was rejected: {failure['message']}", "nothing was queued; correct it and submit again"
        )


@app.command("validate")
def validate(file: File, name: Name = None, output: Output = Format.TABLE) -> None:
    """Check an experiment file and print the runs it makes. Needs no host."""
    _show_plan(file, name, output)


def _show_plan(file: Path, name: str | None, output: Format) -> None:
    from gswarm.sdk.plan import plan_file

    plan = plan_file(file, name)
    if output is not Format.TABLE:
        if output is Format.JSON:
            print_json(plan)
        else:
            put(plan["name"])
        return
    for note in plan["notes"]:
        put(f"note: {note}")
    rows = [{"id": str(index), "changes": run["changes"]} for index, run in enumerate(plan["runs"], start=1)]
    show_rows(output, rows, [number("run", "id"), column("changes", "changes")])
    put(f"{plan['name']}: the file is valid and makes {runs_text(len(rows))}; model and data are checked when it is submitted")


@app.command("list")
def list_experiments(output: Output = Format.TABLE) -> None:
    """Show experiments, the newest first."""
    with open_host() as host:
        rows = host.experiments()
    show_rows(output, rows, COLUMNS, empty="no experiments; submit one: gswarm experiment submit FILE")


@app.command("show")
def show(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Show one experiment in full."""
    with open_host() as host:
        document = host.experiment(experiment)
    best, failure = document["best"], document["failure"]
    fields = [
        ("id", document["id"]),
        ("name", document["name"]),
        ("state", document["state"] + (f" ({failure['code']}: {failure['message']})" if failure else "")),
        ("runs", f"{document['runs']} ({text(document['states'])})"),
        ("steps", f"{document['steps_done']} of {document['steps_total']}"),
        ("time left", duration(document["eta_s"])),
        ("metric", f"{document['metric']['name']} ({document['metric']['goal']})"),
        ("best", f"{text(best['value'])} by {document['best_run']} at step {best['step']}" if best else "-"),
        ("priority", text(document["priority"])),
        ("max skew", f"{document['max_skew']} chunks"),
        ("submitted", moment(document["created_at"])),
        ("ended", moment(document["ended_at"])),
    ]
    show_item(output, document, fields)


@app.command("watch")
def watch(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Follow an experiment live until it is idle, then print its leaderboard."""
    with open_host() as host:
        _watch(host, host.experiment(experiment)["id"], output)


def _watch(host: Host, experiment_id: str, output: Format) -> None:
    from gswarm.cli.watch import watch_experiment

    ended = watch_experiment(host, experiment_id, output)
    raise_if_rejected(ended)
    if output is Format.TABLE:
        leaderboard.show_results(host, ended, None, output)
    elif output is Format.QUIET:
        print(experiment_id)
    alive = {state for state in ended["states"] if state not in ("deleting", "deleted")}
    if alive == {"failed"}:
        raise TrainingError(f"every run of {ended['name']} failed", f"see why: gswarm run list {ended['id']}, gswarm run logs R")


@app.command("results")
def results(
    experiment: ExperimentRef,
    metric: Annotated[str | None, typer.Option("--metric", "-m", help="Sort by another metric.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Print the leaderboard."""
    with open_host() as host:
        leaderboard.show_results(host, host.experiment(experiment), metric, output)


@app.command("explain")
def explain(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Say why an experiment is where it is."""
    with open_host() as host:
        show_explanation(host.explain_experiment(experiment), output)


@app.command("stop")
def stop(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Stop every run that can be stopped."""
    with open_host() as host:
        _done(host.stop_experiment(experiment), output)


@app.command("resume")
def resume(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Resume every run that can be resumed."""
    with open_host() as host:
        _done(host.resume_experiment(experiment), output)


@app.command("delete")
def delete(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Delete every run; 'restore' brings them back until their checkpoints are swept."""
    with open_host() as host:
        _done(host.delete_experiment(experiment), output)


@app.command("restore")
def restore(experiment: ExperimentRef, output: Output = Format.TABLE) -> None:
    """Undo a deletion."""
    with open_host() as host:
        _done(host.restore_experiment(experiment), output)


def _done(document: Json, output: Format) -> None:
    match output:
        case Format.TABLE:
            put(f"{document['id']} ({document['name']}) is {document['state']}: {text(document['states'])}")
        case _:
            show_item(output, document, [])
