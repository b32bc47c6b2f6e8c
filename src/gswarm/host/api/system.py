"""The host itself: whether it is there."""

from __future__ import annotations

from dataclasses import asdict

from gswarm.domain.plan import ClientState
from gswarm.host.api import host_models as models
from gswarm.host.api.deps import ServicesDep
from gswarm.host.status import host_status


async def health(services: ServicesDep) -> models.HealthView:
    """The process answers; ``failing`` means that its disk failed and that it is about to end. Open to anyone."""
    return models.HealthView(status="failing" if services.loop.failed.done() else "ok", version=services.version)


async def ready(services: ServicesDep) -> models.ReadyView:
    """The plan is loaded, and who is there to train it. A host whose disk failed answers with what is wrong."""
    if services.loop.failed.done():
        raise services.loop.failed.result()
    state = services.loop.state
    there = [client for client in state.clients.values() if client.state is ClientState.READY]
    return models.ReadyView(
        ready=True,
        version=services.version,
        clients=len(there),
        slots=sum(len(client.slots) for client in there),
        seq=services.loop.seq,
        uptime_s=services.clock() - services.started_at_s,
        refused_reports=services.sessions.refused_reports,
        refused_transfers=services.rights.refused_count,
        refused_metrics=services.sessions.refused_metrics,
    )


async def status(services: ServicesDep) -> models.HostView:
    """Journal, disks, clients, open leases: how the host fares."""
    there, found = await ready(services), await host_status(services)
    return models.HostView(**there.model_dump(exclude={"ready"}), **asdict(found))
