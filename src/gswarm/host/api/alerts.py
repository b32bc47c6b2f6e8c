"""What is wrong in the cluster, and what was lately."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from gswarm.domain.alerts import Alert
from gswarm.host.api.deps import ServicesDep


class AlertView(BaseModel):
    """``until`` is null while it lasts. What an alert is not about is null; all null is the host."""

    model_config = ConfigDict(extra="forbid")

    id: str
    rule: str
    severity: Literal["info", "warning", "critical"]
    client: str | None
    device: str | None
    run: str | None
    text: str
    value: float | None
    since: float
    until: float | None


class AlertRuleView(BaseModel):
    """Whether a rule is looked at; ``docs/alerts.md`` says when each fires."""

    model_config = ConfigDict(extra="forbid")

    rule: str
    is_on: bool


class AlertChannelView(BaseModel):
    """Somebody who is told beside the log and the dashboard; ``error`` is null while it works."""

    model_config = ConfigDict(extra="forbid")

    name: str
    error: str | None


class AlertList(BaseModel):
    """``left_out`` counts what is wrong beyond what is kept."""

    model_config = ConfigDict(extra="forbid")

    items: list[AlertView]
    left_out: int
    rules: list[AlertRuleView]
    channels: list[AlertChannelView]


async def list_alerts(services: ServicesDep) -> AlertList:
    """What fires, the worst first, then what was over in the last hour."""
    desk = services.alerts
    return AlertList(
        items=[_view(alert) for alert in desk.listed()],
        left_out=desk.left_out,
        rules=[AlertRuleView(rule=rule.value, is_on=is_on) for rule, is_on in desk.rules.items()],
        channels=[AlertChannelView(name=name, error=error or None) for name, error in desk.channels.items()],
    )


def _view(alert: Alert) -> AlertView:
    return AlertView(
        id=alert.id,
        rule=alert.rule.value,
        severity=alert.severity.value,
        client=alert.subject.client or None,
        device=alert.subject.device or None,
        run=alert.subject.run or None,
        text=alert.text,
        value=alert.value,
        since=alert.since_s,
        until=alert.until_s,
    )
