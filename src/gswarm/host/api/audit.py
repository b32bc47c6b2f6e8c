"""The audit log: who changed what, and who was not let in."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from gswarm.host.access.audit import AuditKind, NumberedRecord
from gswarm.host.api import host_models as models
from gswarm.host.api.deps import ServicesDep
from gswarm.host.api.models import Page
from gswarm.host.api.paging import Cursor, Limit, before

Kind = Annotated[AuditKind, Query(description="Changes that were asked for, or callers that were refused.")]


async def list_audit(
    services: ServicesDep, kind: Kind = AuditKind.WRITES, limit: Limit = 100, cursor: Cursor = None
) -> Page[models.AuditView]:
    """Records, the newest first. Numbers grow by one; the oldest records make room for new ones."""
    found = await services.audit.read(kind, limit, before(cursor))
    following = str(found[-1][0]) if len(found) == limit and found[-1][0] > 1 else None
    return Page(items=[_view(numbered) for numbered in found], next_cursor=following)


def _view(numbered: NumberedRecord) -> models.AuditView:
    number, record = numbered
    return models.AuditView(
        number=number,
        at=record.at_s,
        who=record.who,
        via=record.via,
        address=record.address,
        method=record.method,
        path=record.path,
        outcome=record.outcome,
        status=record.status,
        detail=record.detail,
        unrecorded=record.unrecorded,
    )
