"""What runs printed: one file a run, bounded, read from any line on without reading what comes before.

A line is a JSON array ``[number, at_s, level, text]``. Because it carries its number, a line is found by bisection over the
file's bytes: there is no index to keep, to lose or to rebuild.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gswarm.domain.errors import InvalidInputError, StorageError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import LogLine
from gswarm.domain.printable import printable

FILE_BYTES_MAX = 16 * 1024 * 1024
"""A file that has grown beyond this becomes the run's older half; the half before it goes."""
TEXT_CHARS_MAX = 4000
LINES_MAX = 10_000
"""How many lines one call returns at most."""
LINES_PER_APPEND_MAX = 20_000
"""Of one run in one call. What is beyond is left out, and a line says so: texts of nothing but line ends would fill a disk."""

_BLOCK_BYTES = 64 * 1024
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])", re.DOTALL)
NumberedLine = tuple[int, LogLine]


class RunLogStore:
    """The logs of all runs of a host. Safe to use from several threads of one process.

    Args:
        root: the folder for the files; made if it is missing.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, root: Path, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._root = root
        self._file_bytes_max = file_bytes_max
        self._mutex = threading.Lock()
        self._watchers: dict[RunId, list[Callable[[], None]]] = {}
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the log folder {root} cannot be made: {error.strerror}", "use another data directory") from error

    def append(self, lines: Sequence[LogLine]) -> None:
        """Adds lines, cleaned of escape sequences and control characters; a text of several lines becomes several.

        Raises:
            InvalidInputError: a run's id cannot name a file; nothing was added.
            StorageError: the disk is full or read-only.
        """
        by_run: dict[RunId, list[LogLine]] = {}
        for line in lines:
            taken = by_run.setdefault(_checked(line.run), [])
            taken.extend(islice(_cleaned(line), max(0, LINES_PER_APPEND_MAX + 1 - len(taken))))
        for taken in by_run.values():
            if len(taken) > LINES_PER_APPEND_MAX:
                taken[-1] = replace(taken[-1], level="warning", text=f"lines behind these {LINES_PER_APPEND_MAX} are left out")
        with self._mutex:
            for run, cleaned in by_run.items():
                self._append_run(run, cleaned)
            watchers = [watcher for run in by_run for watcher in self._watchers.get(run, ())]
        for watcher in watchers:
            watcher()

    @contextmanager
    def watched(self, run: RunId, watcher: Callable[[], None]) -> Iterator[None]:
        """While this is open, ``watcher`` is called after each append to the run's log, in the thread that appended."""
        with self._mutex:
            self._watchers.setdefault(run, []).append(watcher)
        try:
            yield
        finally:
            with self._mutex:
                self._watchers[run].remove(watcher)
                if not self._watchers[run]:
                    del self._watchers[run]

    def _append_run(self, run: RunId, lines: list[LogLine]) -> None:
        path, older = self._paths(run)
        try:
            if path.exists() and path.stat().st_size >= self._file_bytes_max:
                path.replace(older)
            with path.open("a+b") as file:
                _drop_torn_end(file)
                first = 1 + (_last_number(file) or self._last_older(older))
                records = bytearray()
                for number, line in enumerate(lines, first):
                    record = json.dumps([number, line.at_s, line.level, line.text], ensure_ascii=False, separators=(",", ":"))
                    records += record.encode() + b"\n"
                file.write(records)
        except OSError as error:
            raise StorageError(f"the log of {run} cannot be written: {error.strerror}", "free some space") from error

    @staticmethod
    def _last_older(older: Path) -> int:
        try:
            with older.open("rb") as file:
                return _last_number(file)
        except FileNotFoundError:
            return 0

    def read(self, run: RunId, after_line: int = 0, limit: int = 1000) -> list[NumberedLine]:
        """Lines whose number is greater than ``after_line``, oldest first, with their numbers (from 1 on).

        Lines that were rotated away are left out; the numbers show it.
        """
        limit = max(0, min(limit, LINES_MAX))
        found: list[NumberedLine] = []
        for half in self._open(run):
            with half.file:
                offset = _offset_after(half, after_line)
                while len(found) < limit and (block := _whole_lines(half, offset)):
                    offset += len(block)
                    found += [line for line in _parse(run, block) if line[0] > after_line]
        return found[:limit]

    def tail(self, run: RunId, n: int) -> list[NumberedLine]:
        """The newest ``n`` lines, oldest first."""
        last = 0
        for half in self._open(run):
            with half.file:
                last = max(last, _last_number(half.file))
        n = max(0, min(n, LINES_MAX))
        return self.read(run, max(0, last - n), n)

    def delete_run(self, run: RunId) -> None:
        with self._mutex:
            for path in self._paths(run):
                path.unlink(missing_ok=True)

    def _paths(self, run: RunId) -> tuple[Path, Path]:
        name = _checked(run)
        return self._root / f"{name}.log", self._root / f"{name}.log.1"

    def _open(self, run: RunId) -> list[_Half]:
        """The run's files, oldest first, as they are at one moment."""
        halves = []
        with self._mutex:
            for path in reversed(self._paths(run)):
                try:
                    file = path.open("rb")
                except FileNotFoundError:
                    continue
                halves.append(_Half(file, os.fstat(file.fileno()).st_size))
        return halves


@dataclass(frozen=True, slots=True)
class _Half:
    file: BinaryIO
    size_bytes: int


def _checked(run: RunId) -> RunId:
    if not _RUN.fullmatch(run):
        raise InvalidInputError(f"{run[:80]!r} is no id of a run", "ids have letters, digits, '-' and '_'")
    return run


def _cleaned(line: LogLine) -> Iterator[LogLine]:
    at_s = line.at_s if math.isfinite(line.at_s) else 0.0
    level = printable(line.level)[:16]
    # A progress bar draws over itself: only what stays visible counts.
    texts = (part.rstrip("\r").rpartition("\r")[2] for part in _ESCAPES.sub("", line.text).split("\n"))
    return (LogLine(line.run, at_s, level, printable(text)[:TEXT_CHARS_MAX]) for text in texts)


def _drop_torn_end(file: BinaryIO) -> None:
    """Cuts off a line that a crash or a full disk left incomplete."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _BLOCK_BYTES))
    whole = file.read().rpartition(b"\n")
    if whole[2]:
        file.truncate(size - len(whole[2]))


def _last_number(file: BinaryIO) -> int:
    """The number of the last complete line; 0 if there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _BLOCK_BYTES))
    lines = file.read().split(b"\n")
    return _number(lines[-2]) if len(lines) > 1 else 0


def _number(record: bytes) -> int:
    """The number of a line; 0 if the bytes do not begin like one."""
    digits, comma, _ = record[1:].partition(b",")
    return int(digits) if comma and digits.isdigit() else 0


def _offset_after(half: _Half, after_line: int) -> int:
    """Where a line begins that is not later than the first one after ``after_line``, and less than a block before it."""
    low, high = 0, half.size_bytes
    while high - low > _BLOCK_BYTES:
        middle = (low + high) // 2
        half.file.seek(middle)
        skipped, newline, rest = half.file.read(_BLOCK_BYTES).partition(b"\n")
        if newline and 0 < _number(rest) <= after_line:
            low = middle + len(skipped) + 1
        else:
            high = middle
    return low


def _whole_lines(half: _Half, offset: int) -> bytes:
    half.file.seek(offset)
    return b"".join(half.file.read(min(_BLOCK_BYTES, half.size_bytes - offset)).rpartition(b"\n")[:2])


def _parse(run: RunId, block: bytes) -> list[NumberedLine]:
    found = []
    for record in block.split(b"\n"):
        try:
            number, at_s, level, text = json.loads(record)
            if not (type(number) is int and isinstance(at_s, int | float) and isinstance(level, str) and isinstance(text, str)):
                continue
        except (ValueError, TypeError, RecursionError):
            continue
        found.append((number, LogLine(run, at_s, level, text)))
    return found
