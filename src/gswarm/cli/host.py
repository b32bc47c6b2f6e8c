"""``gswarm host``: start, look at and stop the host of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gswarm.cli.output import Format, Json, Output, duration, moment, say, show_item, size, warn
from gswarm.cli.reach import data_dir as default_data_dir
from gswarm.domain.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from gswarm.domain.config import Config
    from gswarm.sdk import Endpoint

app = typer.Typer(no_args_is_help=True, help="Start, look at and stop the host of this machine.")

STOP_TIMEOUT_S = 30.0

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Journal, certificates, pool and logs.  [GSWARM_DATA_DIR or ~/.gswarm]")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A config.yaml; flags go before it.")]


@app.command("start")
def start(
    port: Annotated[int | None, typer.Option("--port", help="Where clients connect.  [8090]")] = None,
    http_port: Annotated[int | None, typer.Option("--http-port", help="The REST API.  [8091]")] = None,
    pool_port: Annotated[int | None, typer.Option("--pool-port", help="Where clients fetch and leave blobs.  [8092]")] = None,
    model_port: Annotated[
        int | None, typer.Option("--model-port", help="For the model gateway, which this version does not have yet.")
    ] = None,
    bind: Annotated[str | None, typer.Option("--bind", metavar="ADDR", help="0.0.0.0 lets other machines in.  [127.0.0.1]")] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS between host and clients; on loopback only.")] = False,
    log_level: Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option("--log-format", help="text or json.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; the log goes to logs/host.log.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Run a host until Ctrl-C, or in the background with --detach."""
    flags = {
        "host.port": port,
        "host.http_port": http_port,
        "host.pool_port": pool_port,
        "host.bind": bind,
        "host.data_dir": str(data_dir) if data_dir is not None else _data_dir_from_environment(),
        "host.log_level": log_level,
        "host.log_format": log_format,
    }
    loaded = load_config(config, flags)
    if model_port is not None:
        warn(f"this version has no model gateway yet: nothing will listen on port {model_port}")
    if detach:
        document = _start_in_background(Path(loaded.host.data_dir).expanduser())
        show_item(output, document, _fields(document), key="http_url")
        if output is Format.TABLE:
            print_how_to_join(document["grpc_address"], Path(loaded.host.data_dir).expanduser())
        return
    from gswarm.host.daemon import run_host

    raise typer.Exit(run_host(loaded.host, insecure=insecure))


def load_config(path: Path | None, flags: dict[str, Any]) -> Config:
    """The file, over it the variables, over them the flags. Raises InvalidInputError and NotFoundError."""
    from gswarm.domain.config import load
    from gswarm.search.yaml_file import load_yaml

    mapping: object = None
    if path is not None:
        try:
            mapping = load_yaml(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}", "check --config") from error
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror}", "check --config") from error
    return load(mapping, os.environ, flags)


def _data_dir_from_environment() -> str | None:
    given = "GSWARM_DATA_DIR" in os.environ and "GSWARM_HOST_DATA_DIR" not in os.environ
    return str(default_data_dir()) if given else None


def _start_in_background(data_dir: Path) -> Json:
    """The same command without --detach as a process of its own; returns once it answers.

    Raises:
        UnavailableError: it ended, or did not answer in time.
    """
    from gswarm.cli.background import start_in_background
    from gswarm.sdk import local_host, read_endpoint

    def look(pid: int) -> Json:
        if read_endpoint(data_dir).pid != pid:
            raise NotFoundError(f"the host of {data_dir} is another process")
        with local_host(data_dir) as host:
            return {**host.ready(), "http_url": host.url, "grpc_address": host.grpc_address}

    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    pid, log, document = start_in_background(arguments, data_dir / "logs" / "host.log", look)
    return {**document, "pid": pid, "log": str(log)}


def print_how_to_join(grpc_address: str, data_dir: Path) -> None:
    """What to type next, on this machine and on others."""
    print(f"\non this machine    gswarm client connect {grpc_address}")
    print(f"on others          gswarm client connect {grpc_address} --token T   (T: gswarm token create --role client)")
    print(f"to stop it         gswarm host stop --data-dir {data_dir}")


@app.command("status")
def status(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Show whether a host runs from this data dir, where it answers, and how its journal and its disks fare."""
    from gswarm.sdk import local_host, read_endpoint

    home = data_dir if data_dir is not None else default_data_dir()
    try:
        endpoint = read_endpoint(home)
        with local_host(home) as host:
            found = host.status()
    except NotFoundError as error:
        raise _away(home, UnavailableError(f"no host runs from {home}", "start one: gswarm host start")) from error
    except UnavailableError as error:
        raise _away(home, error) from error
    document = {
        "ready": True,
        **found,
        "pid": endpoint.pid,
        "http_url": endpoint.url,
        "grpc_address": endpoint.grpc_address,
        "data_dir": str(home),
    }
    show_item(output, document, [*_fields(document), *_health(document)], key="http_url")


def _away(home: Path, otherwise: UnavailableError) -> UnavailableError:
    """Why the last host of that data dir ended, if it could say so."""
    from gswarm.host.last_words import read_last_words

    ending = read_last_words(home)
    if ending is None:
        return otherwise
    return UnavailableError(f"no host runs from {home}: the last one ended at {moment(ending.at_s)}", ending.error)


def _health(document: Json) -> list[tuple[str, str]]:
    journal, data, pool = document["journal"], document["disks"]["data"], document["disks"]["pool"]
    flush = "none yet" if journal["last_flush_ms"] is None else f"{journal['last_flush_ms']:.1f} ms"
    saved = "none yet" if journal["snapshot_age_s"] is None else f"{duration(journal['snapshot_age_s'])} ago"
    return [
        ("lag", f"{journal['lag_events']} events since the last snapshot ({saved}), last flush {flush}"),
        ("journal's size", f"{size(journal['size_bytes'])}, events {journal['oldest_event']} to {journal['newest_event']}"),
        ("disk left", f"{size(data['free_bytes'])} for the data dir, {size(pool['free_bytes'])} for the pool"),
        (
            "leases",
            f"{document['open_leases']} grants and {document['open_jobs']} jobs are open, {document['connected']} clients connected",
        ),
    ]


def _fields(document: Json) -> list[tuple[str, str]]:
    return [
        ("host", f"version {document['version']}, process {document['pid']}, up {duration(document['uptime_s'])}"),
        ("REST API", document["http_url"]),
        ("clients", f"{document['clients']} with {document['slots']} slots, connecting to {document['grpc_address']}"),
        ("journal", f"{document['seq']} events"),
        (
            "refused",
            f"{document['refused_reports']} reports whose lease was over, {document['refused_transfers']} transfers without a right, "
            f"{document['refused_metrics']} metrics of others' runs",
        ),
    ]


@app.command("stop")
def stop(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Stop the host of this data dir. What it knows is on disk; 'start' continues."""
    from gswarm.sdk import read_endpoint

    home = (data_dir if data_dir is not None else default_data_dir()).absolute()
    try:
        endpoint = read_endpoint(home)
    except NotFoundError as error:
        raise NotFoundError(f"no host runs from {home}", "'gswarm host status' shows where one does") from error
    terminate(endpoint, home)
    document = {"pid": endpoint.pid, "data_dir": str(home), "stopped": True}
    if output is Format.TABLE:
        say(output, f"the host of {home} is stopped")
    else:
        show_item(output, document, [], key="pid")


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; an older backup there is replaced once this one is complete.")],
    data_dir: DataDir = None,
    without_blobs: Annotated[
        bool, typer.Option("--without-blobs", help="Leave checkpoints, models and data out; the clients' copies must do then.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Write the plan, certificates, tokens, metrics, logs and blobs of this data dir to one file. The host may run meanwhile.

    The file holds the cluster's private key: whoever has it is the host.
    """
    from gswarm.host.backup.take import take_backup

    taken = take_backup(data_dir if data_dir is not None else default_data_dir(), file, with_blobs=not without_blobs)
    contents = taken.contents
    document = {
        "file": str(taken.path.absolute()),
        "size_bytes": taken.size_bytes,
        "cluster_id": contents.cluster_id,
        "events": contents.events,
        "files": len(contents.members) - taken.blobs,
        "blobs": taken.blobs,
        "missing_blobs": contents.missing_blobs,
        "taken_at": contents.taken_at_s,
    }
    fields = [
        ("backup", f"{document['file']}, {size(taken.size_bytes)}"),
        ("plan", f"of cluster {contents.cluster_id}, up to event {contents.events}"),
        ("blobs", f"{taken.blobs}" if not without_blobs else "left out"),
    ]
    if contents.missing_blobs:
        warn(f"{contents.missing_blobs} blobs that the plan refers to are not in this host's pool; clients may have them")
    show_item(output, document, fields, key="file")


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A file that 'gswarm host backup' wrote.")],
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Set up an empty data dir from a backup; 'gswarm host start' goes on from there.

    What clients trained after the backup does not count: they are told so when they come back, and their runs go on from the backup.
    """
    from gswarm.host.backup.restore import restore_backup

    restored = restore_backup(file, data_dir if data_dir is not None else default_data_dir())
    document = {
        "data_dir": str(restored.data_dir),
        "cluster_id": restored.contents.cluster_id,
        "events": restored.events,
        "epoch": restored.epoch,
        "runs": restored.runs,
        "taken_at": restored.contents.taken_at_s,
    }
    taken = moment(restored.contents.taken_at_s)
    fields = [
        ("restored", f"{restored.data_dir}, cluster {restored.contents.cluster_id}"),
        ("plan", f"of {taken}, {restored.runs} runs, {restored.events} events"),
        ("next", f"gswarm host start --data-dir {restored.data_dir}"),
    ]
    warn(f"tokens and clients that were revoked after {taken} are let in again: look at 'gswarm token list' once the host runs")
    show_item(output, document, fields, key="data_dir")


def terminate(endpoint: Endpoint, home: Path) -> None:
    """SIGTERM to the process that holds the data dir's lock, and to no other.

    Raises:
        NotFoundError: the process is gone, or its number belongs to something else now.
        ConflictError: it did not end in time.
    """
    import psutil

    gone = NotFoundError(f"no host runs from {home}", f"process {endpoint.pid}, which ran one, is gone")
    lock = (home / "host" / "lock").resolve()
    try:
        process = psutil.Process(endpoint.pid)
        if all(Path(file.path) != lock for file in process.open_files()):
            raise gone
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess as error:
        raise gone from error
    except psutil.AccessDenied as error:
        raise ConflictError(f"process {endpoint.pid} belongs to another account", "stop the host from there") from error
    except psutil.TimeoutExpired as error:
        raise ConflictError(f"the host (process {endpoint.pid}) did not end within {STOP_TIMEOUT_S:.0f} s", "look at its log") from error
