"""What the routes about the host itself take and answer: tokens, logins, events, the audit log, how it fares."""

from __future__ import annotations

from pydantic import Field

from gswarm.host.api.models import Model


class TokenRequest(Model):
    role: str
    ttl_s: float | None = Field(None, gt=0, description="null takes the role's default.")
    uses: int | None = Field(None, ge=1, le=10_000, description="How often a client token can be exchanged; 1 by default.")
    client: str | None = Field(None, max_length=63, description="The only name that a client token is good for, also one that is taken.")


class TokenView(Model):
    id: str
    role: str
    created_at: float
    expires_at: float | None
    uses_left: int | None = Field(description="Joins that are left; null for tokens of the API.")
    client: str | None = Field(description="The only name that a client token is good for.")
    revoked_at: float | None
    last_used_at: float | None


class NewTokenView(TokenView):
    token: str = Field(description="Shown this once.")


class RevokedView(Model):
    clients: list[str] = Field(description="Clients whose certificates have ended; what they were doing was cut.")


class RevokedTokenView(TokenView, RevokedView):
    pass


class PrincipalView(Model):
    token_id: str
    role: str


class LoginRequest(Model):
    token: str = Field(max_length=500, description="A token of the API; a client's join token logs nobody in.")


class EventView(Model):
    """One event of the plan."""

    id: int
    type: str
    text: str = Field(description="A sentence for people.")
    ids: dict[str, str] = Field(description="Whom it is about: experiment, run, parent, client, job.")
    at: float


class AuditView(Model):
    """One record of the audit log."""

    number: int
    at: float
    who: str = Field(description="``role:token id``, ``client:name`` by its certificate; - for callers that nobody knows.")
    via: str = Field(description="token, login, certificate, or -.")
    address: str = Field(description="Of the other end of the connection: a proxy's, where one stands between.")
    method: str
    path: str
    outcome: str = Field(description="done, repeated, refused, failed; unrecorded stands for records that the disk refused.")
    status: int = Field(description="Of the HTTP answer.")
    detail: str
    unrecorded: int = Field(description="Records before this one that are missing.")


class HealthView(Model):
    status: str
    version: str


class ReadyView(Model):
    ready: bool
    version: str
    clients: int
    slots: int
    seq: int = Field(description="Sequence number of the newest journal entry.")
    uptime_s: float
    refused_reports: int = Field(description="Reports whose lease was over; they did not count.")
    refused_transfers: int = Field(description="Blobs that clients asked for or brought without a right to.")
    refused_metrics: int = Field(description="Values and log lines of runs that their sender was not granted.")


class JournalStatusView(Model):
    newest_event: int
    oldest_event: int = Field(description="Whoever follows the events may resume from here on.")
    lag_events: int = Field(description="Since the newest snapshot: what a start after a crash replays.")
    waiting_events: int
    last_flush_ms: float | None
    snapshot_event: int | None
    snapshot_age_s: float | None
    size_bytes: int


class DiskStatusView(Model):
    path: str
    free_bytes: int
    total_bytes: int


class HostView(Model):
    version: str
    clients: int = Field(description="Ready for work.")
    connected: int = Field(description="Clients with a session now.")
    slots: int
    seq: int
    uptime_s: float
    refused_reports: int
    refused_transfers: int
    refused_metrics: int
    open_leases: int = Field(description="Grants that are neither committed nor over.")
    open_jobs: int
    epoch: int = Field(description="Grows with each restore from a backup; 0 on a host that never was.")
    journal: JournalStatusView
    disks: dict[str, DiskStatusView] = Field(description="``data`` and ``pool``.")
