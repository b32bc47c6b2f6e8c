"""The host's log never stops the host."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from gswarm.host.logs import BackgroundHandler, JsonFormatter


class StalledReader(io.StringIO):
    """A stream whose writes wait until somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.Event()

    def write(self, text: str) -> int:
        self.reading.wait()
        return super().write(text)

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.getvalue().splitlines()]


def handler_on(stream: io.StringIO, queue_max: int = 1_000) -> BackgroundHandler:
    handler = BackgroundHandler(stream, queue_max)
    handler.setFormatter(JsonFormatter())
    return handler


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("gswarm.host", logging.INFO, __file__, 1, text, None, None)


@pytest.mark.timeout(20)
def test_a_reader_that_stops_reading_stops_nobody_and_what_was_dropped_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.host.logs.FLUSH_TIMEOUT_S", 0.05)
    stream = StalledReader()
    handler = handler_on(stream, queue_max=50)
    for number in range(500):
        handler.emit(record(str(number)))
    handler.finish()
    assert stream.getvalue() == ""

    monkeypatch.setattr("gswarm.host.logs.FLUSH_TIMEOUT_S", 10.0)
    stream.reading.set()
    while handler._lines.full():
        threading.Event().wait(0.001)
    handler.emit(record("again"))
    handler.finish()
    kept = stream.messages()[:-1]
    # One line may have left the queue for the stalled write before it was full.
    assert kept == [str(number) for number in range(len(kept))]
    assert len(kept) in (50, 51)
    assert stream.messages()[-1] == f"again ({500 - len(kept)} lines before this one were dropped)"


def test_lines_are_written_in_order_and_the_end_waits_for_them() -> None:
    stream = io.StringIO()
    handler = handler_on(stream)
    for number in range(200):
        handler.emit(record(str(number)))
    handler.finish()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [str(number) for number in range(200)]
