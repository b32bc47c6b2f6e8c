"""Files that only their owner may read, written so that a crash leaves the old or the new ones."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gswarm.domain.errors import NotFoundError, StorageError


def save_private(directory: Path, contents: dict[str, bytes]) -> None:
    """Writes files (mode 0600) into a directory (mode 0700), each replaced in one step and flushed.

    Raises:
        StorageError: the directory cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        for name, data in contents.items():
            partial = directory / f".{name}.{secrets.token_hex(4)}"
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(directory / name)
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{directory} cannot be written: {error.strerror}", "check the path, its owner and the free space") from error


def read_private(path: Path) -> bytes:
    """Raises:
    NotFoundError: there is no such file.
    StorageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its owner and mode") from error
