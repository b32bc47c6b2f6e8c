"""Who did what, from where, with what outcome: every change that was made, and everything that was refused.

Two logs, so that nobody who is refused again and again pushes out what people did. Both are files of bounded size that are
only appended to. When the disk refuses a record, further writes are refused before they do anything until there is room again
(docs/adr/0009).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from gswarm.domain.errors import StorageError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import LogLine
from gswarm.domain.printable import printable
from gswarm.profiler.run_logs import NumberedLine, RunLogStore

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Of half a log: about 50,000 records."""
METHOD_CHARS_MAX = 20
PATH_CHARS_MAX = 300
DETAIL_CHARS_MAX = 300
REFUSALS_BURST = 200
REFUSALS_PER_S = 2.0
"""Refusals that are recorded; what comes faster is counted in the next record."""
KEYS_REMEMBERED_MAX = 10_000
_SECRET = re.compile(r"gsw[0-9a-z]-[0-9a-z]+", re.IGNORECASE)

_log = logging.getLogger("gswarm.host.audit")


class AuditKind(StrEnum):
    WRITES = "writes"
    REFUSALS = "refusals"


class Outcome(StrEnum):
    DONE = "done"
    REPEATED = "repeated"
    """An Idempotency-Key that had taken effect before; only the first repetition is recorded."""
    REFUSED = "refused"
    FAILED = "failed"
    UNRECORDED = "unrecorded"
    """Stands for records that the disk refused."""

    @classmethod
    def of(cls, status: int) -> Outcome:
        """What an HTTP status means."""
        return cls.DONE if status < 400 else cls.REFUSED if status < 500 else cls.FAILED


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log.

    Args:
        at_s: seconds since the epoch.
        who: ``role:token id``, ``client:name`` for a machine with its certificate, ``-`` for nobody.
        via: ``token``, ``login`` or ``certificate``, ``-`` for nobody.
        address: of the caller, as the host saw it.
        path: without the query; what looks like a token is left out of it.
        status: of the HTTP answer.
        detail: what was made, or why it was refused.
        unrecorded: records before this one that are missing.
    """

    at_s: float
    who: str
    via: str
    address: str
    method: str
    path: str
    outcome: Outcome
    status: int
    detail: str = ""
    unrecorded: int = 0


NumberedRecord = tuple[int, Record]


class AuditLog:
    """Used on the event loop's thread; files are written in a thread of its own, so that a slow disk holds up only who waits for it.

    Args:
        folder: made if it is missing.
        clock: seconds since the epoch.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, clock: Callable[[], float], file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._files = RunLogStore(folder, file_bytes_max)
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._lost = dict.fromkeys(AuditKind, 0)
        self._broken = False
        self._budget, self._budget_at_s = float(REFUSALS_BURST), clock()
        self._repeats: OrderedDict[str, None] = OrderedDict()
        """Idempotency keys a repetition of which is recorded already."""

    def close(self) -> None:
        """Waits until what was handed in is written."""
        self._thread.shutdown()

    async def require_writable(self) -> None:
        """Called before anything is changed. Raises StorageError while the disk takes no records."""
        if self._broken:
            told = Record(self._clock(), "-", "-", "-", "-", "-", Outcome.UNRECORDED, 0)
            if not await self._append(AuditKind.WRITES, told):
                raise StorageError("the audit log cannot be written, so nothing may be changed", "free space on the host's disk")

    async def write(self, record: Record, key: str | None = None, was_known: bool = False) -> None:
        """Records a write that is done or has failed.

        Args:
            key: the request's Idempotency-Key, where it has one.
            was_known: the key had taken effect before. Only the plan can say that: once it has forgotten a key, the same one changes
                something again.
        """
        if record.outcome is Outcome.DONE and key is not None:
            if not was_known:
                self._repeats.pop(key, None)
            elif key in self._repeats:
                return
            else:
                record = replace(record, outcome=Outcome.REPEATED)
                self._repeats[key] = None
                if len(self._repeats) > KEYS_REMEMBERED_MAX:
                    self._repeats.popitem(last=False)
        await self._append(AuditKind.WRITES, record)

    async def refuse(self, record: Record) -> None:
        """Records that somebody was not let in, or what was asked for was refused; bounded in its rate."""
        now_s = self._clock()
        self._budget = min(self._budget + max(0.0, now_s - self._budget_at_s) * REFUSALS_PER_S, float(REFUSALS_BURST))
        self._budget_at_s = now_s
        if self._budget < 1.0:
            self._lost[AuditKind.REFUSALS] += 1
            return
        self._budget -= 1.0
        await self._append(AuditKind.REFUSALS, record)

    async def read(self, kind: AuditKind, limit: int, before: int | None = None) -> list[NumberedRecord]:
        """The newest records, newest first, with their numbers; only those with a smaller number than ``before`` if given."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, kind, limit, before)

    def _read(self, kind: AuditKind, limit: int, before: int | None) -> list[NumberedRecord]:
        name = RunId(kind.value)
        if before is None:
            lines = self._files.tail(name, limit)
        else:
            lines = [line for line in self._files.read(name, max(0, before - 1 - limit), limit) if line[0] < before]
        return [found for line in reversed(lines) if (found := _parse(line)) is not None]

    async def _append(self, kind: AuditKind, record: Record) -> bool:
        """Whether the disk took it; what it does not take is counted and said by the next record."""
        lost, self._lost[kind] = self._lost[kind], 0
        cleaned = replace(
            record,
            method=_clean(record.method, METHOD_CHARS_MAX),
            path=_clean(record.path, PATH_CHARS_MAX),
            detail=_clean(record.detail, DETAIL_CHARS_MAX),
            unrecorded=lost,
        )
        line = LogLine(RunId(kind.value), record.at_s, record.outcome.value, json.dumps(asdict(cleaned), ensure_ascii=False))
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.append, [line])
        except StorageError as error:
            self._lost[kind] += lost + (record.outcome is not Outcome.UNRECORDED)
            if kind is AuditKind.WRITES:
                self._broken = True
            _log.error("an audit record is lost: %s", error)
            return False
        if kind is AuditKind.WRITES:
            self._broken = False
        return True


def _clean(text: str, chars_max: int) -> str:
    return _SECRET.sub("(a token)", printable(text, ""))[:chars_max]


def _parse(numbered: NumberedLine) -> NumberedRecord | None:
    number, line = numbered
    try:
        document = json.loads(line.text)
        return number, Record(**{**document, "outcome": Outcome(document["outcome"])})
    except (ValueError, KeyError, TypeError):
        return None
