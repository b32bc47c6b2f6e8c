"""``gswarm login`` and ``gswarm context``: which hosts the command line knows, and which one it speaks to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gswarm.cli import reach
from gswarm.cli.output import Format, Output, column, say, show_item, show_rows
from gswarm.domain.errors import InvalidInputError, NotFoundError

app = typer.Typer(no_args_is_help=True, help="The hosts this command line knows.")


def login(
    url: Annotated[str, typer.Argument(help="For example https://gpu-box:8091")],
    token: Annotated[str | None, typer.Option("--token", help="An API token; asked for when left out.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the context; by default the host's address.")] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="The host's CA: a copy of its host/tls/ca.pem.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Remember a host and its token, and speak to it from now on."""
    from gswarm.sdk import Host

    if token is None:
        if not sys.stdin.isatty():
            raise InvalidInputError("no token was given", "add --token T; an administrator makes one with 'gswarm token create'")
        token = typer.prompt("token", hide_input=True)
    with Host(url, token, ca) as host:
        who = host.whoami()
        address = host.url
    name = name or address.partition("//")[2]
    if name == reach.LOCAL:
        raise InvalidInputError("'local' always means this machine's own host", "choose another --name")
    contexts = reach.read_contexts()
    entry = reach.Context(address, token, str(ca.resolve()) if ca is not None else None)
    reach.write_contexts(reach.Contexts(name, {**contexts.known, name: entry}))
    document = {"name": name, "url": address, "role": who["role"]}
    show_item(output, document, [("context", name), ("host", address), ("role", who["role"])], key="name")


@app.command("list")
def list_contexts(output: Output = Format.TABLE) -> None:
    """Show the known hosts; the star is the one in use."""
    contexts = reach.read_contexts()
    rows = [{"name": reach.LOCAL, "url": f"the host of {reach.data_dir()}", "current": contexts.current == reach.LOCAL}]
    rows += [{"name": name, "url": entry.url, "current": name == contexts.current} for name, entry in contexts.known.items()]
    starred = [{**row, "star": "*" if row["current"] else " "} for row in rows] if output is Format.TABLE else rows
    show_rows(output, starred, [column("", "star"), column("name", "name"), column("host", "url")], key="name")


@app.command("use")
def use(name: Annotated[str, typer.Argument(help="A name of 'context list'.")], output: Output = Format.TABLE) -> None:
    """Speak to that host from now on; 'local' is this machine's own."""
    contexts = reach.read_contexts()
    if name != reach.LOCAL and name not in contexts.known:
        raise NotFoundError(f"there is no context {name!r}", f"known: {', '.join([reach.LOCAL, *contexts.known])}")
    reach.write_contexts(reach.Contexts(name, contexts.known))
    match output:
        case Format.TABLE:
            say(output, f"now speaking to {name}")
        case _:
            show_item(output, {"name": name}, [], key="name")
