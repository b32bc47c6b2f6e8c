"""Clients: who is there, and steering them."""

from __future__ import annotations

import asyncio

from gswarm.domain.errors import NotFoundError
from gswarm.domain.ids import ClientName
from gswarm.domain.plan import Client
from gswarm.host.api import host_models, models, views
from gswarm.host.api.deps import By, ServicesDep
from gswarm.host.api.paging import Cursor, Limit, page
from gswarm.scheduler.events import ClientDrainRequested


def _find(services: ServicesDep, name: str) -> Client:
    client = services.loop.state.clients.get(ClientName(name))
    if client is None:
        known = ", ".join(services.loop.state.clients) or "none yet"
        raise NotFoundError(f"there is no client {name!r}", f"clients: {known}")
    return client


def _view(services: ServicesDep, client: Client) -> models.ClientView:
    sessions = services.sessions
    return views.client_view(
        services.loop.state, client, client.name in sessions.connected, sessions.certificate_ends_s(client.name), services.clock()
    )


async def list_clients(services: ServicesDep, limit: Limit = 100, cursor: Cursor = None) -> models.Page[models.ClientView]:
    """Every client the host knows, lost ones too, by name."""
    known = [client for _, client in sorted(services.loop.state.clients.items())]
    chosen, following = page(known, lambda client: client.name, limit, cursor)
    return models.Page(items=[_view(services, client) for client in chosen], next_cursor=following)


async def get_client(services: ServicesDep, name: str) -> models.ClientView:
    """One client and what its slots do."""
    return _view(services, _find(services, name))


async def drain_client(services: ServicesDep, by: By, name: str) -> models.ClientView:
    """Let it finish what it holds and give it nothing new."""
    return await _drain(services, by, name, True)


async def resume_client(services: ServicesDep, by: By, name: str) -> models.ClientView:
    """Give it work again."""
    return await _drain(services, by, name, False)


async def _drain(services: ServicesDep, by: str, name: str, drain: bool) -> models.ClientView:
    client = _find(services, name)
    await services.loop.submit(ClientDrainRequested(client=client.name, drain=drain, by=by))
    return _view(services, client)


async def disconnect_client(services: ServicesDep, by: By, name: str) -> models.ClientView:
    """Ask it to leave: it stops at the next step, hands in what it has and ends."""
    client = _find(services, name)
    await services.sessions.disconnect(client.name, f"disconnected by {by}")
    return _view(services, client)


async def revoke_client(services: ServicesDep, name: str) -> host_models.RevokedView:
    """End its certificate for good: what it is doing is cut now, its grants go to others. Idempotent."""
    await asyncio.to_thread(services.tokens.revoke_client, name)
    return host_models.RevokedView(clients=[name])
