"""Under which names the API may be called, and from which pages: the Host and Origin headers."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from gswarm.domain.errors import ForbiddenError
from gswarm.wire.server import is_loopback

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::\d{1,5})?", re.IGNORECASE)


class AllowedNames:
    """A web page may point its own name at this host (DNS rebinding) or send requests with a visitor's cookie (CSRF): neither gets in.

    On loopback only loopback's names are this host's. On other addresses any IP address is, because no page can make one point
    elsewhere, and the machine's own name is.

    Args:
        bind: the address that the host listens on.
        more: names from the config, in any case, without a port.
    """

    def __init__(self, bind: str, more: Sequence[str] = ()) -> None:
        self._is_open = not is_loopback(bind)
        own = (bind, socket.gethostname()) if self._is_open else ()
        self._names = LOOPBACK_NAMES | {name.lower() for name in (*own, *more)}

    def check_host(self, host: str) -> None:
        """Raises:
        ForbiddenError: the Host header names something else.
        """
        found = _HOST.fullmatch(host)
        if found is None or not self._is_ours(found["name"].lower()):
            what = "one of this host's names" if self._is_open else "this machine's loopback name"
            raise ForbiddenError(
                f"the Host header {host[:100]!r} is not {what}",
                "add the name to host.allowed_names in the config" if self._is_open else "call it as localhost or 127.0.0.1",
            )

    def _is_ours(self, name: str) -> bool:
        return name in self._names or (self._is_open and _is_address(name))

    def check_origin(self, origin: str | None, host: str, scheme: str) -> None:
        """A page speaks to the host that it came from, by the same name and port. A proxy in front may add TLS, never take it away.

        Args:
            origin: the Origin header; ``None`` where there is none, as from programs and plain links.

        Raises:
            ForbiddenError: the page is of another origin, or of none.
        """
        if origin is None:
            return
        try:
            parts = urlsplit(origin)
            ours = (
                parts.netloc.lower() == host.lower() and parts.scheme in {"https", scheme} and origin == f"{parts.scheme}://{parts.netloc}"
            )
        except ValueError:
            ours = False
        if not ours:
            raise ForbiddenError(f"a page of {origin[:100]!r} may not call this host", "only its own pages may")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
