"""The first chart after a start is as quick as the next ones."""

from __future__ import annotations

import logging

import numpy as np

from gswarm.profiler.answer_json import numbers
from gswarm.profiler.store.sample_store import SampleQuery, SampleStore

RANGE_S = 86_400.0

_log = logging.getLogger("gswarm.profiler")


def warm_up(store: SampleStore, now_s: float) -> None:
    """Draws the chart of a day once, for nobody. Arrow loads parts of itself only when it first reads and writes rows, and with them pandas
    where that is installed: half a second that somebody would wait for. What goes wrong is told when it is asked for again."""
    try:
        numbers(np.zeros(1))
        store.query(SampleQuery(("gpu_utilization",), now_s - RANGE_S, now_s, 500))
    except Exception as error:
        _log.debug("the first chart will be slow: %s", error)
