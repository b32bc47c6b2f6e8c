"""Pretended weights: a checkpoint that remembers where it began and which trainer process trained each of its steps."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache

from gswarm.datapool.manifest import load_manifest, save_manifest
from gswarm.datapool.store import BlobStore
from gswarm.datapool.tree import Entry, Manifest
from gswarm.domain.ids import Digest, RunId

BASE_ROOT = "base"


@dataclass(frozen=True, slots=True)
class Weights:
    """``by`` holds one trainer process's number a step; training on from other weights can therefore never look the same."""

    root: str
    """``base``, or the manifest that a warm clone began with."""
    first: int
    """The run's own step that training began at."""
    by: tuple[int, ...] = ()

    @property
    def step(self) -> int:
        return self.first + len(self.by)

    def trained(self, token: int) -> Weights:
        return replace(self, by=(*self.by, token))

    def descends_from(self, other: Weights) -> bool:
        return (self.root, self.first, self.by[: len(other.by)]) == (other.root, other.first, other.by)

    def to_bytes(self, run: RunId) -> bytes:
        return json.dumps({"run": run, "root": self.root, "first": self.first, "by": self.by}).encode()


def save_blob(store: BlobStore, data: bytes) -> Digest:
    """Raises StorageError."""
    with store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def save_tree(store: BlobStore, kind: str, files: dict[str, bytes]) -> Digest:
    """Stores the files and the manifest that names them. Raises StorageError; what was stored before stays."""
    entries = tuple(Entry(name, save_blob(store, data), len(data)) for name, data in files.items())
    return save_manifest(store, Manifest(kind, entries))


def save_weights(store: BlobStore, run: RunId, weights: Weights) -> Digest:
    """A checkpoint's manifest: its weights, and a tokenizer that all of them share. Raises like ``save_tree``."""
    return save_tree(store, "checkpoint", {"weights": weights.to_bytes(run), "tokenizer": b"the same everywhere"})


def tree_of(store: BlobStore, manifest: Digest) -> tuple[Digest, ...]:
    """The manifest and everything that it names. Raises NotFoundError when the store does not hold it."""
    with store.open(manifest) as file:
        return (manifest, *_entries(file.read()))


def absent(store: BlobStore, manifest: Digest) -> list[Digest]:
    """What the store lacks of a manifest; as ``datapool.manifest.missing``, which does not remember what it has read."""
    if not store.has(manifest):
        return [manifest]
    return [digest for digest in tree_of(store, manifest) if not store.has(digest)]


@lru_cache(maxsize=20_000)
def _entries(data: bytes) -> tuple[Digest, ...]:
    return tuple(entry.digest for entry in Manifest.from_bytes(data).entries)


def load_weights(store: BlobStore, manifest: Digest) -> Weights:
    """Raises NotFoundError when a blob of it is gone."""
    with store.open(load_manifest(store, manifest).entry("weights").digest) as file:
        plain = json.loads(file.read())
    return Weights(plain["root"], plain["first"], tuple(plain["by"]))
