"""``gswarm client``: join this machine to a cluster, look at its clients, steer them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.host import ConfigFile, load_config
from gswarm.cli.output import Column, Format, Json, Output, column, moment, print_json, put, say, show_item, show_rows, size, text
from gswarm.cli.reach import data_dir as default_data_dir
from gswarm.cli.reach import open_host
from gswarm.domain.errors import GswarmError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from gswarm.domain.config import ClientConfig

app = typer.Typer(no_args_is_help=True, help="Join this machine to a cluster, look at its clients, steer them.")

TOKEN_TTL_S = 600.0
TOKEN_VARIABLE = "GSWARM_JOIN_TOKEN"  # noqa: S105 - the name of a variable

ClientName = Annotated[str, typer.Argument(metavar="N", help="Name of a client.")]


@app.command("connect")
def connect(
    host: Annotated[str | None, typer.Argument(metavar="HOST:8090", help="Where the host listens for clients.")] = None,
    token: Annotated[str | None, typer.Option("--token", envvar=TOKEN_VARIABLE, help="A join token; needed once on each machine.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="In the cluster.  [the machine's name]")] = None,
    slots: Annotated[str | None, typer.Option("--slots", metavar="auto|cpu:2|gpu:0,1", help="What trains here.  [auto]")] = None,
    slots_per_gpu: Annotated[int | None, typer.Option("--slots-per-gpu", metavar="K", help="Runs on one GPU at once.  [1]")] = None,
    labels: Annotated[list[str] | None, typer.Option("--label", metavar="k=v", help="Words of your own; may be repeated.")] = None,
    resilient: Annotated[bool, typer.Option("--resilient", help="Reconnect for ever, and train on meanwhile.")] = False,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Certificate, pool and logs.  [GSWARM_DATA_DIR or ~/.gswarm]")] = None,
    config: ConfigFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="The host was started with --insecure.")] = False,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option("--log-format", help="text or json.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; the log goes to logs/client-<name>.log.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Train for a host until Ctrl-C. On the host's own machine and account no token is needed."""
    flags = {
        "client.host": host,
        "client.name": name,
        "client.slots": slots,
        "client.slots_per_gpu": slots_per_gpu,
        "client.labels": _labels(labels) if labels else None,
        "client.resilient": True if resilient else None,
        "client.data_dir": str(data_dir) if data_dir is not None else _data_dir_from_environment(),
        "client.log_level": log_level,
        "client.log_format": log_format,
    }
    loaded = load_config(config, flags).client
    if loaded.host is None:
        raise InvalidInputError("no host was named", "for example: gswarm client connect 10.0.0.1:8090 --token T")
    os.environ.pop(TOKEN_VARIABLE, None)  # trainer processes need not know it
    if detach:
        _connect_in_background(loaded, token, output)
        return
    from gswarm.client.daemon import run_client

    if token is None and not insecure:
        token = local_join_token(loaded)
    raise typer.Exit(run_client(loaded, token=token, insecure=insecure))


def local_join_token(config: ClientConfig) -> str | None:
    """A join token of the host that this account runs on this machine, if that is where the config leads; else ``None``.

    Also for a machine that has joined before: the host may have begun anew with another certificate authority.
    """
    from gswarm.sdk import local_host, read_endpoint

    for home in dict.fromkeys((default_data_dir(), Path(config.data_dir).expanduser())):
        try:
            if is_address_of(config.host or "", read_endpoint(home).grpc_address):
                with local_host(home) as host:
                    return str(host.create_token("client", TOKEN_TTL_S, client=config.name or socket.gethostname())["token"])
        except GswarmError:
            # Without the local credential the client says itself whether it needs a token, and how to make one.
            continue
    return None


def is_address_of(wanted: str, known: str) -> bool:
    """Whether ``wanted`` names the same port on this machine as ``known``, the address that a local host wrote down."""
    name, colon, port = wanted.rpartition(":")
    if not colon:
        name, port = wanted, known.rpartition(":")[2]
    return port == known.rpartition(":")[2] and _is_this_machine(name.strip("[]"))


def _is_this_machine(name: str) -> bool:
    """A socket can be bound to an address only where it is one of the machine's own."""
    try:
        for family, kind, _, _, place in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.bind(place)
                return True
    except OSError:
        return False
    return False


def _connect_in_background(config: ClientConfig, token: str | None, output: Format) -> None:
    """The same command without --detach as a process of its own; returns once the host has it."""
    from gswarm.cli.background import start_in_background
    from gswarm.wire.certificates import check_client_name

    name = check_client_name(config.name or socket.gethostname())
    arguments = _without_token([argument for argument in sys.argv[1:] if argument != "--detach"])
    log = Path(config.data_dir).expanduser() / "logs" / f"client-{name}.log"

    def look(pid: int) -> Json:
        with open_host() as host:
            document = host.client(name)
        if not document["connected"]:
            raise NotFoundError(f"client {name} is not connected yet")
        return {**document, "pid": pid}

    pid, log, document = start_in_background(arguments, log, look, {TOKEN_VARIABLE: token} if token is not None else {})
    fields = [("client", name), ("slots", text([slot["id"] for slot in document["slots"]])), ("process", str(pid)), ("log", str(log))]
    show_item(output, {**document, "log": str(log)}, fields, key="name")


def _without_token(arguments: list[str]) -> list[str]:
    """What a process was started with is shown to every account of the machine for as long as it runs."""
    kept = [argument for argument in arguments if not argument.startswith("--token=")]
    if "--token" in kept:
        place = kept.index("--token")
        del kept[place : place + 2]
    return kept


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInputError(f"{pair!r} is not k=v", "for example --label rack=b2")
        labels[key] = value
    return labels


def _data_dir_from_environment() -> str | None:
    given = "GSWARM_DATA_DIR" in os.environ and "GSWARM_CLIENT_DATA_DIR" not in os.environ
    return str(default_data_dir()) if given else None


@app.command("list")
def list_clients(output: Output = Format.TABLE) -> None:
    """Show the clients."""
    with open_host() as host:
        rows = host.clients()
    columns = [
        column("name", "name"),
        column("state", "state"),
        Column("slots", lambda row: str(len(row["slots"])), right=True),
        Column("busy", lambda row: str(sum(1 for slot in row["slots"] if slot["runs"])), right=True),
        Column("devices", lambda row: text(sorted({slot["device_name"] or slot["device"] for slot in row["slots"]}))),
        Column("trains", lambda row: text([slot["runs"][0] for slot in row["slots"] if slot["runs"]])),
        column("version", "version"),
        column("labels", "labels"),
    ]
    show_rows(output, rows, columns, key="name", empty="no clients; on a machine that trains: gswarm client connect HOST:8090 --token T")


@app.command("show")
def show(name: ClientName, output: Output = Format.TABLE) -> None:
    """Show one client and what its slots do."""
    with open_host() as host:
        document = host.client(name)
    slots = "\n".join(_slot_line(slot) for slot in document["slots"])
    fields = [
        ("name", document["name"]),
        ("state", document["state"] + (f" ({document['lost_reason']})" if document["lost_reason"] else "")),
        ("connected", text(document["connected"])),
        ("version", document["version"]),
        ("since", moment(document["registered_at"])),
        ("certificate", _certificate(document)),
        ("labels", text(document["labels"])),
        ("slots", slots),
    ]
    show_item(output, document, fields, key="name")


def _certificate(document: Json) -> str:
    end = document["certificate_expires_at"]
    return f"ends {moment(end)}; the client renews it before" if end is not None else "-"


def _slot_line(slot: Json) -> str:
    device = f"{slot['device_name'] or slot['device']}, {slot['threads']} threads, {size(slot['memory_bytes'])}"
    return f"{slot['id']}  {device}: {slot['explanation']}"


def _done(document: Json, line: str, output: Format) -> None:
    if output is Format.JSON:
        print_json(document)
    elif output is Format.QUIET:
        put(document["name"])
    else:
        say(output, line)


@app.command("drain")
def drain(name: ClientName, output: Output = Format.TABLE) -> None:
    """Let a client finish what it holds and give it nothing new."""
    with open_host() as host:
        _done(
            host.drain_client(name), f"{name} finishes what it holds and gets nothing new; undo with: gswarm client resume {name}", output
        )


@app.command("resume")
def resume(name: ClientName, output: Output = Format.TABLE) -> None:
    """Give a client work again."""
    with open_host() as host:
        _done(host.resume_client(name), f"{name} takes work again", output)


@app.command("disconnect")
def disconnect(
    name: ClientName,
    revoke: Annotated[bool, typer.Option("--revoke", help="Cut it off now, and never take its certificate again.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Ask a client to leave; it hands in what it has and ends."""
    with open_host() as host:
        if revoke:
            host.revoke_client(name)
            _done({"name": name, "revoked": True}, f"{name} is cut off and its certificate is revoked", output)
            return
        _done(host.disconnect_client(name), f"{name} was asked to leave", output)
