"""Where blobs can be fetched from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import LimitError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest
from gswarm.domain.plan import Checkpoint, ClientState, JobKind, Run
from gswarm.scheduler.core import ClusterState

DIGESTS_MAX = 100_000
SOURCES_MAX = 8
"""Clients named for one blob; asking one that lacks it costs a request."""


class Locator:
    """Names the host for what its pool has, and clients for the rest.

    The plan knows who holds a manifest, not who holds each blob of it. For a blob that the host lacks the clients are named that
    hold the manifest asked for, else those that hold any manifest that is not on the host; a fetch tries them in order.

    Args:
        host_url: base URL of the host's pool.
    """

    def __init__(self, state: ClusterState, store: BlobStore, host_url: Callable[[], str]) -> None:
        self._state = state
        self._store = store
        self._host_url = host_url

    async def locate(self, asker: ClientName, digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        """(base URL, holder's name) for each digest, best first; empty if nobody is known to have it.

        Raises:
            LimitError: too many digests at once.
        """
        if len(digests) > DIGESTS_MAX:
            raise LimitError(f"{len(digests)} blobs were asked for at once", f"ask for at most {DIGESTS_MAX}")
        on_host = await asyncio.to_thread(lambda: {digest for digest in digests if self._store.has(digest)})
        if on_host.issuperset(digests):
            return {digest: [(self._host_url(), HOST_HOLDER)] for digest in digests}
        by_manifest = self._holders_of_manifests()
        anybody = self._reachable(asker, dict.fromkeys(name for holders in by_manifest.values() for name in holders))
        found = {}
        for digest in digests:
            holders = self._reachable(asker, by_manifest.get(digest, {}))
            found[digest] = [(self._host_url(), HOST_HOLDER)] if digest in on_host else holders or anybody
        return found

    def _holders_of_manifests(self) -> dict[Digest, dict[str, None]]:
        """Client names by manifest, newest runs first: their blobs are what is asked for most."""
        holders: dict[Digest, dict[str, None]] = {}
        for run in reversed(self._state.runs.values()):
            for checkpoint in _checkpoints(run):
                if HOST_HOLDER not in checkpoint.holders:
                    holders.setdefault(checkpoint.manifest, {}).update(dict.fromkeys(checkpoint.holders))
        for job in reversed(self._state.jobs.values()):
            if job.kind is not JobKind.PREPARE or job.client is None or job.experiment is None:
                continue
            for run_id in self._state.experiments[job.experiment].runs:
                run = self._state.runs[run_id]
                for manifest in (run.base, run.data):
                    holders.setdefault(manifest, {})[job.client] = None
        return holders

    def _reachable(self, asker: ClientName, names: dict[str, None]) -> list[tuple[str, str]]:
        clients = (self._state.clients.get(ClientName(name)) for name in names if name != asker)
        there = [
            (client.data_url, str(client.name)) for client in clients if client and client.data_url and client.state is not ClientState.LOST
        ]
        return there[:SOURCES_MAX]


def _checkpoints(run: Run) -> list[Checkpoint]:
    return [*run.checkpoints, *([run.start] if run.start is not None else [])]
