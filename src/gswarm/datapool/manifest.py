"""Manifests in a store, and folders into manifests and back. The manifest itself is in ``tree``."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from gswarm.datapool.layout import hash_file, open_regular, storage_errors, within
from gswarm.datapool.store import BlobStore
from gswarm.datapool.tree import MANIFEST_BYTES_MAX, PREFIX, Entry, Manifest, path_below
from gswarm.domain.errors import ConflictError, CorruptDataError, InvalidInputError, LimitError, NotFoundError
from gswarm.domain.ids import Digest

__all__ = [
    "Entry",
    "Manifest",
    "ingest_folder",
    "is_manifest",
    "load_manifest",
    "manifest_entries",
    "materialise",
    "missing",
    "reachable",
    "save_manifest",
    "total_bytes",
]


def save_manifest(store: BlobStore, manifest: Manifest) -> Digest:
    """Stores the manifest itself.

    Raises:
        LimitError: it is larger than ``MANIFEST_BYTES_MAX``.
        StorageError: the store cannot take it.
    """
    data = manifest.to_bytes()
    if len(data) > MANIFEST_BYTES_MAX:
        raise LimitError(f"a manifest of {len(data)} bytes", f"the limit is {MANIFEST_BYTES_MAX}: use fewer files or shorter names")
    with store.ingest() as ingest:
        ingest.write(data)
        return ingest.commit()


def load_manifest(store: BlobStore, digest: Digest) -> Manifest:
    """Reads a manifest.

    Raises:
        NotFoundError: the store does not hold it.
        CorruptDataError: the bytes do not have their digest, or are no manifest.
    """
    if store.size_bytes(digest) > MANIFEST_BYTES_MAX:
        raise CorruptDataError(f"blob {digest} is too large for a manifest", "check the digest")
    return Manifest.from_bytes(_read_checked(store, digest))


def _read_checked(store: BlobStore, digest: Digest) -> bytes:
    with storage_errors(f"read blob {digest}"), store.open(digest) as file:
        data = file.read()
    if blake3(data).hexdigest() != digest:
        raise CorruptDataError(f"blob {digest} is corrupt", "run `gswarm data verify`, then fetch it again")
    return data


def is_manifest(store: BlobStore, digest: Digest) -> bool:
    """Whether the blob begins like a manifest. Raises NotFoundError."""
    with storage_errors(f"read blob {digest}"), store.open(digest) as file:
        return file.read(len(PREFIX)) == PREFIX


def manifest_entries(store: BlobStore, digest: Digest) -> list[Digest]:
    """What a root refers to: a manifest's entries; nothing for another blob or one that the store does not hold.

    Raises:
        CorruptDataError: the blob is damaged, so that nobody can tell.
    """
    try:
        if store.size_bytes(digest) > MANIFEST_BYTES_MAX:
            return []
        data = _read_checked(store, digest)
    except NotFoundError:
        return []
    return [entry.digest for entry in Manifest.from_bytes(data).entries] if data.startswith(PREFIX) else []


def reachable(store: BlobStore, digest: Digest) -> set[Digest]:
    """The manifest's own digest and its entries'. Raises NotFoundError and CorruptDataError like ``load_manifest``."""
    return {digest} | {entry.digest for entry in load_manifest(store, digest).entries}


def missing(store: BlobStore, digest: Digest) -> list[Digest]:
    """What the store lacks of a manifest, sorted; only its own digest when the manifest itself is absent."""
    if not store.has(digest):
        return [digest]
    return sorted(entry for entry in reachable(store, digest) if not store.has(entry))


def total_bytes(store: BlobStore, digest: Digest) -> int:
    """The sum of the entries' sizes of a manifest in the store."""
    return load_manifest(store, digest).total_bytes


def ingest_folder(
    store: BlobStore, kind: str, folder: Path, meta: tuple[tuple[str, str], ...] = (), *, move: bool = False
) -> tuple[Digest, Manifest]:
    """Stores every file below a folder, and the manifest that names them. Empty folders are not kept.

    A link to a file counts as that file if it stays in the folder or its Hugging Face cache. With ``move`` the files are gone
    afterwards; after an error in the middle, some of them.

    Raises:
        NotFoundError: there is no such folder.
        InvalidInputError: a link to a folder or out of this one, a pipe, socket or device, or a name that ``tree.check_name`` refuses.
        LimitError, StorageError: as for ``Manifest`` and the store.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}")
    with storage_errors(f"read {folder}"):
        found = list(_files(folder))
        # All names are checked before anything is stored or moved.
        Manifest(kind, tuple(Entry(name, Digest("0" * 64), 0) for name, _ in found), meta)
        entries = []
        for name, path in found:
            digest = store.put_file(path, move=move)
            entries.append(Entry(name, digest, store.size_bytes(digest)))
    manifest = Manifest(kind, tuple(entries), meta)
    return save_manifest(store, manifest), manifest


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink():
                raise InvalidInputError(f"{path} is a link to a folder", "copy the folder to its place, or remove the link")
        for name in files:
            path = Path(parent, name)
            real = within(path, folder) if path.is_symlink() else path
            if not stat.S_ISREG(real.stat().st_mode):
                raise InvalidInputError(f"{path} is no regular file", "remove it")
            yield path.relative_to(folder).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def materialise(store: BlobStore, digest: Digest, into: Path, *, link: bool = True) -> Manifest:
    """Writes a manifest's files below the folder ``into``, which appears complete or not at all.

    With ``link`` the files are hard links to the store's own where the filesystem allows it: no byte is copied, and they must
    not be written. They outlive the blobs' deletion. Does nothing if the folder has exactly this content already.

    Raises:
        NotFoundError: the store lacks the manifest or one of its blobs.
        ConflictError: ``into`` exists and has other content.
        CorruptDataError, StorageError: as for the store.
    """
    manifest = load_manifest(store, digest)
    if _has_content(into, manifest, store):
        return manifest
    temporary = into.with_name(f".{into.name[:200]}.{secrets.token_hex(8)}")
    try:
        with storage_errors(f"write {into}"):
            temporary.mkdir(parents=True)
            for entry in manifest.entries:
                _write_file(store, entry, path_below(temporary, entry.name), link)
            try:
                temporary.rename(into)
            except OSError:
                # Somebody else was faster, or something else is in the way.
                if not _has_content(into, manifest, store):
                    if into.exists():
                        raise ConflictError(f"{into} exists and is something else", "remove it or choose another path") from None
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _write_file(store: BlobStore, entry: Entry, target: Path, link: bool) -> None:
    source = store.path(entry.digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if link:
            target.hardlink_to(source)
            return
    except OSError:
        # Another filesystem, or one without hard links: a copy serves as well.
        target.unlink(missing_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise NotFoundError(f"blob {entry.digest} is not in the data pool any more", "fetch it again") from None


def _has_content(folder: Path, manifest: Manifest, store: BlobStore) -> bool:
    if not folder.is_dir():
        return False
    with storage_errors(f"read {folder}"):
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        return found.keys() == {entry.name for entry in manifest.entries} and all(
            _is_blob(found[entry.name], entry, store) for entry in manifest.entries
        )


def _is_blob(path: Path, entry: Entry, store: BlobStore) -> bool:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size_bytes:
        return False
    if store.has(entry.digest) and path.samefile(store.path(entry.digest)):
        return True
    with open_regular(path) as file:
        return hash_file(file)[0] == entry.digest
