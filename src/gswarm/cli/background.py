"""Starting a long-running command in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gswarm.cli.output import Json
from gswarm.domain.errors import ConflictError, NotFoundError, StorageError, UnavailableError

START_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2


def start_in_background(
    arguments: list[str], log: Path, look: Callable[[int], Json], secrets: Mapping[str, str] | None = None
) -> tuple[int, Path, Json]:
    """Starts ``gswarm ARGUMENTS`` in a session of its own and returns its pid, its log and what ``look`` says once it does.

    Args:
        look: takes the pid; raises NotFoundError or UnavailableError while that process is not up yet.
        secrets: variables that it gets beside the environment.

    Raises:
        UnavailableError: the command did not come up in time; it is ended.
        ConflictError: the command ended by itself; the message has what it said.
        StorageError: the log cannot be written.
    """
    try:
        for folder in (log.parent.parent, log.parent):  # the data dir itself is private, too
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as out:
            began_bytes = out.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "gswarm", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **(secrets or {})},
            )
    except OSError as error:
        raise StorageError(f"{log} cannot be written: {error.strerror}", "correct the folder's owner and mode") from error
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            process.wait(LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            try:
                return process.pid, log, look(process.pid)
            except (NotFoundError, UnavailableError):
                continue
        raise ConflictError(_last_error(log, began_bytes) or f"it ended with exit code {process.returncode}", f"its log is {log}")
    process.terminate()
    raise UnavailableError(f"it did not come up within {START_TIMEOUT_S:.0f} s", f"its log is {log}")


def _last_error(log: Path, began_bytes: int) -> str:
    """What the command said last about an error, since it was started."""
    with log.open("rb") as file:
        file.seek(began_bytes)
        lines = file.read(1 << 20).decode(errors="replace").splitlines()
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
