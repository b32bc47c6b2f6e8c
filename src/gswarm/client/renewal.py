"""A client's certificate is replaced long before it ends, while everything goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from gswarm.domain.errors import GswarmError
from gswarm.wire.client import Backoff
from gswarm.wire.tls import ClientTls, renewal_due_at

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 600.0
"""The longest sleep: a machine that was suspended, or whose clock was set, must not find out days later."""
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 600.0


class Renewal:
    """Waits until a certificate is due, asks for another and has it shown.

    Args:
        renew: asks the host; what it raises is tried again.
        show: puts the new certificate into use.
        now_s: seconds since the epoch.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        tls: ClientTls,
        renew: Callable[[ClientTls], Awaitable[ClientTls]],
        show: Callable[[ClientTls], Awaitable[None]],
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tls = tls
        self._renew = renew
        self._show = show
        self._now_s = now_s
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
        while True:
            due_s = renewal_due_at(self._tls.cert_pem).timestamp()
            while (wait_s := due_s - self._now_s()) > 0:
                await self._sleep(min(wait_s, LOOK_AGAIN_S))
            try:
                self._tls = await self._renew(self._tls)
            except GswarmError as error:
                delay_s = next(backoff)
                logger.warning("the certificate was not renewed: %s; next try in %.0f s", error, delay_s)
                await self._sleep(delay_s)
                continue
            backoff.reset()
            await self._show(self._tls)
            logger.info("the certificate was renewed")
