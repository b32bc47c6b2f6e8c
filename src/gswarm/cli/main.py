"""The ``gswarm`` command. Modules are thin at the top: what a command needs is imported when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gswarm import __version__
from gswarm.cli import (
    alerts,
    chaos,
    client,
    completion,
    context,
    demo,
    doctor,
    events,
    experiment,
    host,
    init,
    profiler,
    run,
    simulate,
    token,
)
from gswarm.cli.output import one_line
from gswarm.domain.errors import GswarmError

EXIT_INTERRUPTED = 130


class GswarmGroup(TyperGroup):
    """Turns typed errors into one line on stderr and the exit code of their kind."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GswarmError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            # The reader (a pager, head) has what it wanted; nothing more may be written at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


app = typer.Typer(
    name="gswarm",
    cls=GswarmGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Train many fine-tuning configurations at the same time over all GPUs of a cluster, exactly, and steer them while they train.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gswarm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options before the command."""


for noun, commands in (
    ("host", host.app),
    ("client", client.app),
    ("experiment", experiment.app),
    ("run", run.app),
    ("profiler", profiler.app),
    ("token", token.app),
    ("context", context.app),
):
    app.add_typer(commands, name=noun)
app.command()(context.login)
app.command()(events.events)
app.command()(alerts.alerts)
app.command()(completion.completion)
app.command()(doctor.doctor)
app.command()(init.init)
app.command()(demo.demo)
app.command()(chaos.chaos)
app.command()(simulate.simulate)


def main() -> None:
    """The console script."""
    if completion.VARIABLE in os.environ:
        completion.answer_shell()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
