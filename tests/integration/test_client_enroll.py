"""Joining a cluster with a token, against the host's own door, and a client's life over mTLS after it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from client_rig import Rig, ScriptedHost, rig
from pool_door import pool_door

from gswarm.client.daemon import Client
from gswarm.client.enroll import enrol
from gswarm.domain.errors import ConflictError, ForbiddenError, InvalidInputError, UnauthenticatedError, UnavailableError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import ChunkCommittedReport
from gswarm.wire.server import start_server
from gswarm.wire.tls import ClientTls, make_key_and_csr
from gswarm.wire.token import JoinToken

NAME = ClientName("a")


async def test_a_token_becomes_a_certificate_that_later_starts_use(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as host:
        first = await enrol("127.0.0.1", host.token(), NAME, tmp_path / "tls")
        assert first.is_new
        assert first.pool_port == host.server.port
    again = await enrol("127.0.0.1", None, NAME, tmp_path / "tls")
    assert not again.is_new
    assert again.tls == first.tls
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {0o600}


async def test_a_token_is_good_once(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as host:
        token = host.token()
        await enrol("127.0.0.1", token, NAME, tmp_path / "one")
        with pytest.raises(UnauthenticatedError):
            await enrol("127.0.0.1", token, ClientName("b"), tmp_path / "two")
        assert not (tmp_path / "two").exists()


async def test_a_host_that_did_not_make_the_token_is_not_believed(tmp_path: Path) -> None:
    async with pool_door(tmp_path / "one") as right, pool_door(tmp_path / "two") as wrong:
        token = right.tokens.create("client").text
        right.server.port, wrong_port = wrong.server.port, wrong.server.port
        forged = replace_port(token, wrong_port)
        with pytest.raises(UnauthenticatedError, match="not the one that made this token"):
            await enrol("127.0.0.1", forged, NAME, tmp_path / "tls")


def replace_port(token: str, port: int) -> str:
    return replace(JoinToken.parse(token), pool_port=port).format()


async def test_what_is_wrong_is_said_and_nothing_is_saved(tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    with pytest.raises(UnauthenticatedError, match="gswarm token create --role client"):
        await enrol("127.0.0.1", None, NAME, tls)
    with pytest.raises(InvalidInputError, match="join token"):
        await enrol("127.0.0.1", "gsw1-nonsense", NAME, tls)
    async with pool_door(tmp_path) as host:
        token = host.token()
        host.alive.add("a")
        with pytest.raises(ConflictError, match="connected already"):
            await enrol("127.0.0.1", token, NAME, tls)
        host.alive.clear()
    with pytest.raises(UnavailableError):
        await enrol("127.0.0.1", token, NAME, tls)
    assert not tls.exists()


async def test_a_token_of_another_cluster_joins_anew(tmp_path: Path) -> None:
    async with pool_door(tmp_path / "one") as old, pool_door(tmp_path / "two") as new:
        await enrol("127.0.0.1", old.token(), NAME, tmp_path / "tls")
        joined = await enrol("127.0.0.1", new.token(), NAME, tmp_path / "tls")
        assert joined.is_new
        assert joined.tls.ca_pem == new.authority.ca_pem


async def test_a_token_is_not_used_up_where_the_certificate_still_counts(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as host:
        first = await enrol("127.0.0.1", host.token(), NAME, tmp_path / "tls")
        with pytest.raises(ConflictError, match="joined as a before"):
            await enrol("127.0.0.1", host.token(), NAME, tmp_path / "elsewhere")
        token = host.token()
        again = await enrol("127.0.0.1", token, NAME, tmp_path / "tls")
        assert (again.is_new, again.tls.cert_pem == first.tls.cert_pem) == (False, False)
        assert next(info.uses_left for info in host.tokens.list() if info.id == JoinToken.parse(token).id) == 1
        lost = await enrol("127.0.0.1", host.tokens.create("client", client="a").text, NAME, tmp_path / "elsewhere")
        assert lost.is_new
    assert (await enrol("127.0.0.1", token, NAME, tmp_path / "tls")).tls == again.tls, "the host is away"


async def test_a_revoked_machine_joins_again_with_a_token_for_its_name(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as host:
        first = await enrol("127.0.0.1", host.token(), NAME, tmp_path / "tls")
        host.tokens.revoke_client(NAME)
        with pytest.raises(ConflictError):
            await enrol("127.0.0.1", host.token(), NAME, tmp_path / "tls")
        again = await enrol("127.0.0.1", host.tokens.create("client", client=NAME).text, NAME, tmp_path / "tls")
        assert again.is_new
        assert (await host.ask("POST", "/v1/blobs/missing", again.tls, json=[]))[0] == 200
        assert (await host.ask("POST", "/v1/blobs/missing", first.tls, json=[]))[0] == 401


async def test_a_certificate_that_ended_needs_a_token(tmp_path: Path) -> None:
    async with pool_door(tmp_path) as host:
        first = await enrol("127.0.0.1", host.token(), NAME, tmp_path / "tls")
        old = datetime.now(UTC) - timedelta(days=8)
        key, csr = make_key_and_csr(NAME)
        ClientTls(host.authority.issue_client(csr, NAME, now=old), key, first.tls.ca_pem).save(tmp_path / "tls")
        with pytest.raises(UnauthenticatedError, match="has expired"):
            await enrol("127.0.0.1", None, NAME, tmp_path / "tls")
        assert (await enrol("127.0.0.1", host.tokens.create("client", client=NAME).text, NAME, tmp_path / "tls")).is_new


@pytest.mark.e2e
async def test_a_grant_over_mtls_from_join_to_commit(tmp_path: Path) -> None:
    async with rig(tmp_path) as plain, pool_door(tmp_path / "door", store=plain.host.store) as host:
        secure = ScriptedHost(plain.host.store, f"https://127.0.0.1:{host.server.port}")
        server = await start_server(secure, "127.0.0.1", 0, host.authority.issue_host())
        r: Rig = replace(plain, host=secure, server=server)
        client = Client(r.config(), token=host.token(), settings=replace(r.settings, pool_port=None))
        task = asyncio.create_task(client.run())
        try:
            await secure.connected()
            secure.say(r.grant("r1", 0, 5))
            [commit] = await secure.hear(ChunkCommittedReport)
            assert commit.checkpoint.holders == ("a", "host")
            assert secure.registers[0].data_url.startswith("https://127.0.0.1:")
        finally:
            client.stop()
            await asyncio.wait_for(task, 20)
            await server.stop(0)


def test_plaintext_is_for_this_machine_only() -> None:
    from gswarm.domain.config import ClientConfig

    with pytest.raises(ForbiddenError):
        Client(ClientConfig(host="10.0.0.1:8090"), insecure=True)
