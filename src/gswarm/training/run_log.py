"""A run's own log: what is logged in the run's thread, by gswarm and by the libraries, goes to the client beside the process's log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gswarm.domain.ids import RunId
from gswarm.training.protocol import Log

_THREAD_PREFIX = "run-"
TEXT_CHARS_MAX = 4000
"""Of a line; of a traceback the end is kept."""


def run_thread(run: RunId, target: Callable[[], None]) -> threading.Thread:
    """A thread whose log lines are the run's."""
    return threading.Thread(target=target, name=f"{_THREAD_PREFIX}{run}", daemon=True)


class RunLogHandler(logging.Handler):
    """Emits the records of run threads as ``Log`` events and leaves all others alone."""

    def __init__(self, emit: Callable[[Log], None]) -> None:
        super().__init__(logging.INFO)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        name = record.threadName or ""
        if not name.startswith(_THREAD_PREFIX):
            return
        text = self.format(record)[-TEXT_CHARS_MAX:]
        self._emit(Log(RunId(name.removeprefix(_THREAD_PREFIX)), record.created, record.levelname.lower(), text))


def keep_run_logs(emit: Callable[[Log], None]) -> None:
    """Sends run logs to ``emit`` from now on, Python's warnings included."""
    logging.getLogger().addHandler(RunLogHandler(emit))
    logging.captureWarnings(True)
