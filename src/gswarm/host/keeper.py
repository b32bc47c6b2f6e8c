"""What the host does with its own copies of blobs: looks whether a checkpoint is complete before it counts, and sweeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gswarm.datapool.manifest import reachable
from gswarm.datapool.pins import Pins
from gswarm.datapool.store import BlobStore
from gswarm.datapool.sweep import GRACE_S, Swept, sweep
from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import Digest
from gswarm.host.clock import Clock, TimerHandle

SWEEP_DELAY_S = 30.0
"""Requests for a sweep within this time are one sweep: every commit may drop an older checkpoint."""

_log = logging.getLogger("gswarm.host.pool")


class PoolKeeper:
    """Guards and sweeps the host's pool. All methods are called on the event loop's thread; disk work runs in threads.

    Args:
        roots: the plan's live roots, as of a moment when state and disk are equal.
        on_swept: told the roots after each sweep, for the clients' pools.
    """

    def __init__(
        self,
        store: BlobStore,
        pins: Pins,
        clock: Clock,
        roots: Callable[[], Awaitable[Sequence[Digest]]],
        on_swept: Callable[[Sequence[Digest]], None],
        sweep_delay_s: float = SWEEP_DELAY_S,
    ) -> None:
        self.store = store
        self.pins = pins
        self._clock = clock
        self._roots = roots
        self._on_swept = on_swept
        self._sweep_delay_s = sweep_delay_s
        self._timer: TimerHandle | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._timer_due_s = 0.0
        self._follow_up = False
        self._closed = False
        self._let_go: list[str] = []
        """Owners that have let go during the present sweep."""

    async def lacking(self, manifest: Digest, owner: str = "lacking") -> list[Digest]:
        """What the host lacks of a manifest. What it has stays until ``let_go(owner)``, so that it can become a root meanwhile.

        The grace time alone would not do: it is as right as the machine's clock, which people set.

        Whoever is cancelled meanwhile has let go once the disk work is over.

        Raises:
            CorruptDataError: the bytes are no manifest.
            StorageError: the disk fails, or is read-only.
        """
        checking = asyncio.ensure_future(asyncio.to_thread(self._renew, manifest, owner))
        try:
            return await asyncio.shield(checking)
        except asyncio.CancelledError:
            # The thread goes on, and pins after its caller has let go.
            checking.add_done_callback(lambda done: self._let_go_after(done, owner))
            raise

    def _let_go_after(self, checking: asyncio.Future[list[Digest]], owner: str) -> None:
        if not checking.cancelled() and (error := checking.exception()) is not None:
            _log.warning("a check that nobody waits for any more failed: %s", error)
        self.let_go(owner)

    def _renew(self, manifest: Digest, owner: str) -> list[Digest]:
        self.pins.pin([manifest], owner)
        # A damaged one is moved aside and so lacking: the client sends it again.
        if not self.store.renew(manifest) or not self.store.verify(manifest):
            return [manifest]
        blobs = sorted(reachable(self.store, manifest))
        self.pins.pin(blobs, owner)
        return [digest for digest in blobs if not self.store.renew(digest)]

    def let_go(self, owner: str) -> None:
        """What ``owner`` holds is a root now, or nobody wants it. It stays until a sweep is over that may have read the roots before."""
        if self._sweeping is None:
            self.pins.unpin(owner)
        else:
            self._let_go.append(owner)

    def request_sweep(self) -> None:
        """Sweeps soon, and again when what is too young to go now has grown old. Requests until then are the same one."""
        self._follow_up = True
        if self._timer is None or self._timer_due_s > self._clock.now_s() + self._sweep_delay_s:
            self._arm(self._sweep_delay_s)

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = self._clock.now_s() + delay_s
        self._timer = self._clock.call_at(self._timer_due_s, self._start_sweep)

    def _start_sweep(self) -> None:
        self._timer = None
        if self._sweeping is not None:
            self._arm(self._sweep_delay_s)
            return
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep(), name="pool-sweep")

    async def _sweep(self) -> None:
        try:
            roots = await self._roots()
            swept = await asyncio.to_thread(self._sweep_store, roots, self._clock.now_s())
            if swept.digests:
                _log.info("swept %d blobs, %d bytes", len(swept.digests), swept.freed_bytes)
            # Asked again: a client may have let go of what has become a root meanwhile.
            self._on_swept(await self._roots())
        except GswarmError as error:
            _log.warning("the pool was not swept: %s", error)
        finally:
            self._sweeping = None
            for owner in self._let_go:
                self.pins.unpin(owner)
            self._let_go.clear()
            if self._follow_up and self._timer is None and not self._closed:
                self._follow_up = False
                self._arm(GRACE_S + self._sweep_delay_s)

    def _sweep_store(self, roots: Sequence[Digest], now_s: float) -> Swept:
        # The host's clock follows no step of the machine's, but the files' times do: one that is set back makes an upload look old.
        return sweep(self.store, roots, self.pins, min(now_s, self.store.now_s()))

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sweeping is not None:
            await self._sweeping
