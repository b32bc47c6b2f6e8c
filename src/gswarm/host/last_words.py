"""Why the last host of a data directory ended, where it could not end well. Its disk may be full: the room is taken at the start."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SIZE_BYTES = 4096
TEXT_CHARS_MAX = 600
NAME = "last_words.json"


@dataclass(frozen=True, slots=True)
class Ending:
    """``at_s`` is in seconds since the epoch."""

    at_s: float
    error: str


class LastWords:
    """Holds a small file in the host's folder. What cannot be written there is left: the log and the exit code say it, too."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                _write(descriptor, "")
            finally:
                os.close(descriptor)

    def say(self, error: str, at_s: float | None = None) -> None:
        """Overwrites the room that was taken at the start; a full disk does not mind that."""
        ending = {"at_s": time.time() if at_s is None else at_s, "error": error[:TEXT_CHARS_MAX]}
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                _write(descriptor, json.dumps(ending))
            finally:
                os.close(descriptor)

    def discard(self) -> None:
        """The host ended well. Idempotent."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_last_words(data_dir: Path) -> Ending | None:
    """What the last host of that data directory said, or ``None``."""
    try:
        document = json.loads((data_dir / "host" / NAME).read_text(encoding="utf-8"))
        return Ending(float(document["at_s"]), str(document["error"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _write(descriptor: int, text: str) -> None:
    # In escapes, a text of that many characters takes no more than this.
    os.pwrite(descriptor, text.encode()[:SIZE_BYTES].ljust(SIZE_BYTES), 0)
    os.fsync(descriptor)
