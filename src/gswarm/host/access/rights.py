"""What a client may fetch from the host's pool and leave there, by its grants and jobs. Refusals are counted and kept to be shown."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gswarm.datapool.manifest import load_manifest
from gswarm.datapool.reach import Reach
from gswarm.datapool.store import BlobStore
from gswarm.datapool.tree import ENTRIES_MAX
from gswarm.domain.errors import CorruptDataError, ForbiddenError, InvalidInputError, NotFoundError
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.plan import RunSize
from gswarm.host.clock import Clock
from gswarm.scheduler.allowance import has_work, readable
from gswarm.scheduler.core import ClusterState

REFUSED_KEPT_MAX = 200
BROUGHT_MAX = 2 * ENTRIES_MAX
"""Blobs a client whose bringing is remembered; the oldest is forgotten first, and must be brought again to be used."""

_log = logging.getLogger("gswarm.host.pool")


@dataclass(frozen=True, slots=True)
class RefusedTransfer:
    """A blob that a client asked for or brought without a right to."""

    at_s: float
    client: ClientName
    action: str
    """``fetch`` or ``leave``."""
    digest: Digest


class PoolRights:
    """Answers from the plan as it is now. Used on one event loop's thread.

    Knowing a digest must give no right to the bytes: a client may name in its checkpoints and results only blobs that it may fetch
    or has brought itself, so what it brought in full is remembered (``bring``).
    """

    def __init__(self, state: ClusterState, store: BlobStore, clock: Clock) -> None:
        self._state = state
        self._store = store
        self._reach = Reach(store)
        self._clock = clock
        self._brought: dict[ClientName, OrderedDict[Digest, None]] = {}
        self.refused_count = 0
        self.refused: deque[RefusedTransfer] = deque(maxlen=REFUSED_KEPT_MAX)

    async def check_fetch(self, client: ClientName, digest: Digest) -> None:
        """Raises:
        ForbiddenError: nothing that the client holds needs the blob.
        """
        if not await self.owned(client, {digest}):
            self._refuse(client, "fetch", digest)
            raise ForbiddenError(f"no grant or job of {client} needs blob {digest}", "its lease may be over")

    def check_leave(self, client: ClientName, digest: Digest) -> None:
        """Raises:
        ForbiddenError: the client has nothing to do that could produce a blob.
        """
        if not has_work(self._state, client):
            self._brought.pop(client, None)
            self._refuse(client, "leave", digest)
            raise ForbiddenError(f"{client} holds no grant or job that could produce blob {digest}", "its lease may be over")

    async def owned(self, client: ClientName, digests: AbstractSet[Digest]) -> set[Digest]:
        """Those to whose bytes the client has a right: it has brought them, or may fetch them."""
        brought = {digest for digest in digests if digest in self._brought.get(client, ())}
        rest = digests - brought
        return brought | await self._reach.covered(readable(self._state, client), rest) if rest else brought

    async def not_owned(self, client: ClientName, manifest: Digest) -> list[Digest]:
        """What a manifest names, itself included, that the client has no right to; nothing if the manifest is not in the pool."""
        if not self._store.has(manifest):
            return []
        named = {manifest} | await self._reach.names(manifest)
        return sorted(named - await self.owned(client, named))

    async def check_prepared(self, sizes: Sequence[RunSize]) -> None:
        """What was prepared is a model and data, and nobody's checkpoint under another name. What is not here is nobody's.

        Raises:
            InvalidInputError: it is something else.
        """
        named = dict.fromkeys([("base", size.base) for size in sizes] + [("data", size.data) for size in sizes])
        for wanted, digest in named:
            try:
                found = (await asyncio.to_thread(load_manifest, self._store, digest)).kind
            except (NotFoundError, CorruptDataError):
                continue
            if found != wanted:
                raise InvalidInputError(f"manifest {digest} is a {found}, not a {wanted}", "the job has to be done again")

    def bring(self, client: ClientName, digest: Digest) -> None:
        """The client has sent all bytes of that blob."""
        if client not in self._brought:
            self._brought = {other: blobs for other, blobs in self._brought.items() if has_work(self._state, other)}
        brought = self._brought.setdefault(client, OrderedDict())
        brought[digest] = None
        brought.move_to_end(digest)
        if len(brought) > BROUGHT_MAX:
            brought.popitem(last=False)

    def _refuse(self, client: ClientName, action: str, digest: Digest) -> None:
        self.refused_count += 1
        self.refused.append(RefusedTransfer(self._clock.now_s(), client, action, digest))
        _log.warning("client %s may not %s blob %s", client, action, digest)
