"""Mark and sweep of a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gswarm.datapool.manifest import manifest_entries
from gswarm.datapool.pins import Pins
from gswarm.datapool.refs import mark, plan_sweep
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import Digest

GRACE_S = 3600.0
"""How long a blob that nothing refers to is spared: longer than any upload takes from its first blob to its manifest."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep deleted, or would delete."""

    digests: tuple[Digest, ...]
    freed_bytes: int


def sweep(store: BlobStore, roots: Iterable[Digest], pins: Pins, now_s: float, grace_s: float = GRACE_S, *, dry_run: bool = False) -> Swept:
    """Deletes what no root reaches, nobody pins and is older than ``grace_s``. Blocking; call it in a thread.

    Args:
        roots: manifests and plain blobs that must stay; those that this store does not hold are no error.
        now_s: seconds since the epoch, on the clock of the store's machine.
        dry_run: only say what would go.

    Raises:
        CorruptDataError: a root manifest cannot be read, so what it protects is unknown; nothing was deleted.
    """
    # First of all: what is let go of from here on has become a root that the caller may not know yet.
    pinned = pins.pinned()
    wanted = set(roots)
    marked = mark(wanted, lambda digest: manifest_entries(store, digest) if digest in wanted else ())
    limit_s = now_s - grace_s
    present = list(store.digests())
    young = {digest for digest in present if _committed_at_s(store, digest) >= limit_s}
    swept: list[Digest] = []
    freed_bytes = 0
    for digest in plan_sweep(present, marked, pinned, young):
        size_bytes = _size_bytes(store, digest)
        if dry_run or _delete(store, digest, pins, limit_s):
            swept.append(digest)
            freed_bytes += size_bytes
    return Swept(tuple(swept), freed_bytes)


def _delete(store: BlobStore, digest: Digest, pins: Pins, limit_s: float) -> bool:
    """Whether the blob is gone; it may have been pinned or renewed since the plan was made."""
    pins.if_unpinned(digest, lambda: store.delete(digest, if_older_than_s=limit_s))
    return not store.has(digest)


def _committed_at_s(store: BlobStore, digest: Digest) -> float:
    try:
        return store.committed_at_s(digest)
    except NotFoundError:
        return 0.0


def _size_bytes(store: BlobStore, digest: Digest) -> int:
    try:
        return store.size_bytes(digest)
    except NotFoundError:
        return 0
