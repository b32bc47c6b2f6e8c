"""What other clients may fetch from this one: the host says so, from its plan, and is believed for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from gswarm.datapool.reach import Reach
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import ForbiddenError
from gswarm.domain.ids import ClientName, Digest
from gswarm.wire.tls import Peer

logger = logging.getLogger(__name__)

Ask = Callable[[ClientName, str], Awaitable[Sequence[Digest]]]
"""Manifests that a client of that name and enrolment may fetch now (``HostConnection.reach``)."""
_Asker = tuple[ClientName, str]
"""Name and enrolment: what a name may fetch is nothing to a machine that had it before."""

KEPT_S = 2.0
"""How long an answer allows; so long a client that was revoked can still begin to fetch here."""
ASK_INTERVAL_S = 0.2
"""The host is asked about one client this often at most, however much that client asks for."""
ANSWERS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class _Answer:
    at_s: float
    """When the host was asked."""
    manifests: frozenset[Digest]


class PeerRights:
    """Used by one event loop.

    Args:
        store: holds the manifests that say what belongs to them.
        clock_s, sleep: of the event loop; tests pass their own.
    """

    def __init__(
        self,
        ask: Ask,
        store: BlobStore,
        clock_s: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ask = ask
        self._reach = Reach(store)
        self._clock_s = clock_s or asyncio.get_running_loop().time
        self._sleep = sleep
        self._answers: OrderedDict[_Asker, _Answer] = OrderedDict()
        self._asking: WeakValueDictionary[_Asker, asyncio.Lock] = WeakValueDictionary()
        self.refused_count = 0

    async def check(self, peer: Peer, digest: Digest) -> None:
        """Whether the client of that certificate may have the blob.

        Raises:
            ForbiddenError: nothing that it holds needs the blob.
            UnavailableError: the host cannot be asked.
        """
        came_s = self._clock_s()
        client, asker = peer.name, (ClientName(peer.name), peer.enrolment)
        while True:
            answer = self._answers.get(asker)
            if answer is not None:
                if self._clock_s() - answer.at_s < KEPT_S and await self._reach.covered(answer.manifests, {digest}):
                    return
                # A refusal counts only if the host was asked after the request came: the grant may be a moment old.
                if answer.at_s >= came_s:
                    self.refused_count += 1
                    logger.warning("client %s may not fetch blob %s", client, digest)
                    raise ForbiddenError(f"no grant or job of {client} needs blob {digest}", "its lease may be over")
            await self._renew(asker, answer)

    async def _renew(self, asker: _Asker, known: _Answer | None) -> None:
        """Asks the host, unless somebody else has while we waited for our turn."""
        lock = self._asking.setdefault(asker, asyncio.Lock())
        async with lock:
            if self._answers.get(asker) is not known:
                return
            if known is not None:
                await self._sleep(max(0.0, known.at_s + ASK_INTERVAL_S - self._clock_s()))
            at_s = self._clock_s()
            self._answers[asker] = _Answer(at_s, frozenset(await self._ask(*asker)))
            self._answers.move_to_end(asker)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
