"""Tokens: who may speak to this API, and which machines may join."""

from __future__ import annotations

import asyncio

from gswarm.domain.errors import NotFoundError
from gswarm.host.access.auth import TokenInfo
from gswarm.host.api import host_models as models
from gswarm.host.api.deps import Note, ServicesDep
from gswarm.host.api.models import Page
from gswarm.host.api.paging import Cursor, Limit, page


def _fields(info: TokenInfo) -> models.TokenView:
    return models.TokenView(
        id=info.id,
        role=info.role,
        created_at=info.created_at_s,
        expires_at=info.expires_at_s,
        uses_left=info.uses_left,
        client=info.client,
        revoked_at=info.revoked_at_s,
        last_used_at=info.last_used_at_s,
    )


async def create_token(services: ServicesDep, note: Note, body: models.TokenRequest) -> models.NewTokenView:
    """A new token: a client token joins machines to the cluster, the others speak to this API."""
    created = await asyncio.to_thread(services.tokens.create, body.role, body.ttl_s, body.uses, body.client)
    note.detail = f"made {created.id} of role {body.role}"
    view = await _one(services, created.id)
    return models.NewTokenView(**view.model_dump(), token=created.text)


async def list_tokens(services: ServicesDep, limit: Limit = 100, cursor: Cursor = None) -> Page[models.TokenView]:
    """All tokens without their secrets, the newest first, ended ones too."""
    known = await asyncio.to_thread(services.tokens.list)
    chosen, following = page(known, lambda info: info.id, limit, cursor)
    return Page(items=[_fields(info) for info in chosen], next_cursor=following)


async def revoke_token(services: ServicesDep, token: str) -> models.RevokedTokenView:
    """End a token now, with every login, event stream and client's certificate that goes back to it. Idempotent."""
    clients = await asyncio.to_thread(services.tokens.revoke, token)
    view = await _one(services, token)
    return models.RevokedTokenView(**view.model_dump(), clients=list(clients))


async def _one(services: ServicesDep, token_id: str) -> models.TokenView:
    for info in await asyncio.to_thread(services.tokens.list):
        if info.id == token_id:
            return _fields(info)
    raise NotFoundError(f"there is no token {token_id!r}", "'gswarm token list' shows them")
