"""The host of this account on this machine: where it answers, and the local administrator's token."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from gswarm.domain.errors import CorruptDataError, ForbiddenError, NotFoundError
from gswarm.sdk.host import Host


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a running host says about itself in ``host/endpoint.json``."""

    pid: int
    url: str
    grpc_address: str
    ca: Path | None
    token_file: Path


def default_data_dir() -> Path:
    """``GSWARM_DATA_DIR``, by default ``~/.gswarm``; where the command line looks, too."""
    return Path(os.environ.get("GSWARM_DATA_DIR") or "~/.gswarm").expanduser()


def read_endpoint(data_dir: Path | None = None) -> Endpoint:
    """Where the host of that data dir answers, or answered when it last ran.

    Raises:
        NotFoundError: no host ever ran from that folder, or it was stopped.
        CorruptDataError: the file is damaged.
        ForbiddenError: it belongs to another account.
    """
    home = (data_dir if data_dir is not None else default_data_dir()) / "host"
    path = home / "endpoint.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        ca = document["ca_path"]
        return Endpoint(
            pid=int(document["pid"]),
            url=str(document["http_url"]),
            grpc_address=str(document["grpc_address"]),
            ca=Path(ca) if ca else None,
            token_file=home / "admin.token",
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"no host runs from {home.parent}", "start one with 'gswarm host start'") from error
    except PermissionError as error:
        raise ForbiddenError(f"{path} belongs to another account", "use a token: gswarm login URL --token T") from error
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptDataError(f"{path} cannot be used", "start the host again") from error


def local_host(data_dir: Path | None = None) -> Host:
    """The running host of that data dir, as its local administrator. Raises like ``read_endpoint``."""
    endpoint = read_endpoint(data_dir)
    try:
        token = endpoint.token_file.read_text(encoding="utf-8").strip()
    except PermissionError as error:
        raise ForbiddenError(f"{endpoint.token_file} belongs to another account", "use a token: gswarm login URL --token T") from error
    except (OSError, ValueError) as error:
        raise NotFoundError(f"{endpoint.token_file} cannot be read", "start the host again, it writes a new one") from error
    return Host(endpoint.url, token, endpoint.ca, grpc_address=endpoint.grpc_address)
