"""Which versions may talk to each other."""

from __future__ import annotations

import logging
import re

from gswarm.domain.errors import IncompatibleVersionError
from gswarm.domain.ids import ClientName

logger = logging.getLogger(__name__)

_RELEASE = re.compile(r"(\d{1,6})\.(\d{1,6})(?:[.a-z+-].{0,60})?")


def admit_version(client: ClientName, client_version: str, host_version: str) -> None:
    """``check_version`` on the host, whose log says who was refused."""
    try:
        check_version(client_version, host_version)
    except IncompatibleVersionError as error:
        logger.warning("client %s was refused: %s; %s", client, error.message, error.hint)
        raise


def check_version(client_version: str, host_version: str) -> None:
    """Lets host and clients of the same minor version talk; patch versions and build suffixes may differ.

    Raises:
        IncompatibleVersionError: the minor versions differ, or the client's is not a version at all.
    """
    client, host = _RELEASE.fullmatch(client_version), _RELEASE.fullmatch(host_version)
    if client is None or host is None or client.groups() != host.groups():
        raise IncompatibleVersionError(
            f"the client has gswarm {client_version[:64]!r} but the host has {host_version!r}",
            f"install gswarm {host_version} on the client, or upgrade the host",
        )
