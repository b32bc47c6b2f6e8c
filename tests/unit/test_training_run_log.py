"""What is logged while a run trains becomes the run's log; everything else does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from greenlet import getcurrent, greenlet

from gswarm.domain.ids import RunId
from gswarm.training.protocol import Log
from gswarm.training.run_log import TEXT_CHARS_MAX, RunLogHandler, run_logs


@contextmanager
def heard() -> Iterator[tuple[logging.Logger, list[Log]]]:
    taken: list[Log] = []
    logger = logging.getLogger("test.run_log")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.handlers = [RunLogHandler(taken.append)]
    yield logger, taken
    logger.handlers.clear()


def test_lines_carry_their_run_and_level() -> None:
    with heard() as (logger, lines):
        logger.error("before any run")
        with run_logs(RunId("r7")):
            logger.debug("too small")
            logger.warning("hello")
            try:
                raise ValueError("broken")
            except ValueError:
                logger.exception("the run fails")
        logger.error("after it")
    assert [(line.run, line.level) for line in lines] == [("r7", "warning"), ("r7", "error")]
    assert lines[0].text == "hello"
    assert "ValueError: broken" in lines[1].text


def test_runs_that_take_turns_each_keep_their_own() -> None:
    def speak(run: str) -> None:
        with run_logs(RunId(run)):
            logger.info("first of %s", run)
            getcurrent().parent.switch()
            logger.info("second of %s", run)

    with heard() as (logger, lines):
        runs = [greenlet(speak), greenlet(speak)]
        for run, name in zip(runs, ("r1", "r2"), strict=True):
            run.switch(name)
            logger.info("between turns")
        for run in reversed(runs):
            run.switch()
            logger.info("between turns")
    assert [(line.run, line.text) for line in lines] == [
        ("r1", "first of r1"),
        ("r2", "first of r2"),
        ("r2", "second of r2"),
        ("r1", "second of r1"),
    ]


def test_of_a_long_text_the_end_is_kept() -> None:
    with heard() as (logger, lines), run_logs(RunId("r7")):
        logger.warning("x" * TEXT_CHARS_MAX + "end")
    assert len(lines[0].text) == TEXT_CHARS_MAX
    assert lines[0].text.endswith("end")
