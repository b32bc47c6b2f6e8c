"""Files of the host's pool by manifest, for people: an export's result, for example."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse

from gswarm.datapool.layout import checked_digest
from gswarm.datapool.manifest import load_manifest
from gswarm.host.api import models
from gswarm.host.api.deps import ServicesDep


async def pool_files(services: ServicesDep, manifest: str) -> models.PoolFilesView:
    """Names, digests (BLAKE3) and sizes of a manifest's files."""
    tree = await asyncio.to_thread(load_manifest, services.store, checked_digest(manifest))
    files = [models.PoolFile(name=entry.name, digest=entry.digest, size_bytes=entry.size_bytes) for entry in tree.entries]
    return models.PoolFilesView(manifest=manifest, files=files)


async def pool_file(services: ServicesDep, manifest: str, name: str) -> Response:
    """One file's bytes; ranges work."""
    path = await asyncio.to_thread(_path, services, manifest, name)
    return FileResponse(path, media_type="application/octet-stream")


def _path(services: ServicesDep, manifest: str, name: str) -> Path:
    entry = load_manifest(services.store, checked_digest(manifest)).entry(name)
    return services.store.path(entry.digest)
