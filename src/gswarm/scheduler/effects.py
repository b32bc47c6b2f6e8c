"""What must be done: the outputs of ``ClusterState.step``. Imperative, executed by the host after the flush, in order.

Every effect may be executed again after a restart (``ClusterState.outstanding_effects``); all are idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass

from gswarm.domain.ids import ClientName, JobId, RunId
from gswarm.domain.plan import Grant


@dataclass(frozen=True, slots=True)
class SendGrant:
    """Tell the client to train ``grant``."""

    client: ClientName
    grant: Grant


@dataclass(frozen=True, slots=True)
class SendStop:
    """Tell the client to stop that grant at the next step, checkpoint and report; or return it if it has not begun."""

    client: ClientName
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class SendRevoke:
    """Tell the client that the grant is over: abort, report nothing."""

    client: ClientName
    run: RunId
    generation: int


@dataclass(frozen=True, slots=True)
class SendDrop:
    """Tell the client to free what it holds of the run in memory."""

    client: ClientName
    run: RunId


@dataclass(frozen=True, slots=True)
class SendJob:
    client: ClientName
    job: JobId


@dataclass(frozen=True, slots=True)
class StartTimer:
    key: str
    due_at_s: float


@dataclass(frozen=True, slots=True)
class SweepBlobs:
    """References went away: mark and sweep the pools."""


Effect = SendGrant | SendStop | SendRevoke | SendDrop | SendJob | StartTimer | SweepBlobs
