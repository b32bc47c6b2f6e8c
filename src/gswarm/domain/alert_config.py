"""The keys of ``host.alerts``: which rules are off, their thresholds, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from gswarm.domain.alerts import AlertRule
from gswarm.domain.values import Key, Kind, Problems

MAIL_TO_MAX = 20
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class AlertConfig:
    interval_s: float = 5.0
    rules_off: tuple[str, ...] = ()
    hang_utilization: float = 0.9
    hang_power_ratio: float = 0.25
    hang_for_s: float = 180.0
    throttle_for_s: float = 60.0
    loss_z_score: float = 6.0
    idle_for_s: float = 120.0
    disk_free_ratio: float = 0.05
    samples_late_s: float = 30.0
    webhook_url: str | None = None
    webhook_secret_file: str | None = None
    mail_to: tuple[str, ...] = ()
    mail_from: str | None = None
    smtp_host: str | None = None
    smtp_port: int = 587
    smtp_security: str = "starttls"
    smtp_user: str | None = None
    smtp_password_file: str | None = None


def _ratio(name: str, about: str) -> Key:
    return Key(name, Kind.FLOAT, about, unit="ratio", low=0, high=1)


def _seconds(name: str, about: str, low: float = 0.0) -> Key:
    return Key(name, Kind.FLOAT, about, unit="seconds", low=low, high=_DAY_S)


ALERT_KEYS = (
    _seconds("interval_s", "The host looks that often whether something is wrong.", low=0.1),
    Key(
        "rules_off",
        Kind.TEXTS,
        f"Rules that are not looked at: {', '.join(AlertRule)}.",
        may_be_empty=True,
    ),
    _ratio("hang_utilization", "A GPU that is at least so busy,"),
    _ratio("hang_power_ratio", "but draws less than this share of its power limit,"),
    _seconds("hang_for_s", "for so long, may hang."),
    _seconds("throttle_for_s", "A GPU whose clocks are held down by heat that long is too hot."),
    Key("loss_z_score", Kind.FLOAT, "A loss so many standard deviations above the run's recent ones is a spike.", low=2, high=1000),
    _seconds("idle_for_s", "A slot may be idle that long while runs wait."),
    _ratio("disk_free_ratio", "A disk with less than this share free is nearly full."),
    _seconds("samples_late_s", "A connected client's newest sample may be that old.", low=5),
    Key("webhook_url", Kind.TEXT, "Alerts are posted there as JSON: http or https, redirects are not followed.", optional=True),
    Key("webhook_secret_file", Kind.TEXT, "A file with a secret that signs what is posted (HMAC-SHA256).", optional=True),
    Key("mail_to", Kind.TEXTS, "Who gets alerts by mail.", may_be_empty=True),
    Key("mail_from", Kind.TEXT, "The sender's address.", optional=True),
    Key("smtp_host", Kind.TEXT, "The mail server.", optional=True),
    Key("smtp_port", Kind.INT, "Its port.", unit="port", low=1, high=65535),
    Key("smtp_security", Kind.TEXT, "How the connection to it is encrypted.", choices=("starttls", "tls", "none")),
    Key("smtp_user", Kind.TEXT, "Who logs in there; null means no login.", optional=True),
    Key("smtp_password_file", Kind.TEXT, "A file with the password.", optional=True),
)


def check_alerts(config: AlertConfig, problems: Problems) -> None:
    """What no key alone can tell."""
    unknown = [name for name in config.rules_off if name not in set(AlertRule)]
    if unknown:
        problems.add("host.alerts.rules_off", f"there is no rule {unknown[0][:80]!r}; there are {', '.join(AlertRule)}")
    if config.webhook_url is not None and not _is_web_address(config.webhook_url):
        problems.add("host.alerts.webhook_url", "must be an http or https address without a login in it")
    if config.webhook_secret_file is not None and config.webhook_url is None:
        problems.add("host.alerts.webhook_secret_file", "signs what is posted; give webhook_url, too")
    _check_mail(config, problems)


def _check_mail(config: AlertConfig, problems: Problems) -> None:
    odd = [address for address in (*config.mail_to, config.mail_from or "a@b") if not _is_mail_address(address)]
    if odd:
        problems.add("host.alerts", f"{odd[0][:80]!r} is no mail address")
    if len(config.mail_to) > MAIL_TO_MAX:
        problems.add("host.alerts.mail_to", f"has more than {MAIL_TO_MAX} addresses; use a mailing list")
    if config.mail_to and (config.smtp_host is None or config.mail_from is None):
        problems.add("host.alerts.mail_to", "mail needs smtp_host and mail_from, too")
    if (config.smtp_user is None) != (config.smtp_password_file is None):
        problems.add("host.alerts", "smtp_user and smtp_password_file belong together; give both or none")
    if config.smtp_user is not None and config.smtp_security == "none":
        problems.add("host.alerts.smtp_security", "a password is never sent unencrypted; use starttls or tls")


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False


def _is_mail_address(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return bool(name and at and domain) and text.isascii() and not set(name + domain) & set(' ,;:<>()"\\@')
