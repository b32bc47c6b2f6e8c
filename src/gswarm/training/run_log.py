"""A run's own log: what is logged while a run trains, by gswarm and by the libraries, goes to the client beside the process's log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gswarm.domain.ids import RunId
from gswarm.training.protocol import Log

_RUN: ContextVar[RunId | None] = ContextVar("run", default=None)
"""Every trainer's coroutine has a context of its own."""
TEXT_CHARS_MAX = 4000
"""Of a line; of a traceback the end is kept."""


@contextmanager
def run_logs(run: RunId) -> Iterator[None]:
    """What is logged inside is the run's."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


class RunLogHandler(logging.Handler):
    """Emits the records of runs as ``Log`` events and leaves all others alone."""

    def __init__(self, emit: Callable[[Log], None]) -> None:
        super().__init__(logging.INFO)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        run = _RUN.get()
        if run is None:
            return
        text = self.format(record)[-TEXT_CHARS_MAX:]
        self._emit(Log(run, record.created, record.levelname.lower(), text))


def keep_run_logs(emit: Callable[[Log], None]) -> None:
    """Sends run logs to ``emit`` from now on, Python's warnings included."""
    logging.getLogger().addHandler(RunLogHandler(emit))
    logging.captureWarnings(True)
