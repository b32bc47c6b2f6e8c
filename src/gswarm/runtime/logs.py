"""A daemon's own log on stderr: lines for people, or JSON lines for machines.

A thread of its own writes them: whoever reads stderr may stop reading (a pager, a stuck log shipper), and the daemon must go on.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
from typing import Any, TextIO

from gswarm.domain.printable import printable

QUEUE_MAX = 10_000
FLUSH_TIMEOUT_S = 2.0
"""How long the end of the process waits for a reader."""
_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class PlainFormatter(logging.Formatter):
    """A line a record; names and messages from anywhere cannot colour the terminal, and what has more lines is set in."""

    def __init__(self) -> None:
        super().__init__(_PLAIN)

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(printable(line) for line in super().format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a record: at_s, level, logger, message, error where there is one, and the given fields."""

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at_s": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._fields,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # As ASCII: else control characters beyond it would be written as they are, and half of a pair would lose the line.
        return json.dumps(line)


class BackgroundHandler(logging.Handler):
    """Formats where it is called, writes in a thread. When ``queue_max`` lines wait, more are dropped, and their number is said."""

    def __init__(self, stream: TextIO, queue_max: int = QUEUE_MAX) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(queue_max)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped:
                record.msg = f"{record.getMessage()} ({self._dropped} lines before this one were dropped)"
                record.args = None
            self._lines.put_nowait(self.format(record))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1
        except Exception:
            self.handleError(record)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The reader is gone for good; there is nobody left to tell.
                continue

    def finish(self) -> None:
        """Waits until what is queued is written, but not for ever."""
        try:
            self._lines.put(None, timeout=FLUSH_TIMEOUT_S)
        except queue.Full:
            return
        self._writer.join(FLUSH_TIMEOUT_S)


def configure_logging(log_format: str, level: str, **fields: str) -> BackgroundHandler:
    """Sends what is at least of ``level`` to stderr as ``text`` or ``json`` (with ``fields``). The caller calls ``finish`` at the end."""
    handler = BackgroundHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(**fields) if log_format == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Every request would be a line.
    for noisy in ("uvicorn.access", "aiohttp.access", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler
