"""A join token becomes a certificate, once; later starts use what is on disk, and a running client renews it."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from gswarm import __version__
from gswarm.datapool.transfer.wire import problem_error
from gswarm.domain.errors import CorruptDataError, GswarmError, NotFoundError, UnauthenticatedError, UnavailableError
from gswarm.domain.ids import ClientName
from gswarm.wire.tls import (
    HOST_SERVER_NAME,
    ClientTls,
    client_ssl_context,
    credentials_fault,
    fingerprint,
    make_key_and_csr,
    peer_of,
    save_private,
)
from gswarm.wire.token import JoinToken

logger = logging.getLogger(__name__)

CLUSTER_FILE = "cluster.json"
TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a client needs to speak to its host."""

    tls: ClientTls
    pool_port: int
    is_new: bool
    """The certificate was made just now."""


async def enrol(host_address: str, token_text: str | None, name: ClientName, directory: Path) -> Enrolment:
    """The certificate in ``directory``, or a new one in exchange for the token.

    Args:
        host_address: name or IP address of the host, without a port.
        token_text: as ``gswarm token create --role client`` printed it; not used where there is a certificate already.
        directory: ``tls`` of the client's own folder.

    Raises:
        UnauthenticatedError: there is neither a certificate nor a token, the token is refused, or the host is not the token's.
        InvalidInputError: the token is mistyped. ConflictError: the name belongs to another machine.
        UnavailableError: the host cannot be reached.
        CorruptDataError: the saved certificate cannot be read.
    """
    saved = _load(directory)
    token = JoinToken.parse(token_text) if token_text is not None else None
    fault = credentials_fault(saved.tls, datetime.now(UTC)) if saved is not None else None
    if saved is not None and fault is None:
        confirmed = saved if token is None else await _confirmed(host_address, saved, token, directory)
        if confirmed is not None:
            return confirmed
    if token is None or token_text is None:
        reason = f"of {name}, {fault}" if fault else f"there is no certificate in {directory}"
        raise UnauthenticatedError(
            f"this machine is not part of the cluster (any more): {reason}",
            "make a token on the host with `gswarm token create --role client` and give it with --token",
        )
    base_url = _base_url(host_address, token.pool_port)
    ca_pem = await _trusted_ca(base_url, token)
    key_pem, csr_pem = make_key_and_csr(name)
    body = {"token": token_text.strip(), "name": name, "csr": csr_pem.decode(), "version": __version__}
    answer = await _post(f"{base_url}/v1/join", ssl.create_default_context(cadata=ca_pem.decode()), body)
    tls = ClientTls(_certificate(answer, base_url), key_pem, ca_pem)
    save_private(directory, {CLUSTER_FILE: json.dumps({"pool_port": token.pool_port}).encode()})
    await asyncio.to_thread(tls.save, directory)
    logger.info("joined as %s", name)
    return Enrolment(tls, token.pool_port, is_new=True)


async def renew(host_address: str, pool_port: int, tls: ClientTls, directory: Path) -> ClientTls:
    """Another certificate, with a key of its own, in exchange for showing the one that is in use; saved in ``directory``.

    Raises:
        UnauthenticatedError: the host does not let this client in any more.
        UnavailableError: the host cannot be reached, or gave no certificate of this client.
        StorageError: the directory cannot be written.
    """
    base_url = _base_url(host_address, pool_port)
    name = peer_of(tls.cert_pem).name
    key_pem, csr_pem = make_key_and_csr(name)
    answer = await _post(f"{base_url}/v1/renew", client_ssl_context(tls), {"csr": csr_pem.decode()})
    renewed = ClientTls(_certificate(answer, base_url), key_pem, tls.ca_pem)
    if peer_of(renewed.cert_pem).name != name or credentials_fault(renewed, datetime.now(UTC)) is not None:
        raise UnavailableError(f"{base_url} gave a certificate that is of no use", "check this machine's clock, and the host's log")
    await asyncio.to_thread(renewed.save, directory)
    return renewed


async def _confirmed(host_address: str, saved: Enrolment, token: JoinToken, directory: Path) -> Enrolment | None:
    """What is here, if the host takes it; ``None`` where only the token helps: the host was set up anew, or revoked it."""
    if fingerprint(saved.tls.ca_pem) != token.ca_fingerprint:
        return None
    try:
        return replace(saved, tls=await renew(host_address, saved.pool_port, saved.tls, directory))
    except UnauthenticatedError:
        return None
    except UnavailableError:
        return saved


def _load(directory: Path) -> Enrolment | None:
    try:
        tls = ClientTls.load(directory)
    except NotFoundError:
        return None
    try:
        pool_port = int(json.loads((directory / CLUSTER_FILE).read_text())["pool_port"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptDataError(f"{directory / CLUSTER_FILE} cannot be read: {error}", f"remove {directory} and join again") from error
    return Enrolment(tls, pool_port, is_new=False)


async def _trusted_ca(base_url: str, token: JoinToken) -> bytes:
    """The cluster's CA. Whoever answers is believed only if it is the one whose fingerprint the token carries."""
    async with httpx.AsyncClient(verify=False, timeout=TIMEOUT_S, trust_env=False) as http:  # noqa: S501  compared below
        ca_pem = (await _ask(http, "GET", f"{base_url}/v1/ca")).content
    try:
        is_it = fingerprint(ca_pem) == token.ca_fingerprint
    except GswarmError:
        is_it = False
    if not is_it:
        raise UnauthenticatedError(
            f"the host at {base_url} is not the one that made this token", "check the address, or make a new token on that host"
        )
    return ca_pem


async def _post(url: str, context: ssl.SSLContext, body: dict[str, str]) -> dict[str, Any]:
    async with httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, trust_env=False) as http:
        response = await _ask(http, "POST", url, body)
    try:
        answer = response.json()
        return answer if isinstance(answer, dict) else {}
    except ValueError:
        return {}


def _certificate(answer: dict[str, Any], base_url: str) -> bytes:
    certificate = answer.get("certificate")
    if not isinstance(certificate, str):
        raise UnavailableError(f"what answers at {base_url} is no gswarm host of this version", "check the address")
    return certificate.encode()


async def _ask(http: httpx.AsyncClient, method: str, url: str, body: dict[str, str] | None = None) -> httpx.Response:
    try:
        response = await http.request(method, url, json=body, extensions={"sni_hostname": HOST_SERVER_NAME})
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"{url} cannot be reached: {error or type(error).__name__}", "check the address and that the host runs"
        ) from error
    if response.is_success and len(response.content) <= ANSWER_BYTES_MAX:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = None
    raise problem_error(response.status_code, problem)


def _base_url(address: str, pool_port: int) -> str:
    return f"https://[{address}]:{pool_port}" if ":" in address else f"https://{address}:{pool_port}"
