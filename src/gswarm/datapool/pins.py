"""Holds on blobs that no root refers to yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from gswarm.domain.ids import Digest


class Pins:
    """Short-lived holds on blobs that no root refers to yet: an upload in progress, a grant being fetched.

    A pin dies with the process; a crash needs nothing cleaned up. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._held: dict[str, set[Digest]] = {}
        self._mutex = threading.Lock()

    def pin(self, digests: Iterable[Digest], owner: str) -> None:
        """Adds digests to what ``owner`` holds; pinning one twice is the same as once."""
        wanted = set(digests)
        with self._mutex:
            self._held.setdefault(owner, set()).update(wanted)

    def unpin(self, owner: str) -> None:
        """Lets go of everything ``owner`` holds; an unknown owner holds nothing."""
        with self._mutex:
            self._held.pop(owner, None)

    def pinned(self) -> frozenset[Digest]:
        with self._mutex:
            return frozenset[Digest]().union(*self._held.values())

    def count(self, digest: Digest) -> int:
        """How many owners hold the blob."""
        with self._mutex:
            return sum(digest in held for held in self._held.values())

    def if_unpinned(self, digest: Digest, action: Callable[[], int]) -> int:
        """Runs ``action`` while nobody can pin anything, unless the blob is pinned; its result, or 0.

        Whoever pins a blob and then finds it present can be sure that it stays.
        """
        with self._mutex:
            return 0 if any(digest in held for held in self._held.values()) else action()
