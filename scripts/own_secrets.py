"""A plugin of ``detect-secrets``: gswarm's own tokens, wherever they stand. Their form is that of ``gswarm.wire.token``."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class GswarmTokenDetector(RegexBasedDetector):
    """Tokens for the API and for joining. Base32 survives a change of case, so the case does not matter."""

    secret_type = "gswarm token"  # pragma: allowlist secret  # noqa: S105

    @property
    def denylist(self) -> list[re.Pattern[str]]:
        return [re.compile(r"gsw[t1]-[a-z2-7]{40,}", re.IGNORECASE)]
