"""The client's own log on stderr: lines for people, or JSON lines for machines."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: at_s, level, logger, client, message, and error where there is one."""

    def __init__(self, client: str) -> None:
        super().__init__()
        self._client = client

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at_s": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "client": self._client,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(log_format: str, level: str, client: str) -> None:
    """Sends what is at least of ``level`` to stderr as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(client) if log_format == "json" else logging.Formatter(_PLAIN))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiohttp.access", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
