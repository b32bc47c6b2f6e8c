"""What ``host.alerts`` refuses."""

from __future__ import annotations

from typing import Any

import pytest

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.config import load
from gswarm.domain.errors import InvalidInputError

MAIL = {"mail_to": ["ops@example.org"], "mail_from": "gswarm@example.org", "smtp_host": "mail.example.org"}


def read(**keys: Any) -> AlertConfig:
    return load({"host": {"alerts": keys}}).host.alerts


def test_what_is_right() -> None:
    assert read(**MAIL).mail_to == ("ops@example.org",)
    assert read(webhook_url="https://hooks.example.org:8443/a?b=c", webhook_secret_file="/s").webhook_secret_file == "/s"
    assert read(rules_off="hang,xid").rules_off == ("hang", "xid")
    assert load().host.alerts == AlertConfig()


@pytest.mark.parametrize(
    "url",
    ["ftp://x/y", "file:///etc/passwd", "https://", "hooks.example.org", "https://user@host/", "http://[::1", "https://host:0/"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInputError, match="webhook_url"):
        read(webhook_url=url)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"rules_off": ["hangs"]}, "no rule 'hangs'"),
        ({"webhook_secret_file": "/s"}, "webhook_url, too"),
        ({"mail_to": ["a@b"]}, "smtp_host and mail_from"),
        (MAIL | {"mail_to": ["a@b, c@d"]}, "no mail address"),
        (MAIL | {"mail_to": ["nobody"]}, "no mail address"),
        (MAIL | {"mail_from": "a@b>c"}, "no mail address"),
        (MAIL | {"mail_to": [f"a{number}@b" for number in range(21)]}, "more than 20"),
        (MAIL | {"smtp_user": "u"}, "belong together"),
        (MAIL | {"smtp_user": "u", "smtp_password_file": "/p", "smtp_security": "none"}, "never sent unencrypted"),
        ({"hang_power_ratio": 2}, "hang_power_ratio"),
    ],
)
def test_what_does_not_fit(keys: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        read(**keys)
