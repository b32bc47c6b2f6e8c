"""The host's log never stops the host."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from gswarm.runtime.logs import BackgroundHandler, JsonFormatter, PlainFormatter


class StalledReader(io.StringIO):
    """A stream whose writes wait until somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.Event()
        self.stalled = threading.Event()
        self.wrote = threading.Semaphore(0)

    def write(self, text: str) -> int:
        self.stalled.set()
        self.reading.wait()
        count = super().write(text)
        self.wrote.release()
        return count

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
    monkeypatch.setattr("gswarm.runtime.logs.FLUSH_TIMEOUT_S", 0.05)
    stream = StalledReader()
    handler = handler_on(stream, queue_max=50)
    handler.emit(record("0"))
    stream.stalled.wait()
    for number in range(1, 500):
        handler.emit(record(str(number)))
    handler.finish()
    assert stream.getvalue() == ""

    monkeypatch.setattr("gswarm.runtime.logs.FLUSH_TIMEOUT_S", 10.0)
    stream.reading.set()
    # The second line written has left the queue, so there is room again.
    stream.wrote.acquire()
    stream.wrote.acquire()
    handler.emit(record("again"))
    handler.finish()
    assert stream.messages() == [*(str(number) for number in range(51)), "again (449 lines before this one were dropped)"]


def test_json_lines_carry_no_command_of_a_terminal() -> None:
    text = "\x1b[31m \x9b31m \u202e \u2028 \ud800 é"
    line = JsonFormatter(client=text).format(record(text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == json.loads(line)["client"] == text


def test_lines_are_written_in_order_and_the_end_waits_for_them() -> None:
    stream = io.StringIO()
    handler = handler_on(stream)
    for number in range(200):
        handler.emit(record(str(number)))
    handler.finish()
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [str(number) for number in range(200)]


def test_lines_for_people_cannot_be_forged_or_coloured() -> None:
    formatter = PlainFormatter()
    record = logging.makeLogRecord({"name": "gswarm.host", "levelname": "WARNING", "msg": "run %s failed: %s"})
    record.args = ("r1", "\x1b[31mno\x1b[0m\n2026-01-01 00:00:00,000 INFO    gswarm.host: all is well\u202e")
    first, second = formatter.format(record).split("\n")
    assert first.endswith("WARNING gswarm.host: run r1 failed: [31mno[0m")
    assert second == "    2026-01-01 00:00:00,000 INFO    gswarm.host: all is well"
