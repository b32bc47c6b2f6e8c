"""Unfinished uploads that a server keeps, so that a caller can go on after a broken connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gswarm.datapool.store import BlobStore, Ingest
from gswarm.domain.errors import ConflictError, UnavailableError
from gswarm.domain.ids import Digest

UPLOADS_MAX = 128
"""How many uploads are open or kept at a time; the one that was idle longest makes room for a new one."""
CALLER_SHARE = 4
"""One caller may have this part of them: otherwise one that never ends its uploads would keep out everybody."""


@dataclass(slots=True)
class Upload:
    """Bytes of one blob from one caller. ``over``: committed or refused, nothing is left to resume."""

    ingest: Ingest
    received_bytes: int = 0
    over: bool = False


class Uploads:
    """At most one upload a (caller, digest). Used by one event loop; a restart of the process forgets them all."""

    def __init__(self, store: BlobStore, uploads_max: int = UPLOADS_MAX) -> None:
        self._store = store
        self._uploads_max = uploads_max
        self._caller_max = max(1, uploads_max // CALLER_SHARE)
        self._busy: set[tuple[str, Digest]] = set()
        # The one that was idle longest comes first.
        self._kept: dict[tuple[str, Digest], Upload] = {}

    def offset(self, caller: str, digest: Digest) -> int:
        """How many bytes of the caller's upload are here, for a request that goes on.

        Raises:
            ConflictError: a request is writing it; a broken one is noticed within the idle timeout, mostly at once.
        """
        if (caller, digest) in self._busy:
            raise ConflictError("another upload of this blob is running", "wait for it")
        upload = self._kept.get((caller, digest))
        return upload.received_bytes if upload else 0

    @asynccontextmanager
    async def claim(self, caller: str, digest: Digest, offset: int) -> AsyncIterator[Upload]:
        """The caller's upload of that blob, for one request; kept afterwards unless it is over. Offset 0 begins again.

        Raises:
            ConflictError: another request is writing it, or ``offset`` is not where it ends.
            UnavailableError: too many uploads at once, in all or by this caller.
        """
        key = (caller, digest)
        here = self.offset(caller, digest)
        if offset not in (0, here):
            raise ConflictError(f"the upload cannot go on at {offset}", f"{here} bytes of it are here")
        if len(self._busy) >= self._uploads_max:
            raise UnavailableError(f"{self._uploads_max} uploads are running", "try again later")
        if len(_of(caller, self._busy)) >= self._caller_max:
            raise UnavailableError(f"{self._caller_max} uploads of {caller} are running", "try again when one of them is over")
        self._busy.add(key)
        try:
            upload = await self._take(key, again=offset == 0)
            try:
                yield upload
            finally:
                if upload.over or not upload.received_bytes:
                    await _discard(upload)
                else:
                    self._kept[key] = upload
        finally:
            self._busy.discard(key)

    async def _take(self, key: tuple[str, Digest], *, again: bool) -> Upload:
        upload = self._kept.pop(key, None)
        if upload is not None and not again:
            return upload
        surplus = [upload] if upload is not None else []
        own = _of(key[0], self._kept)
        while own and len(_of(key[0], self._busy)) + len(own) > self._caller_max:
            surplus.append(self._kept.pop(own.pop(0)))
        while len(self._busy) + len(self._kept) > self._uploads_max:
            surplus.append(self._kept.pop(next(iter(self._kept))))
        for old in surplus:
            await _discard(old)
        return Upload(self._store.ingest())


def _of(caller: str, uploads: Iterable[tuple[str, Digest]]) -> list[tuple[str, Digest]]:
    return [key for key in uploads if key[0] == caller]


async def _discard(upload: Upload) -> None:
    await asyncio.to_thread(upload.ingest.__exit__, None, None, None)
