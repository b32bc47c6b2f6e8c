"""``gswarm token``: who may join the cluster or speak to its API."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from typing import Annotated

import typer

from gswarm.cli.output import Column, Format, Json, Output, column, moment, print_json, say, show_rows
from gswarm.cli.reach import open_host
from gswarm.domain.errors import InvalidInputError

app = typer.Typer(no_args_is_help=True, help="Tokens: who may join the cluster or speak to its API.")

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RoleName(StrEnum):
    CLIENT = "client"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``7d``; more than none. Raises InvalidInputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None or not float(match[1]):
        raise InvalidInputError(f"{text!r} is not a duration", "write 90s, 15m, 1h or 7d")
    return float(match[1]) * UNITS_S[match[2] or "s"]


@app.command("create")
def create(
    role: Annotated[RoleName, typer.Option("--role", help="client joins machines; the others speak to the API.")],
    ttl: Annotated[str | None, typer.Option("--ttl", help="How long it lives: 15m, 1h, 7d.  [client: 1h, others: no end]")] = None,
    uses: Annotated[int | None, typer.Option("--uses", min=1, help="How many machines may join with it.  [client: 1]")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The client that joins; lets a machine that lost its certificate back in.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a token. It is shown this once."""
    with open_host() as host:
        created = host.create_token(role, parse_duration(ttl) if ttl is not None else None, uses, name)
        address = host.grpc_address
    if output is Format.JSON:
        print_json(created)
        return
    print(created["token"])
    if role is RoleName.CLIENT:
        say(output, f"join with: gswarm client connect {address or 'HOST:8090'} --token {created['token']}")


def token_state(row: Json) -> str:
    """``revoked``, ``used``, ``expired`` or ``valid``, by this machine's clock."""
    if row["revoked_at"] is not None:
        return "revoked"
    if row["uses_left"] == 0:
        return "used"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= time.time() else "valid"


@app.command("list")
def list_tokens(output: Output = Format.TABLE) -> None:
    """Show the tokens, without their secrets."""
    with open_host() as host:
        rows = host.tokens()
    columns = [
        column("id", "id"),
        column("role", "role"),
        Column("state", token_state),
        Column("created", lambda row: moment(row["created_at"])),
        Column("expires", lambda row: moment(row["expires_at"])),
        column("uses left", "uses_left"),
        Column("last used", lambda row: moment(row["last_used_at"])),
    ]
    show_rows(output, rows, columns)


@app.command("revoke")
def revoke(token_id: Annotated[str, typer.Argument(metavar="ID")], output: Output = Format.TABLE) -> None:
    """End a token now, and of a client token also the certificates of the machines that joined with it."""
    with open_host() as host:
        revoked = host.revoke_token(token_id)
    match output:
        case Format.JSON:
            print_json(revoked)
        case Format.QUIET:
            print(revoked["id"])
        case Format.TABLE:
            cut = f"; cut off: {', '.join(revoked['clients'])}" if revoked["clients"] else ""
            say(output, f"token {revoked['id']} is revoked{cut}")
