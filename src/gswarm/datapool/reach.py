"""Whether a blob belongs to one of some manifests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from gswarm.datapool.manifest import manifest_entries
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import CorruptDataError
from gswarm.domain.ids import Digest

ENTRIES_MAX = 500_000
"""Digests that are remembered, over all manifests; the manifest that was not used longest is read again when it is asked for."""


class Reach:
    """Looks into the manifests that a store holds and remembers what they name, for they never change. Used by one event loop."""

    def __init__(self, store: BlobStore, entries_max: int = ENTRIES_MAX) -> None:
        self._store = store
        self._entries_max = entries_max
        self._entries: OrderedDict[Digest, frozenset[Digest]] = OrderedDict()
        self._count = 0

    async def covered(self, manifests: Iterable[Digest], digests: AbstractSet[Digest]) -> set[Digest]:
        """Those of ``digests`` that are among ``manifests`` or named by one that the store can read."""
        wanted = sorted(manifests)
        found = set(digests & set(wanted))
        for manifest in wanted:
            if len(found) == len(digests):
                break
            found |= digests & await self.names(manifest)
        return found

    async def names(self, manifest: Digest) -> frozenset[Digest]:
        """What a manifest names; nothing for one that the store lacks, or that is damaged."""
        known = self._entries.get(manifest)
        if known is not None:
            self._entries.move_to_end(manifest)
            return known
        try:
            found = frozenset(await asyncio.to_thread(manifest_entries, self._store, manifest))
        except CorruptDataError:
            return frozenset()
        # An absent manifest names nothing yet, and one that another request has read meanwhile is counted already.
        if found and manifest not in self._entries:
            self._entries[manifest] = found
            self._count += len(found)
            while self._count > self._entries_max and len(self._entries) > 1:
                self._count -= len(self._entries.popitem(last=False)[1])
        return found
