"""Certificates that must open nothing, and raw calls that show whether they do."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import grpc

from gswarm.host.access.auth import TokenStore
from gswarm.wire import _pb
from gswarm.wire.tls import (
    HOST_SERVER_NAME,
    CertificateAuthority,
    ClientTls,
    client_ssl_context,
    grpc_channel_credentials,
    make_key_and_csr,
)

HANDSHAKE = "handshake"
"""In the place of a status: the connection is not made at all."""


def signed(authority: CertificateAuthority, name: str, age: timedelta = timedelta(), enrolment: str = "") -> ClientTls:
    """A certificate of one day, made ``age`` ago, that the host knows nothing about."""
    key, csr = make_key_and_csr(name)
    return ClientTls(authority.issue_client(csr, name, timedelta(days=1), datetime.now(UTC) - age, enrolment), key, authority.ca_pem)


def joined(tokens: TokenStore, name: str) -> ClientTls:
    key, csr = make_key_and_csr(name)
    return ClientTls(tokens.enrol(tokens.create("client", client=name).text, name, csr), key, tokens.authority.ca_pem)


def intruders(tokens: TokenStore) -> dict[str, ClientTls]:
    """By what is wrong with them; all but the first two get through the handshake."""
    authority = tokens.authority
    other = signed(CertificateAuthority.create("cluster-1"), "a")
    revoked = joined(tokens, "revoked")
    tokens.revoke_client("revoked")
    replaced = joined(tokens, "replaced")
    joined(tokens, "replaced")
    own = authority.issue_host()
    return {
        "of another cluster": ClientTls(other.cert_pem, other.key_pem, authority.ca_pem),
        "expired": signed(authority, "a", timedelta(days=2)),
        "revoked": revoked,
        "of a machine that gave up its name": replaced,
        "of a name that never joined": signed(authority, "nobody", enrolment="1" * 16),
        "of the host": ClientTls(own.cert_pem, own.key_pem, own.ca_pem),
    }


HANDSHAKE_REFUSES = frozenset({"of another cluster", "expired"})


def described_rpcs() -> dict[str, Any]:
    """Every method of every generated service: ``/package.Service/Method`` and its descriptor."""
    found = {}
    for module in pkgutil.iter_modules(_pb.__path__):
        if module.name.endswith("_pb2"):
            for service in importlib.import_module(f"{_pb.__name__}.{module.name}").DESCRIPTOR.services_by_name.values():
                found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


async def call_rpc(address: str, path: str, tls: ClientTls | None, ca_pem: bytes, named: str | None = None) -> str:
    """Calls a method with one empty message; the status' name, ``HANDSHAKE`` when there was no connection."""
    credentials = grpc_channel_credentials(tls) if tls is not None else grpc.ssl_channel_credentials(root_certificates=ca_pem)
    options = [("grpc.ssl_target_name_override", HOST_SERVER_NAME), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    metadata = (("gswarm-client", named),) if named is not None else ()

    def call() -> str:
        # Not grpc.aio: there a caller that still writes when the refusal comes is told of an internal error instead.
        with grpc.secure_channel(address, credentials, options=options) as channel:
            try:
                if described_rpcs()[path].client_streaming:
                    list(channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=10))
                else:
                    channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
            except grpc.RpcError as error:
                unreached = error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata()
                return HANDSHAKE if unreached else str(error.code().name)
        return "OK"

    return await asyncio.to_thread(call)


async def call_http(url: str, method: str, path: str, tls: ClientTls | None, ca_pem: bytes, server_name: str, **options: Any) -> int | str:
    """The status, ``HANDSHAKE`` when there was no connection."""
    if tls is not None:
        context = client_ssl_context(tls)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca_pem.decode())
    options = {"data": b"[]" if method in ("POST", "PUT") else None} | options
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, url + path, ssl=context, server_hostname=server_name, **options) as answer,
        ):
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return HANDSHAKE
