"""The plan with what feeds it and what it drives. The daemon gives it real disks and sockets, the simulator pretended ones."""

from __future__ import annotations

from collections.abc import Sequence

from gswarm import __version__
from gswarm.datapool.pins import Pins
from gswarm.datapool.store import BlobStore
from gswarm.domain.config import HostConfig
from gswarm.domain.ids import ClientName, Digest
from gswarm.domain.messages import HostMessage
from gswarm.host.access.rights import PoolRights
from gswarm.host.clock import Clock
from gswarm.host.effects import EffectRunner
from gswarm.host.intake import LogStore, MetricIntake
from gswarm.host.journal.protocol import Journal
from gswarm.host.keeper import PoolKeeper
from gswarm.host.locate import Locator
from gswarm.host.loop import PlanLoop
from gswarm.host.profiling.samples import SampleIntake
from gswarm.host.reports import ReportDesk
from gswarm.host.sessions import SessionManager
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect


class HostCore:
    """These parts refer to each other in a circle that is closed here. Made inside a running event loop.

    Args:
        knows_clients: they show certificates, so what they leave in the pool is known to be theirs.
        samples: takes what their sensors measure.
    """

    def __init__(
        self,
        journal: Journal,
        state: ClusterState,
        clock: Clock,
        config: HostConfig,
        store: BlobStore,
        series: SeriesStore,
        run_logs: LogStore,
        pool_url: str,
        cluster_id: str,
        *,
        knows_clients: bool = False,
        samples: SampleIntake | None = None,
    ) -> None:
        self.effects = EffectRunner(
            state, clock, self, lambda event: self.loop.submit_own(event), lambda: self.keeper.request_sweep(), config.trusted_code
        )
        self.loop = PlanLoop(
            journal,
            state,
            clock.now_s,
            self.run_effects,
            queue_max=config.limits.max_queued_events,
            snapshot_every_events=config.snapshot_every_events,
        )
        self.pool_url = pool_url
        self.rights = PoolRights(state, store, clock)
        self.keeper = PoolKeeper(store, Pins(), clock, self._roots, lambda roots: self.sessions.broadcast_sweep(roots))
        self.sessions = SessionManager(
            self.loop,
            self.effects,
            ReportDesk(self.loop, self.keeper, clock, self.rights if knows_clients else None),
            MetricIntake(state, series, run_logs, clock.now_s),
            Locator(state, store, lambda: self.pool_url),
            clock,
            lease_timeout_s=config.lease_timeout_s,
            cluster_id=cluster_id,
            version=__version__,
            clients_max=config.limits.max_clients,
            samples=samples,
        )

    def deliver(self, client: ClientName, message: HostMessage) -> None:
        self.sessions.deliver(client, message)

    def run_effects(self, effects: Sequence[Effect]) -> None:
        """Carries out what a flushed batch of events led to, in order."""
        self.effects.run(effects)

    async def _roots(self) -> Sequence[Digest]:
        return await self.loop.at_rest(self.loop.state.live_roots)

    def start(self) -> None:
        """Timers start again, and what the last process left is swept; clients are told what is outstanding when they register."""
        self.loop.start()
        self.sessions.start()
        self.effects.run(self.loop.state.outstanding_effects())
        self.keeper.request_sweep()

    async def stop(self) -> None:
        """Ends all sessions, finishes what was submitted and saves a snapshot."""
        await self.sessions.stop()
        self.effects.close()
        await self.keeper.close()
        await self.loop.close()
