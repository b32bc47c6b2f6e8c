"""What the data pool keeps and why: the manifests that the plan refers to, their sizes and holders, and transfers that were refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from fastapi import Query
from pydantic import Field

from gswarm.datapool.manifest import load_manifest
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import GswarmError
from gswarm.domain.ids import HOST_HOLDER, Digest
from gswarm.domain.plan import Job, JobKind, Run, RunState
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.models import Model, Page
from gswarm.host.api.paging import Cursor, Limit, page
from gswarm.host.reports import exported_manifest
from gswarm.scheduler.core import ClusterState

EXPERIMENTS_SHOWN_MAX = 20
REFUSED_SHOWN_MAX = 50


class PoolKind(StrEnum):
    BASE = "base"
    DATA = "data"
    CHECKPOINT = "checkpoint"
    EXPORT = "export"


class PoolManifestView(Model):
    """A manifest that the plan refers to; the sweep spares what it names."""

    manifest: str
    kind: PoolKind
    size_bytes: int | None = Field(
        description="Of all its files; manifests may share files, which are stored once. null: the host does not hold it and nobody told."
    )
    holders: list[str] = Field(description="``host`` and names of clients.")
    run: str | None = Field(description="Whose checkpoint or export it is.")
    step: int | None
    runs: int = Field(description="How many runs refer to it.")
    experiments: list[str] = Field(description="The first of those whose runs refer to it.")


class PoolTotalView(Model):
    kind: PoolKind
    manifests: int
    size_bytes: int = Field(description="The sum of the known sizes; files that manifests share count more than once.")
    unknown: int = Field(description="Manifests whose size is not known.")


class RefusedTransferView(Model):
    """A blob that a client asked for or brought without a right to."""

    at: float
    client: str
    action: str
    digest: str


class PoolView(Model):
    totals: list[PoolTotalView] = Field(description="One for each kind.")
    refused_transfers: int = Field(description="Since the host began.")
    refused: list[RefusedTransferView] = Field(description="The newest first.")


@dataclass(slots=True)
class _Root:
    manifest: Digest
    kind: PoolKind
    size_bytes: int | None = None
    holders: list[str] = field(default_factory=list)
    run: str | None = None
    step: int | None = None
    runs: int = 0
    experiments: dict[str, None] = field(default_factory=dict)

    def name(self, run: Run) -> None:
        self.runs += 1
        if len(self.experiments) < EXPERIMENTS_SHOWN_MAX:
            self.experiments[run.experiment] = None


Kind = Annotated[PoolKind | None, Query(description="Only manifests of this kind.")]


async def pool_overview(services: ServicesDep) -> PoolView:
    """Totals by kind, and the transfers that were refused last."""
    roots = _roots(services.state)
    await asyncio.to_thread(_look_up, services.store, roots)
    refused = list(services.rights.refused)[: -REFUSED_SHOWN_MAX - 1 : -1]
    return PoolView(
        totals=[_total(kind, [root for root in roots if root.kind is kind]) for kind in PoolKind],
        refused_transfers=services.rights.refused_count,
        refused=[RefusedTransferView(at=one.at_s, client=one.client, action=one.action, digest=one.digest) for one in refused],
    )


async def pool_manifests(services: ServicesDep, kind: Kind = None, limit: Limit = 100, cursor: Cursor = None) -> Page[PoolManifestView]:
    """What the plan refers to: bases and data first, then checkpoints run by run, then exports."""
    roots = [root for root in _roots(services.state) if kind in (None, root.kind)]
    chosen, following = page(roots, lambda root: root.manifest, limit, cursor)
    await asyncio.to_thread(_look_up, services.store, chosen)
    return Page(items=[_view(root) for root in chosen], next_cursor=following)


def _roots(state: ClusterState) -> list[_Root]:
    """One for each manifest that a run or an export refers to."""
    runs = [run for run in state.runs.values() if run.state is not RunState.DELETED]
    found: dict[Digest, _Root] = {}
    for run in runs:
        for manifest, kind in ((run.base, PoolKind.BASE), (run.data, PoolKind.DATA)):
            found.setdefault(manifest, _Root(manifest, kind)).name(run)
    for run in runs:
        for checkpoint in (*run.checkpoints, *([run.start] if run.start is not None else [])):
            root = found.setdefault(checkpoint.manifest, _Root(checkpoint.manifest, PoolKind.CHECKPOINT))
            root.name(run)
            if root.run is None:
                root.run, root.step, root.size_bytes = run.id, checkpoint.step, checkpoint.size_bytes
                root.holders = list(checkpoint.holders)
    for root in _exports(state.jobs.values()):
        found.setdefault(root.manifest, root)
    return list(found.values())


def _exports(jobs: Iterable[Job]) -> Iterator[_Root]:
    for job in jobs:
        if job.kind is not JobKind.EXPORT or job.result_json is None:
            continue
        manifest = exported_manifest(job.result_json)
        if manifest is not None:
            experiments = {str(job.experiment): None} if job.experiment is not None else {}
            yield _Root(manifest, PoolKind.EXPORT, run=job.run, runs=1, experiments=experiments)


def _look_up(store: BlobStore, roots: Iterable[_Root]) -> None:
    """Sizes and holders that the plan does not know. Looks at files."""
    for root in roots:
        if root.kind is not PoolKind.CHECKPOINT and store.has(root.manifest):
            root.holders = [HOST_HOLDER]
            try:
                root.size_bytes = sum(entry.size_bytes for entry in load_manifest(store, root.manifest).entries)
            except GswarmError:
                # Damaged, or gone since: the page says that the size is unknown.
                root.size_bytes = None


def _total(kind: PoolKind, roots: list[_Root]) -> PoolTotalView:
    known = [root.size_bytes for root in roots if root.size_bytes is not None]
    return PoolTotalView(kind=kind, manifests=len(roots), size_bytes=sum(known), unknown=len(roots) - len(known))


def _view(root: _Root) -> PoolManifestView:
    return PoolManifestView(
        manifest=root.manifest,
        kind=root.kind,
        size_bytes=root.size_bytes,
        holders=root.holders,
        run=root.run,
        step=root.step,
        runs=root.runs,
        experiments=list(root.experiments),
    )
