"""The ways by which alerts reach people: a webhook, mail. Each sends some alerts in one message, or says why it could not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any, Protocol

import httpx

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, Severity
from gswarm.domain.errors import InvalidInputError, UnavailableError
from gswarm.domain.printable import printable

_log = logging.getLogger("gswarm.host.alerts")

TIMEOUT_S = 10.0
TOTAL_TIMEOUT_S = 30.0
"""For one message: a receiver that answers a byte at a time is not waited for."""
SECRET_BYTES_MAX = 4096
_TRY_AGAIN = frozenset({408, 425, 429})


class Channel(Protocol):
    name: str

    async def send(self, alerts: Sequence[Alert]) -> None:
        """Raises:
        InvalidInputError: the receiver will not take it, however often it is sent.
        UnavailableError: it may work later.
        """

    def close(self) -> None: ...


def open_channels(config: AlertConfig, cluster_id: str, clock: Callable[[], float]) -> list[Channel]:
    """What the config names. Blocking.

    Raises:
        InvalidInputError: a secret's file cannot be read.
    """
    channels: list[Channel] = []
    if config.webhook_url is not None:
        secret = None if config.webhook_secret_file is None else read_secret(config.webhook_secret_file, "webhook_secret_file")
        channels.append(Webhook(config.webhook_url, secret, cluster_id, clock))
    if config.mail_to:
        password = None if config.smtp_password_file is None else read_secret(config.smtp_password_file, "smtp_password_file")
        channels.append(Mail(config, password, cluster_id, clock))
    return channels


def read_secret(path: str, key: str) -> str:
    """The file's first line. Raises InvalidInputError."""
    try:
        with Path(path).expanduser().open("rb") as file:
            secret = file.read(SECRET_BYTES_MAX).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"host.alerts.{key}: {path} cannot be read: {error}", "name a text file that the host may read") from error
    if not secret or not secret[0].strip():
        raise InvalidInputError(f"host.alerts.{key}: {path} is empty", "write the secret into its first line")
    return secret[0].strip()


def document(alert: Alert) -> dict[str, Any]:
    """An alert as JSON."""
    return {
        "id": alert.id,
        "state": "firing" if alert.until_s is None else "resolved",
        "rule": alert.rule.value,
        "severity": alert.severity.value,
        "client": alert.subject.client or None,
        "device": alert.subject.device or None,
        "run": alert.subject.run or None,
        "text": alert.text,
        "value": alert.value,
        "since": alert.since_s,
        "until": alert.until_s,
    }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC of ``TIMESTAMP.BODY`` in hexadecimal digits."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Webhook:
    """Posts JSON. Redirects are not followed and the answer's body is not read.

    Args:
        secret: signs each message together with its time, in ``X-Gswarm-Signature`` and ``X-Gswarm-Timestamp``.
    """

    def __init__(self, url: str, secret: str | None, cluster_id: str, clock: Callable[[], float]) -> None:
        self.name = "webhook"
        self._url = url
        self._secret = secret
        self._cluster_id = cluster_id
        self._clock = clock
        self._tls = ssl.create_default_context()

    async def send(self, alerts: Sequence[Alert]) -> None:
        body = json.dumps(
            {"version": 1, "cluster": self._cluster_id, "alerts": [document(alert) for alert in alerts]}, allow_nan=False
        ).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "gswarm"}
        if self._secret is not None:
            headers["X-Gswarm-Timestamp"] = timestamp = str(int(self._clock()))
            headers["X-Gswarm-Signature"] = signature(self._secret, timestamp, body)
        try:
            async with (
                asyncio.timeout(TOTAL_TIMEOUT_S),
                httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as http,
                http.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise UnavailableError(f"the webhook cannot be reached: {_why(error)}", "look at host.alerts.webhook_url") from error
        if status // 100 == 2:
            return
        if status >= 500 or status in _TRY_AGAIN:
            raise UnavailableError(f"the webhook answers {status}", "look at its log")
        raise InvalidInputError(f"the webhook answers {status}", "look at host.alerts.webhook_url; redirects are not followed")

    def close(self) -> None:
        return


class Mail:
    """Sends mail from a thread of its own: the standard library's SMTP blocks, and may for long."""

    def __init__(self, config: AlertConfig, password: str | None, cluster_id: str, clock: Callable[[], float]) -> None:
        assert config.smtp_host is not None
        assert config.mail_from is not None
        self.name = "mail"
        self._config = config
        self._host, self._from = config.smtp_host, config.mail_from
        self._password = password
        self._cluster_id = cluster_id
        self._clock = clock
        self._tls = ssl.create_default_context()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alert-mail")

    async def send(self, alerts: Sequence[Alert]) -> None:
        message = self._message(alerts)
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._deliver, message)
        except (smtplib.SMTPException, OSError, TimeoutError) as error:
            told = f"the mail server {self._host}:{self._config.smtp_port} did not take it: {_why(error)}"
            if _is_for_good(error):
                raise InvalidInputError(told, "look at the mail keys of host.alerts") from error
            raise UnavailableError(told, "look at the smtp keys of host.alerts") from error

    def _deliver(self, message: EmailMessage) -> None:
        port = self._config.smtp_port
        if self._config.smtp_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, port, timeout=TIMEOUT_S, context=self._tls)
        else:
            server = smtplib.SMTP(self._host, port, timeout=TIMEOUT_S)
        with server:
            if self._config.smtp_security == "starttls":
                server.starttls(context=self._tls)
            if self._config.smtp_user is not None and self._password is not None:
                server.login(self._config.smtp_user, self._password)
            refused = server.send_message(message)
        for recipient, (code, _) in refused.items():
            _log.warning("the mail server %s:%d does not take mail for %s (%d)", self._host, port, printable(recipient), code)

    def _message(self, alerts: Sequence[Alert]) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = self._from, ", ".join(self._config.mail_to)
        message["Subject"] = subject_line(alerts)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock(), UTC))
        message["Message-ID"] = make_msgid(domain="gswarm.invalid")
        message.set_content("\n\n".join(_paragraph(alert) for alert in alerts) + f"\n\n-- \ngswarm, cluster {self._cluster_id}\n")
        return message

    def close(self) -> None:
        """A delivery that hangs ends by its own timeouts; it is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _is_for_good(error: Exception) -> bool:
    """Replies from 500 on are (RFC 5321, section 4.2.1); with one of 4xx, as of greylisting, it may be taken later."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            return all(code >= 500 for code, _ in error.recipients.values())
        case smtplib.SMTPSenderRefused():
            return error.smtp_code >= 500
        case _:
            return isinstance(error, smtplib.SMTPNotSupportedError)


def subject_line(alerts: Sequence[Alert]) -> str:
    """One line without control characters, whatever names are in it."""
    order = list(Severity)
    worst = max(alerts, key=lambda alert: (alert.until_s is None, order.index(alert.severity)))
    state = worst.severity.value if worst.until_s is None else "resolved"
    whose = printable(" ".join(part for part in (worst.subject.client, worst.subject.device, worst.subject.run) if part), keep="")[:80]
    more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    return f"[gswarm] {state}: {worst.rule.value} {whose or 'host'}{more}"


def _paragraph(alert: Alert) -> str:
    since = datetime.fromtimestamp(alert.since_s, UTC).isoformat(timespec="seconds")
    until = f", over at {datetime.fromtimestamp(alert.until_s, UTC).isoformat(timespec='seconds')}" if alert.until_s is not None else ""
    return f"{alert.severity.value} {alert.rule.value} since {since}{until}\n{printable(alert.text, keep='')}\nid {alert.id}"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return printable(str(error), keep="")[:200] or type(error).__name__
