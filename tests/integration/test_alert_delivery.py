"""Alerts by a real webhook and a real mail server, good and bad ones."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject
from gswarm.domain.errors import InvalidInputError, UnavailableError
from gswarm.host.alerting import channels as alert_channels
from gswarm.host.alerting.channels import Channel, open_channels, signature
from gswarm.wire.tls import CertificateAuthority

FIRING = Alert("xid-1", AlertRule.XID, Severity.CRITICAL, Subject("a", "gpu:0"), "XID 79\r\nBcc: x@y", 79.0, 1_000.0)
OVER = replace(FIRING, id="xid-0", severity=Severity.WARNING, until_s=1_060.0)

# ---- the webhook --------------------------------------------------------------------------------------------------------

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """An HTTP server of the test's."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer: Handler = self._fine
        self.url = ""

    async def _fine(self, _request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((dict(request.headers), await request.read()))
        return await self.answer(request)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


def webhook(url: str, secret_file: Path | None = None) -> Channel:
    config = AlertConfig(webhook_url=url, webhook_secret_file=str(secret_file) if secret_file else None)
    return open_channels(config, "c1", lambda: 1_234.5)[0]


async def test_it_is_told_everything_and_can_check_who_told(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame\n")
    await webhook(receiver.url, tmp_path / "secret").send([FIRING, OVER])
    ((headers, body),) = receiver.requests
    assert headers["X-Gswarm-Timestamp"] == "1234"
    assert headers["X-Gswarm-Signature"] == signature("open sesame", "1234", body)
    assert headers["X-Gswarm-Signature"] != signature("open sesame", "1235", body)
    told = json.loads(body)
    assert (told["version"], told["cluster"]) == (1, "c1")
    assert [(one["id"], one["state"]) for one in told["alerts"]] == [("xid-1", "firing"), ("xid-0", "resolved")]
    assert told["alerts"][0] == {
        "id": "xid-1",
        "state": "firing",
        "rule": "xid",
        "severity": "critical",
        "client": "a",
        "device": "gpu:0",
        "run": None,
        "text": FIRING.text,
        "value": 79.0,
        "since": 1_000.0,
        "until": None,
    }


async def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    await webhook(receiver.url).send([FIRING])
    assert not [name for name in receiver.requests[0][0] if name.startswith("X-Gswarm")]


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": receiver.url + "/other"})

    receiver.answer = elsewhere
    with pytest.raises(InvalidInputError, match="answers 307"):
        await webhook(receiver.url).send([FIRING])
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(500, UnavailableError), (429, UnavailableError), (408, UnavailableError), (404, InvalidInputError)]
)
async def test_what_may_work_later_is_told_from_what_will_not(receiver: Receiver, status: int, error: type[Exception]) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    receiver.answer = refuse
    with pytest.raises(error, match=str(status)):
        await webhook(receiver.url).send([FIRING])


async def test_one_that_never_answers_is_left(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(alert_channels, "TOTAL_TIMEOUT_S", 0.2)
    receiver.answer = hang
    with pytest.raises(UnavailableError, match="does not answer in time"):
        await webhook(receiver.url).send([FIRING])


async def test_an_endless_answer_is_not_read(receiver: Receiver) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)

    receiver.answer = endless
    await webhook(receiver.url).send([FIRING])


async def test_nobody_there() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await webhook("http://127.0.0.1:9/").send([FIRING])


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidInputError, match="webhook_secret_file"):
        webhook("http://127.0.0.1:9/", path)


# ---- mail ---------------------------------------------------------------------------------------------------------------


class Mailbox:
    """What a mail server was sent, and by whom."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.replies: dict[str, str] = {}
        """To recipients that are not taken."""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        is_right = data.password == b"right"
        return AuthResult(success=is_right, handled=is_right)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that this process trusts as it trusts any public one."""
    authority = CertificateAuthority.create("mail")
    issued = authority.issue_host()
    for name, content in (("ca.pem", authority.ca_pem), ("cert.pem", issued.cert_pem), ("key.pem", issued.key_pem)):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.fixture
async def start(mailbox: Mailbox) -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Starts the mail server; its port."""
    running: list[asyncio.Server] = []

    async def begin(**options: Any) -> int:
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mailbox, authenticator=mailbox.authenticate, hostname="localhost", **options), "127.0.0.1", 0
        )
        running.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield begin
    for server in running:
        server.close()


def mail(port: int, tmp_path: Path, **changes: Any) -> Channel:
    (tmp_path / "password").write_text("right\n")
    config = AlertConfig(
        mail_to=("ops@example.org", "b@example.org"), mail_from="gswarm@example.org", smtp_host="127.0.0.1", smtp_port=port
    )
    return open_channels(replace(config, **changes), "c1", lambda: 1_234.5)[0]


async def test_mail_over_starttls_with_a_login(
    mailbox: Mailbox, start: Callable[..., Awaitable[int]], trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    port = await start(tls_context=trusted, require_starttls=True, auth_required=True)
    await mail(port, tmp_path, smtp_user="gswarm", smtp_password_file=str(tmp_path / "password")).send([FIRING, OVER])
    assert mailbox.logins == [(b"gswarm", b"right")]
    ((recipients, content),) = mailbox.mails
    assert recipients == ["ops@example.org", "b@example.org"]
    message = message_from_bytes(content, policy=default)
    assert message["Subject"] == "[gswarm] critical: xid a gpu:0 and 1 more"
    assert (message["From"], message["Bcc"]) == ("gswarm@example.org", None)
    text = message.get_content()
    assert "critical xid since 1970-01-01T00:16:40+00:00" in text
    assert "over at 1970-01-01T00:17:40+00:00" in text
    assert "id xid-1" in text


async def test_a_wrong_password_and_a_server_that_does_not_encrypt(
    mailbox: Mailbox, start: Callable[..., Awaitable[int]], trusted: ssl.SSLContext, tmp_path: Path
) -> None:
    port = await start(tls_context=trusted, require_starttls=True, auth_exclude_mechanism=["LOGIN"])
    (tmp_path / "wrong").write_text("wrong")
    with pytest.raises(UnavailableError, match="535"):
        await mail(port, tmp_path, smtp_user="gswarm", smtp_password_file=str(tmp_path / "wrong")).send([FIRING])
    with pytest.raises(InvalidInputError, match="STARTTLS"):
        await mail(await start(), tmp_path).send([FIRING])
    assert mailbox.mails == []
    await mail(await start(), tmp_path, smtp_security="none").send([FIRING])
    assert len(mailbox.mails) == 1


async def test_who_is_greylisted_tries_again_and_who_is_unknown_does_not(
    mailbox: Mailbox, start: Callable[..., Awaitable[int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = await start()
    channel = mail(port, tmp_path, smtp_security="none")
    mailbox.replies = {"ops@example.org": "450 4.2.0 greylisted", "b@example.org": "550 5.1.1 no such user"}
    with pytest.raises(UnavailableError, match="greylisted"):
        await channel.send([FIRING])
    mailbox.replies = dict.fromkeys(mailbox.replies, "550 5.1.1 no such user")
    with pytest.raises(InvalidInputError, match="no such user"):
        await channel.send([FIRING])
    del mailbox.replies["ops@example.org"]
    await channel.send([FIRING])
    assert [recipients for recipients, _ in mailbox.mails] == [["ops@example.org"]]
    assert "does not take mail for b@example.org (550)" in caplog.text


async def test_a_server_of_an_unknown_authority_gets_nothing(
    mailbox: Mailbox, start: Callable[..., Awaitable[int]], trusted: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await start(tls_context=trusted)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        await mail(port, tmp_path).send([FIRING])
    assert mailbox.mails == []


async def test_a_mail_server_that_says_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "TIMEOUT_S", 0.2)
    server = await asyncio.start_server(lambda reader, writer: asyncio.Event().wait(), "127.0.0.1", 0)
    try:
        with pytest.raises(UnavailableError, match="did not take it"):
            await mail(server.sockets[0].getsockname()[1], tmp_path).send([FIRING])
    finally:
        server.close()
