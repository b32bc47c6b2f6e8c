"""``gswarm run``: look at runs and steer them while they train."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli import run_data, run_jobs
from gswarm.cli.output import (
    Column,
    Format,
    Json,
    Output,
    column,
    duration,
    moment,
    number,
    one_line,
    print_json,
    say,
    show_item,
    show_rows,
    text,
    warn,
)
from gswarm.cli.reach import open_host
from gswarm.cli.select import Of, Runs, Where, chosen, matching, require_choice
from gswarm.domain.errors import GswarmError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from gswarm.sdk import Host

app = typer.Typer(no_args_is_help=True, help="Look at runs and steer them while they train.")

RunRef = Annotated[str, typer.Argument(metavar="R", help="Id or unique name.")]

COLUMNS = (
    column("id", "id"),
    column("state", "state"),
    Column("steps", lambda run: f"{run['current_step']}/{run['total_steps']}", right=True),
    Column("chunks", lambda run: f"{run['chunks_done']}/{run['chunks_total']}", right=True),
    Column("loss", lambda run: text(run["metrics"].get("loss")), right=True),
    Column("best", lambda run: text(run["best"]["value"] if run["best"] else None), right=True),
    column("slot", "slot"),
    Column("left", lambda run: duration(run["eta_s"]), right=True),
    column("changes", "changes"),
)


@app.command("list")
def list_runs(
    experiment: Annotated[str | None, typer.Argument(metavar="[E]", help="Only runs of this experiment.")] = None,
    where: Where = None,
    all_runs: Annotated[bool, typer.Option("--all", "-a", help="Deleted ones too.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show runs."""
    with open_host() as host:
        states = ALL_STATES if all_runs else ()
        rows = matching(host.runs(experiment, states), where)
    show_rows(output, rows, COLUMNS, empty="no runs; submit some: gswarm experiment submit FILE")


ALL_STATES = ("queued", "running", "stopping", "stopped", "completed", "failed", "pruned", "deleting", "deleted")


@app.command("show")
def show(run: RunRef, output: Output = Format.TABLE) -> None:
    """Show one run in full."""
    with open_host() as host:
        document = host.run(run)
    show_item(output, document, _fields(document))


def _fields(run: Json) -> list[tuple[str, str]]:
    best, failure = run["best"], run["failure"]
    verified = run["verification"]
    start = f"warm, {run['warm_start']}: its step {run['start']['step']}" if run["start"] else "cold"
    origin = f"{run['parent']} ({start})" if run["parent"] else "the search"
    return [
        ("id", run["id"]),
        ("name", run["name"]),
        ("experiment", run["experiment"]),
        ("state", run["state"] + (f" ({failure['code']}: {failure['message']})" if failure else "")),
        ("possible", ", ".join(run["possible"])),
        ("position", f"step {run['position']} of {run['total_steps']}, epoch {text(run['epoch'])}"),
        ("chunks", f"{run['chunks_done']} of {run['chunks_total']}"),
        ("trains on", text(run["slot"])),
        ("time left", duration(run["eta_s"])),
        ("step time", duration(run["step_time_s"])),
        ("metrics", text(run["metrics"])),
        ("best", f"{best['metric']} {text(best['value'])} at step {best['step']}" if best else "-"),
        ("comes from", origin),
        ("changes", text(run["changes"])),
        ("verified", text(verified)),
        ("generation", text(run["generation"])),
        ("created", moment(run["created_at"])),
        ("spec", "\n".join(f"{key}: {text(value)}" for key, value in run["spec"].items() if value is not None)),
    ]


def each(refs: list[str], act: Callable[[str], Json], output: Format, done: Callable[[Json], str]) -> None:
    """Does the same to several runs; one that refuses does not keep the others from it, and the exit code tells.

    ``done`` says what happened, as in ``stopped at step 12 of 40``.
    """
    documents: list[Json] = []
    failed: GswarmError | None = None
    for ref in refs:
        try:
            document = act(ref)
        except UnavailableError:
            raise
        except GswarmError as error:
            if len(refs) == 1:
                raise
            failed = error
            warn(f"error: {one_line(error)}" if ref in error.message else f"error: {ref}: {one_line(error)}")
            continue
        documents.append(document)
        if output is Format.QUIET:
            print(document["id"])
        say(output, f"{document['id']}: {done(document)}")
    if output is Format.JSON:
        print_json(documents)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _stopped(run: Json) -> str:
    if run["state"] == "stopping":
        return f"stopping at its next step, now at step {run['current_step']} of {run['total_steps']}"
    return f"{_standing(run)}; go on with: gswarm run resume {run['id']}"


def _resumed(run: Json) -> str:
    return f"{run['state']}, goes on from step {run['position']} of {run['total_steps']}"


def _deleted(run: Json) -> str:
    return f"{run['state']}; undo with: gswarm run restore {run['id']}"


def _standing(run: Json) -> str:
    return f"{run['state']} at step {run['position']} of {run['total_steps']}"


def _cloned(run: Json) -> str:
    start = f"with its weights of step {run['start']['step']}" if run["start"] else "from the beginning"
    return f"{run['state']}, a clone of {run['parent']} {start}, at step {run['position']} of {run['total_steps']}"


@app.command("stop")
def stop(runs: Runs = None, where: Where = None, experiment: Of = None, output: Output = Format.TABLE) -> None:
    """Stop runs at their next step."""
    require_choice(runs, where)
    with open_host() as host:
        each(chosen(host, runs, where, experiment), host.stop_run, output, _stopped)


@app.command("resume")
def resume(runs: Runs = None, where: Where = None, experiment: Of = None, output: Output = Format.TABLE) -> None:
    """Continue runs from exactly where they stopped."""
    require_choice(runs, where)
    with open_host() as host:
        each(chosen(host, runs, where, experiment), host.resume_run, output, _resumed)


@app.command("delete")
def delete(runs: Runs = None, where: Where = None, experiment: Of = None, output: Output = Format.TABLE) -> None:
    """Delete runs; 'restore' brings them back until their checkpoints are swept."""
    require_choice(runs, where)
    with open_host() as host:
        each(chosen(host, runs, where, experiment), host.delete_run, output, _deleted)


@app.command("restore")
def restore(runs: Annotated[list[str], typer.Argument(metavar="R...")], output: Output = Format.TABLE) -> None:
    """Undo a deletion."""
    with open_host() as host:
        each(list(dict.fromkeys(runs)), host.restore_run, output, _standing)


@app.command("clone")
def clone(
    runs: Runs = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="key=value", help="A key of the run to change; may be repeated.")
    ] = None,
    warm_start: Annotated[
        str | None, typer.Option("--warm-start", metavar="latest|best|STEP", help="Begin with the parent's weights; cold without it.")
    ] = None,
    where: Where = None,
    experiment: Of = None,
    output: Output = Format.TABLE,
) -> None:
    """Make new runs out of others, with changes."""
    require_choice(runs, where)
    wanted = parse_changes(changes or [])
    with open_host() as host:
        refs = chosen(host, runs, where, experiment)
        each(refs, lambda ref: host.clone_run(ref, wanted, warm_start), output, _cloned)


def parse_changes(pairs: list[str]) -> Json:
    """``key=value`` pairs; values are YAML scalars on the host. Raises InvalidInputError."""
    changes: Json = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InvalidInputError(f"{pair!r} is not key=value", "for example --set learning_rate=1e-4")
        if key in changes:
            raise InvalidInputError(f"{key} is set twice", "give each key once")
        changes[key] = value.strip()
    return changes


@app.command("diff")
def diff(left: RunRef, right: RunRef, output: Output = Format.TABLE) -> None:
    """Show what differs between two runs: configuration, position, metrics."""
    with open_host() as host:
        rows = differences(host, left, right)
    columns = [column("what", "id"), number(left, "left"), number(right, "right")]
    show_rows(output, rows, columns, empty="no difference")


def differences(host: Host, left: str, right: str) -> list[Json]:
    """What two runs do not have in common, one row a key."""
    one, other = host.run(left), host.run(right)
    pairs = [
        (kind, key, one[kind].get(key), other[kind].get(key))
        for kind in ("spec", "metrics")
        for key in dict.fromkeys([*one[kind], *other[kind]])
    ]
    pairs += [("run", key, one[key], other[key]) for key in ("state", "position", "total_steps", "step_time_s")]
    return [{"id": key, "kind": kind, "left": this, "right": that} for kind, key, this, that in pairs if this != that]


app.command("logs")(run_data.logs)
app.command("metrics")(run_data.metrics)
app.command("explain")(run_data.explain)
app.command("verify")(run_jobs.verify)
app.command("export")(run_jobs.export)
