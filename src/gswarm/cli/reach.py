"""Which host a command speaks to: GSWARM_HOST, else the chosen context, else the host of this account on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gswarm.domain.errors import InvalidInputError, NotFoundError, StorageError, UnauthenticatedError, UnavailableError

if TYPE_CHECKING:
    from gswarm.sdk import Host

LOCAL = "local"
"""The name of the context that means this machine's host."""


@dataclass(frozen=True, slots=True)
class Context:
    """A host that somebody logged in to."""

    url: str
    token: str
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    current: str
    known: dict[str, Context]


def data_dir() -> Path:
    """``GSWARM_DATA_DIR``, by default ``~/.gswarm``."""
    return Path(os.environ.get("GSWARM_DATA_DIR") or "~/.gswarm").expanduser()


def contexts_file() -> Path:
    return data_dir() / "contexts.json"


def read_contexts() -> Contexts:
    """Raises InvalidInputError when the file is not what ``write_contexts`` wrote."""
    try:
        document = json.loads(contexts_file().read_text())
        contexts = Contexts(document["current"], {name: Context(**entry) for name, entry in document["known"].items()})
        texts = [contexts.current, *(text for entry in contexts.known.values() for text in (entry.url, entry.token, entry.ca or ""))]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a text is none")
        return contexts
    except FileNotFoundError:
        return Contexts(LOCAL, {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInputError(f"{contexts_file()} is damaged", "remove it and log in again") from error


def write_contexts(contexts: Contexts) -> None:
    """Replaces the file in one step; only the account may read it, it holds tokens. Raises StorageError."""
    path = contexts_file()
    document = {"current": contexts.current, "known": {name: asdict(entry) for name, entry in contexts.known.items()}}
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(document, out, indent=2)
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", "correct the folder's owner and mode") from error


def open_host() -> Host:
    """The host that commands speak to.

    Raises:
        UnavailableError: no host is known.
        UnauthenticatedError: GSWARM_HOST is set without GSWARM_TOKEN.
    """
    from gswarm.sdk import Host, local_host

    url, token = os.environ.get("GSWARM_HOST"), os.environ.get("GSWARM_TOKEN")
    if url:
        known = next((entry for entry in read_contexts().known.values() if entry.url == url.rstrip("/")), None)
        token = token or (known.token if known else None)
        if not token:
            raise UnauthenticatedError("GSWARM_HOST is set, but no token", f"set GSWARM_TOKEN, or: gswarm login {url} --token T")
        ca = os.environ.get("GSWARM_CA") or (known.ca if known else None)
        return Host(url, token, Path(ca) if ca else None)
    contexts = read_contexts()
    if contexts.current != LOCAL:
        entry = contexts.known[contexts.current]
        return Host(entry.url, token or entry.token, Path(entry.ca) if entry.ca else None)
    try:
        return local_host(data_dir())
    except NotFoundError as error:
        raise UnavailableError(
            f"no host is known: none runs from {data_dir()}", "start one with 'gswarm host start', or 'gswarm login URL --token T'"
        ) from error


def known_ca() -> bytes | None:
    """The cluster's CA, as PEM, of the host that commands speak to: its own host's on this machine, else as it was given at login."""
    from gswarm.sdk import read_endpoint

    url = os.environ.get("GSWARM_HOST")
    contexts = read_contexts()
    path: str | Path | None
    if url:
        known = next((entry for entry in contexts.known.values() if entry.url == url.rstrip("/")), None)
        path = os.environ.get("GSWARM_CA") or (known.ca if known else None)
    elif contexts.current != LOCAL:
        path = contexts.known[contexts.current].ca
    else:
        path = read_endpoint(data_dir()).ca
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "log in again with --ca") from error
