"""The host itself: whether it is there, and who asks."""

from __future__ import annotations

from fastapi import Request

from gswarm.domain.plan import ClientState
from gswarm.host.api import models
from gswarm.host.api.deps import ServicesDep


async def health(services: ServicesDep) -> models.HealthView:
    """The process answers. Open to anyone."""
    return models.HealthView(status="ok", version=services.version)


async def ready(services: ServicesDep) -> models.ReadyView:
    """The plan is loaded, and who is there to train it."""
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
    )


async def whoami(request: Request) -> models.PrincipalView:
    """The token that this request came with."""
    principal = request.state.principal
    return models.PrincipalView(token_id=principal.token_id, role=principal.role)
