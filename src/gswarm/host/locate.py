"""Where blobs can be fetched from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gswarm.datapool.manifest import manifest_entries
from gswarm.datapool.store import BlobStore
from gswarm.domain.errors import CorruptDataError, LimitError
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest
from gswarm.domain.plan import Checkpoint, ClientState, JobKind, Run
from gswarm.scheduler.allowance import readable
from gswarm.scheduler.core import ClusterState

DIGESTS_MAX = 100_000
SOURCES_MAX = 8
"""Clients named for one blob; asking one that lacks it costs a request."""


class Locator:
    """Names the host for what its pool has, and clients for the rest.

    The plan knows who holds a manifest, not who holds each blob of it. For a manifest that is not whole on the host (kept by a client
    only, or damaged here) the clients that hold it are named too, for another blob those that hold any; a fetch tries them in order.

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
        host = [(self._host_url(), HOST_HOLDER)]
        whole = await asyncio.to_thread(lambda: {digest for digest in digests if _is_whole(self._store, digest)})
        if whole.issuperset(digests):
            return dict.fromkeys(digests, host)
        by_manifest = self._holders_of_manifests()
        anybody = self._reachable(asker, dict.fromkeys(name for holders in by_manifest.values() for name in holders))
        found = {}
        for digest in digests:
            part = host if self._store.has(digest) else []
            found[digest] = host if digest in whole else part + (self._reachable(asker, by_manifest.get(digest, {})) or anybody)
        return found

    def reach(self, client: ClientName) -> list[Digest]:
        """Manifests that ``client`` may fetch now, wherever they are."""
        return sorted(readable(self._state, client))

    def _holders_of_manifests(self) -> dict[Digest, dict[str, None]]:
        """Client names by manifest, newest runs first: their blobs are what is asked for most."""
        holders: dict[Digest, dict[str, None]] = {}
        for run in reversed(self._state.runs.values()):
            for checkpoint in _checkpoints(run):
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


def _is_whole(store: BlobStore, digest: Digest) -> bool:
    """Whether the store can give the blob and, of a manifest, everything that it names."""
    try:
        return store.has(digest) and all(store.has(entry) for entry in manifest_entries(store, digest))
    except CorruptDataError:
        return False


def _checkpoints(run: Run) -> list[Checkpoint]:
    return [*run.checkpoints, *([run.start] if run.start is not None else [])]
