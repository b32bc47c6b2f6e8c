"""The single writer: every change of the plan goes through ``PlanLoop``, one after another.

Step, journal, flush, effects, answers: in that order, for a batch of events at a time. While one batch is being flushed the next one
gathers, so many events share a flush. Nothing leaves the host before the flush of what it tells about.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gswarm.domain.errors import GswarmError, InvalidInputError, InvariantError, LimitError, NotFoundError, StorageError, UnavailableError
from gswarm.domain.ids import RequestId
from gswarm.host.journal.codec import canonical
from gswarm.host.journal.decisions import decisions_digest
from gswarm.host.journal.protocol import Entry, Journal, JournalEntry
from gswarm.host.journal.snapshot import encode_state
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect
from gswarm.scheduler.events import Event

QUEUE_MAX = 10_000
BATCH_MAX = 512
"""Events that share one flush at most, so that an answer is never far away."""
RECENT_ENTRIES = 1_000
"""Kept in memory for subscribers that are not far behind; the others read the journal."""
SUBSCRIBERS_MAX = 1_000
READ_PAGE_ENTRIES = 500
SNAPSHOT_EVERY_EVENTS = 2_000
SNAPSHOT_TIME_SHARE = 0.02
"""Serialising stops the loop; the next snapshot waits until this share of the time is not exceeded."""

_log = logging.getLogger("gswarm.host.loop")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted, durable event. ``result_id`` names what it made or changed, if it was a request."""

    seq: int
    result_id: str | None


@dataclass(slots=True)
class _Waiting:
    event: Event
    answer: asyncio.Future[Submitted]


@dataclass(slots=True)
class _Look:
    """A function to call while the state in memory is exactly the one on disk."""

    call: Callable[[], Any]
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    refusals: list[tuple[_Waiting, GswarmError]] = field(default_factory=list)
    accepted: list[tuple[_Waiting, Submitted]] = field(default_factory=list)
    looks: list[_Look] = field(default_factory=list)


class PlanLoop:
    """Owns the journal and the state. All methods are called on the event loop's thread.

    Args:
        clock: seconds since the epoch; an event is never stamped earlier than the one before it.
        on_effects: carries out the effects of a batch, in order, without waiting.
    """

    def __init__(
        self,
        journal: Journal,
        state: ClusterState,
        clock: Callable[[], float],
        on_effects: Callable[[Sequence[Effect]], None],
        *,
        queue_max: int = QUEUE_MAX,
        snapshot_every_events: int = SNAPSHOT_EVERY_EVENTS,
    ) -> None:
        self._journal = journal
        self._state = state
        self._clock = clock
        self._on_effects = on_effects
        self._queue_max = queue_max
        self._snapshot_every_events = snapshot_every_events
        self._queue: deque[_Waiting | _Look] = deque()
        self._unanswered: list[_Waiting | _Look] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._seq = journal.last_seq
        self._now_s = next(journal.read(self._seq - 1)).now_s if self._seq > journal.trimmed_seq else 0.0
        self._recent: deque[JournalEntry] = deque(maxlen=RECENT_ENTRIES)
        self._grown = asyncio.Event()
        self._subscribers = 0
        saved = journal.snapshot_saved()
        self._snapshot_seq = saved[0] if saved is not None else 0
        """Of the newest snapshot that was begun; one that could not be saved is not tried again before its time."""
        self._snapshot_not_before_s = 0.0
        self._snapshot_task: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        # Of its own: a flush never waits for what others read and reckon in the threads that all share.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.failed: asyncio.Future[GswarmError] = asyncio.get_running_loop().create_future()
        """Done when the loop can take no more events; the host must end then, its state may be ahead of the disk."""
        self.flushes = 0
        self.events = 0
        self.last_flush_s: float | None = None
        """How long the newest flush took."""

    @property
    def state(self) -> ClusterState:
        """Read only. It may be one flush ahead of the disk; ``at_rest`` sees it when it is not."""
        return self._state

    @property
    def seq(self) -> int:
        """Of the newest durable entry."""
        return self._seq

    @property
    def oldest(self) -> int:
        """Whoever follows the events from here on, or from later, misses none."""
        return self._journal.trimmed_seq

    @property
    def journal(self) -> Journal:
        """Read only."""
        return self._journal

    @property
    def waiting(self) -> int:
        """Events that wait for the journal."""
        return len(self._queue)

    def start(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="plan-loop")

    async def submit(self, event: Event) -> Submitted:
        """Applies ``event`` and returns once it is on disk and its effects were started.

        Raises:
            GswarmError: the core refused the event; nothing was changed.
            LimitError: too many events wait already.
            StorageError: the journal failed; whether the event counts shows after the host's restart.
        """
        if len(self._queue) >= self._queue_max:
            raise LimitError(f"{len(self._queue)} events wait for the host's disk", "try again in a moment")
        return await self._enqueue(event)

    async def submit_own(self, event: Event) -> Submitted:
        """``submit`` for what the host itself finds out (a lost client, a timer): never refused because others wait."""
        return await self._enqueue(event)

    async def _enqueue(self, event: Event) -> Submitted:
        self._check_open()
        answer: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(canonical(event), answer))
        self._wake.set()
        return await answer

    async def at_rest(self, look: Callable[[], _T]) -> _T:
        """What ``look`` returns when called behind everything submitted before, with state and disk equal."""
        self._check_open()
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Look(look, answer))
        self._wake.set()
        return await answer

    def _check_open(self) -> None:
        if self.failed.done():
            raise self.failed.result()
        if self._closing:
            raise UnavailableError("the host is stopping", "try again when it is back")

    async def close(self) -> None:
        """Finishes what was submitted, saves a snapshot and ends. The journal stays open."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        if self._snapshot_task is not None:
            await self._snapshot_task
        saved = self._journal.snapshot_saved()
        if not self.failed.done() and self._seq > (saved[0] if saved is not None else 0):
            await self._save_snapshot(self._seq, encode_state(self._state))
        self._disk.shutdown(wait=False)
        self._grown.set()

    # ---- the writer ------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while True:
                if not self._queue:
                    if self._closing:
                        return
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._commit(self._step_batch())
                self._maybe_snapshot()
        except Exception as error:
            self._fail(error)

    def _step_batch(self) -> _Batch:
        batch = _Batch()
        while self._queue and len(batch.entries) < BATCH_MAX:
            item = self._queue.popleft()
            if isinstance(item, _Look):
                self._unanswered.append(item)
                batch.looks.append(item)
                # What comes behind belongs to the next batch: the look must not see it.
                break
            self._unanswered.append(item)
            try:
                self._step(item, batch)
            except InvariantError:
                raise
            except GswarmError as error:
                batch.refusals.append((item, error))
        return batch

    def _step(self, waiting: _Waiting, batch: _Batch) -> None:
        """One event through the core. A request that is known already is answered again and not journaled."""
        request: RequestId | None = getattr(waiting.event, "request", None)
        known = request is not None and self._state.result_of(request) is not None
        now_s = max(self._now_s, self._clock())
        effects = self._state.step(waiting.event, now_s)
        result_id = self._state.result_of(request) if request is not None else None
        if not known:
            self._now_s = now_s
            batch.entries.append(Entry(now_s, waiting.event, decisions_digest(effects)))
            batch.effects.extend(effects)
        batch.accepted.append((waiting, Submitted(self._seq + len(batch.entries), result_id)))

    async def _commit(self, batch: _Batch) -> None:
        """Flushes, then carries out, then answers: also refusals wait, they may tell about what is not on disk yet."""
        if batch.entries:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            await loop.run_in_executor(self._disk, self._journal.append, batch.entries)
            self.last_flush_s = loop.time() - began_s
            self._publish(batch.entries)
        self._on_effects(batch.effects)
        for waiting, submitted in batch.accepted:
            if not waiting.answer.done():
                waiting.answer.set_result(submitted)
        for waiting, error in batch.refusals:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        for look in batch.looks:
            _answer(look)
        self._unanswered.clear()

    def _publish(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._seq += 1
            self._recent.append(JournalEntry(self._seq, entry.now_s, entry.event, entry.decided))
        self.flushes += 1
        self.events += len(entries)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _fail(self, cause: Exception) -> None:
        """State and disk may differ from here on: nobody gets another answer out of this state."""
        if isinstance(cause, GswarmError):
            error = cause
        else:
            error = InvariantError(f"the plan's loop broke: {cause!r}", "start the host again; its log has the details")
        _log.critical("the host ends: %s", error, exc_info=cause)
        self.failed.set_result(error)
        for item in (*self._unanswered, *self._queue):
            if not item.answer.done():
                item.answer.set_exception(
                    StorageError(f"the host had to end: {error.message}", "start it again and look whether this counts")
                )
        self._unanswered.clear()
        self._queue.clear()
        self._grown.set()

    # ---- snapshots -------------------------------------------------------------------------------------------------

    def _maybe_snapshot(self) -> None:
        now_s = self._clock()
        busy = self._snapshot_task is not None and not self._snapshot_task.done()
        if busy or self._seq - self._snapshot_seq < self._snapshot_every_events or now_s < self._snapshot_not_before_s:
            return
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        payload = encode_state(self._state)
        self._snapshot_not_before_s = now_s + (loop.time() - began_s) / SNAPSHOT_TIME_SHARE
        self._snapshot_task = loop.create_task(self._save_snapshot(self._seq, payload), name="snapshot")

    async def _save_snapshot(self, seq: int, payload: bytes) -> None:
        """A snapshot only makes the next start faster: without room for it the host goes on."""
        self._snapshot_seq = seq
        try:
            await asyncio.to_thread(self._journal.save_snapshot, seq, payload)
        except StorageError as error:
            _log.warning("no snapshot was saved: %s", error)

    # ---- subscribers -----------------------------------------------------------------------------------------------

    async def subscribe(self, after_seq: int) -> AsyncIterator[JournalEntry]:
        """The entries behind ``after_seq`` in order: past ones, then each as it becomes durable, without a gap. Ends with the loop.

        The reader's pace is its own: one that falls behind reads the journal, nothing is kept for it.

        Raises:
            InvalidInputError: ``after_seq`` is negative or in the future.
            NotFoundError: what follows ``after_seq`` is not kept any more.
            LimitError: too many subscribers.
        """
        if not 0 <= after_seq <= self._seq:
            raise InvalidInputError(f"there is no event {after_seq} yet", f"subscribe from {self.oldest} to {self._seq}")
        if after_seq < self.oldest:
            raise NotFoundError(f"not all events behind {after_seq} are kept any more", f"follow them from {self.oldest} on")
        if self._subscribers >= SUBSCRIBERS_MAX:
            raise LimitError(f"{self._subscribers} others follow the events already", "close some of them")
        self._subscribers += 1
        try:
            seen = after_seq
            while True:
                grown = self._grown
                for entry in await self._entries_behind(seen):
                    yield entry
                    seen = entry.seq
                if seen >= self._seq:
                    if self._closing or self.failed.done():
                        return
                    await grown.wait()
        finally:
            self._subscribers -= 1

    async def entries_before(self, seq: int) -> list[JournalEntry]:
        """A page of the durable entries right before ``seq``, the oldest first; empty where none is kept."""
        end = min(seq, self._seq + 1)
        start = max(end - READ_PAGE_ENTRIES, self.oldest + 1)
        return [] if start >= end else await asyncio.to_thread(_read, self._journal, start - 1, end - start)

    async def _entries_behind(self, seq: int) -> list[JournalEntry]:
        if seq >= self._seq:
            return []
        if self._recent and self._recent[0].seq <= seq + 1:
            return [entry for entry in self._recent if entry.seq > seq]
        return await asyncio.to_thread(_read, self._journal, seq, READ_PAGE_ENTRIES)


def _answer(look: _Look) -> None:
    if look.answer.done():
        return
    try:
        look.answer.set_result(look.call())
    except Exception as error:
        look.answer.set_exception(error)


def _read(journal: Journal, after_seq: int, count: int) -> list[JournalEntry]:
    return list(itertools.islice(journal.read(after_seq), count))
