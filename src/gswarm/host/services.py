"""The running host's parts, as the HTTP API uses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gswarm.datapool.store import BlobStore
from gswarm.domain.config import HostConfig
from gswarm.host.access.audit import AuditLog
from gswarm.host.access.auth import TokenStore
from gswarm.host.access.logins import Logins
from gswarm.host.access.rights import PoolRights
from gswarm.host.alerting.desk import AlertDesk
from gswarm.host.loop import PlanLoop
from gswarm.host.profiling.services import ProfilerServices
from gswarm.host.sessions import SessionManager
from gswarm.profiler.run_logs import RunLogStore
from gswarm.profiler.series import SeriesStore
from gswarm.scheduler.core import ClusterState


@dataclass(frozen=True, slots=True)
class HostServices:
    """All are used on the event loop's thread, but the stores, which are safe on any."""

    loop: PlanLoop
    tokens: TokenStore
    logins: Logins
    series: SeriesStore
    run_logs: RunLogStore
    profiler: ProfilerServices
    alerts: AlertDesk
    store: BlobStore
    sessions: SessionManager
    rights: PoolRights
    audit: AuditLog
    config: HostConfig
    clock: Callable[[], float]
    """Seconds since the epoch."""
    version: str
    cluster_id: str
    started_at_s: float

    @property
    def state(self) -> ClusterState:
        """Read only."""
        return self.loop.state
