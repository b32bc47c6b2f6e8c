"""Alerts: what is wrong with whom since when, and what to do about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertRule(StrEnum):
    """What is looked for. ``docs/alerts.md`` says when each fires."""

    HANG = "hang"
    THERMAL_THROTTLE = "thermal_throttle"
    XID = "xid"
    LOSS_NAN = "loss_nan"
    LOSS_SPIKE = "loss_spike"
    SLOT_IDLE = "slot_idle"
    DISK_FULL = "disk_full"
    CLIENT_LOST = "client_lost"
    SAMPLES_LATE = "samples_late"
    SAMPLES_LOST = "samples_lost"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What an alert is about. What does not apply is empty; all empty is the host."""

    client: str = ""
    device: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, or was.

    Attributes:
        id: the same as long as it lasts and wherever it is told, so that a receiver knows what it was told before.
        text: what is wrong and what to do, for people.
        value: what was measured, in the unit that the text gives it in; ``None`` where nothing is.
        since_s: when it began, seconds since the epoch.
        until_s: when it was over; ``None`` while it lasts.
    """

    id: str
    rule: AlertRule
    severity: Severity
    subject: Subject
    text: str
    value: float | None
    since_s: float
    until_s: float | None = None


def alert_id(rule: AlertRule, subject: Subject, since_s: float) -> str:
    """Of one alert: another time or subject is another alert."""
    told = "\0".join((rule, subject.client, subject.device, subject.run, repr(since_s)))
    return f"{rule}-{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}"
