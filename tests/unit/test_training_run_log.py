"""What is logged in a run's thread becomes the run's log; everything else does not."""

from __future__ import annotations

import logging

from gswarm.domain.ids import RunId
from gswarm.training.protocol import Log
from gswarm.training.run_log import TEXT_CHARS_MAX, RunLogHandler, run_thread


def logged(say: object) -> list[Log]:
    taken: list[Log] = []
    logger = logging.getLogger("test.run_log")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.handlers = [RunLogHandler(taken.append)]

    def speak() -> None:
        logger.debug("too small")
        logger.warning("%s", say)
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("the run fails")

    thread = run_thread(RunId("r7"), speak)
    thread.start()
    thread.join()
    logger.error("from another thread")
    return taken


def test_lines_carry_their_run_and_level() -> None:
    lines = logged("hello")
    assert [(line.run, line.level) for line in lines] == [("r7", "warning"), ("r7", "error")]
    assert lines[0].text == "hello"
    assert "ValueError: broken" in lines[1].text


def test_of_a_long_text_the_end_is_kept() -> None:
    lines = logged("x" * TEXT_CHARS_MAX + "end")
    assert len(lines[0].text) == TEXT_CHARS_MAX
    assert lines[0].text.endswith("end")
