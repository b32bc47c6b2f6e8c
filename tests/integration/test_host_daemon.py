"""The whole host: what starts it, what stops it, what it refuses, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from host_support import submitted

from gswarm import __version__
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import ConflictError, CorruptDataError, GswarmError, InvalidInputError, StorageError
from gswarm.domain.ids import ClientName
from gswarm.domain.messages import Heartbeat, Register, Registered
from gswarm.host.daemon import Host
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.wire.client import HostConnection
from gswarm.wire.listener import open_socket
from gswarm.wire.tls import ClientTls, make_key_and_csr


def config(data_dir: Path, **changes: Any) -> HostConfig:
    return HostConfig(**{"data_dir": str(data_dir), "port": 0, "http_port": 0, "pool_port": 0, **changes})


def admin(host: Host, data_dir: Path) -> httpx.AsyncClient:
    token = (data_dir / "host" / "admin.token").read_text().strip()
    return httpx.AsyncClient(base_url=host.endpoint.http_url, headers={"Authorization": f"Bearer {token}"})


async def joined(host: Host, data_dir: Path, name: str) -> ClientTls:
    """A client's certificate, by a token as a machine gets it."""
    key, csr = make_key_and_csr(name)
    token = host.services.tokens.create("client").text
    certificate = await asyncio.to_thread(host.services.tokens.enrol, token, name, csr)
    return ClientTls(certificate, key, Path(host.endpoint.ca_path).read_bytes())


async def test_it_answers_on_its_ports_and_remembers(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    endpoint = json.loads((tmp_path / "host" / "endpoint.json").read_text())
    assert endpoint == {
        "http_url": host.endpoint.http_url,
        "grpc_address": host.endpoint.grpc_address,
        "pool_port": host.endpoint.pool_port,
        "pid": os.getpid(),
        "ca_path": str(tmp_path / "host" / "tls" / "ca.pem"),
        "insecure": False,
    }
    async with admin(host, tmp_path) as http:
        assert (await http.get("/api/v1/auth/whoami")).json()["role"] == "admin"
        assert (await http.get("/api/v1/ready", headers={"Authorization": ""})).status_code == 401
    token = (tmp_path / "host" / "admin.token").read_text()
    await host.services.loop.submit(submitted())
    await host.stop()
    assert not (tmp_path / "host" / "endpoint.json").exists()

    again = await Host.start(config(tmp_path))
    assert again.services.cluster_id == host.services.cluster_id
    assert again.endpoint.pool_port == host.endpoint.pool_port
    assert list(again.services.state.experiments) == ["e1"]
    assert (tmp_path / "host" / "admin.token").read_text() == token
    await again.stop()
    await again.stop()


async def test_secrets_are_private(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    await host.stop()
    for name in ("admin.token", "auth.db", "tls/ca-key.pem", "tls/host/key.pem"):
        assert (tmp_path / "host" / name).stat().st_mode & 0o077 == 0, name


async def test_a_client_over_mtls_and_one_without_a_certificate(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    name = ClientName("node-1")
    tls = await joined(host, tmp_path, name)
    received: list[object] = []

    async def messages() -> Any:
        yield Register(name, "i1", __version__, "", ())
        yield Heartbeat(0.0)
        await asyncio.Event().wait()

    connection = HostConnection(host.endpoint.grpc_address, tls, name)
    try:
        async with asyncio.timeout(20):
            async for message in connection.session(messages()):
                received.append(message)
                break
        assert received == [Registered(15.0, __version__, host.services.cluster_id)]
        assert name in host.services.state.clients
    finally:
        await connection.close()
        await host.stop()


async def test_stopping_ends_streams_of_events_quickly(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    async with admin(host, tmp_path) as http, http.stream("GET", "/api/v1/events", params={"after": 0}) as stream:
        await host.services.loop.submit(submitted())
        lines = stream.aiter_lines()
        async with asyncio.timeout(10):
            while "experiment_submitted" not in await anext(lines):
                pass
            await host.stop()


@pytest.mark.parametrize("which", ["port", "http_port", "pool_port"])
async def test_a_port_in_use_is_named_and_everything_is_let_go(tmp_path: Path, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port {port} .*in use"):
            await Host.start(config(tmp_path, **{which: port}))
    host = await Host.start(config(tmp_path, **{which: port}))
    await host.stop()


async def test_a_data_dir_in_use_unwritable_or_of_another_cluster_is_refused(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path / "a"))
    with pytest.raises(ConflictError, match="in use by pid"):
        await Host.start(config(tmp_path / "a"))
    await host.stop()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        await Host.start(config(tmp_path / "file" / "data"))
    other = await Host.start(config(tmp_path / "b"))
    await other.stop()
    shutil.copy(tmp_path / "a" / "host" / "journal.db", tmp_path / "b" / "host" / "journal.db")
    with pytest.raises(ConflictError, match="belongs to cluster"):
        await Host.start(config(tmp_path / "b"))
    shutil.rmtree(tmp_path / "a" / "host" / "tls")
    with pytest.raises(ConflictError, match="no certificate authority"):
        await Host.start(config(tmp_path / "a"))


async def test_a_damaged_journal_ends_the_start_with_its_entry(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    await host.services.loop.submit(submitted())
    await host.stop()
    shutil.rmtree(tmp_path / "host" / "snapshots")
    journal = SqliteJournal(tmp_path / "host" / "journal.db")
    journal._db.execute("UPDATE entries SET event = replace(event, 'model', 'mudel')")
    journal.close()
    with pytest.raises(CorruptDataError, match="entry 1 "):
        await Host.start(config(tmp_path))


async def test_plaintext_is_for_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--insecure"):
        await Host.start(config(tmp_path, bind="0.0.0.0"), insecure=True)
    host = await Host.start(config(tmp_path), insecure=True)
    assert host.endpoint.insecure
    await host.stop()


async def test_on_other_addresses_the_api_speaks_https(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path, bind="0.0.0.0"))
    try:
        assert host.endpoint.http_url.startswith("https://")
        port = host.endpoint.http_url.rpartition(":")[2]
        async with httpx.AsyncClient(verify=_trusting(host.endpoint.ca_path)) as http:
            assert (await http.get(f"https://127.0.0.1:{port}/api/v1/health")).status_code == 200
    finally:
        await host.stop()


def _trusting(ca_path: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca_path)


async def test_the_undo_window_of_a_plan_is_fixed_when_it_begins(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path, undo_window_s=60.0))
    await host.services.loop.submit(submitted())
    await host.stop()
    shutil.rmtree(tmp_path / "host" / "snapshots")
    host = await Host.start(config(tmp_path, undo_window_s=5.0))
    assert host.services.state.undo_window_s == 60.0
    await host.stop()


async def test_when_the_disk_fails_the_host_says_so(tmp_path: Path) -> None:
    host = await Host.start(config(tmp_path))
    host._core.loop._journal._db.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]
    with pytest.raises(StorageError):
        await host.services.loop.submit(submitted())
    assert isinstance(await host.failed(), StorageError)
    await host.stop()


async def test_answers_of_the_http_port_do_not_wait_for_an_ack() -> None:
    accepted: asyncio.Queue[bool] = asyncio.Queue()

    async def on_connection(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(bool(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    listener = open_socket("127.0.0.1", 0)
    async with await asyncio.start_server(on_connection, sock=listener):
        _reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted.get()
        writer.close()


# ---- as a process --------------------------------------------------------------------------------------------------------

RUN = """
import sys
from gswarm.domain.config import HostConfig
from gswarm.host.daemon import run_host
sys.exit(run_host(HostConfig(data_dir=sys.argv[1], port=int(sys.argv[2]), http_port=0, pool_port=0, log_format="json")))
"""


def spawn(data_dir: Path, port: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(data_dir), str(port)], stderr=subprocess.PIPE, text=True)


def wait_until_up(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The log's lines up to the one that says where clients connect."""
    assert process.stderr is not None
    lines: list[dict[str, Any]] = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if "clients connect to" in lines[-1]["message"]:
            return lines
    raise AssertionError(lines)


async def newest_seq(data_dir: Path) -> int:
    endpoint = json.loads((data_dir / "host" / "endpoint.json").read_text())
    token = (data_dir / "host" / "admin.token").read_text().strip()
    async with httpx.AsyncClient(base_url=endpoint["http_url"], headers={"Authorization": f"Bearer {token}"}) as http:
        return (await http.get("/api/v1/ready")).json()["seq"]  # type: ignore[no-any-return]


@pytest.mark.e2e
async def test_sigterm_ends_it_cleanly_and_kill_9_leaves_a_plan_that_starts(tmp_path: Path) -> None:
    for how, code in ((signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGINT, 0)):
        process = spawn(tmp_path)
        await asyncio.to_thread(wait_until_up, process)
        assert await newest_seq(tmp_path) == 0
        process.send_signal(how)
        assert process.wait(20) == code
        assert process.stderr is not None
        process.stderr.close()
        assert (tmp_path / "host" / "endpoint.json").exists() == (how == signal.SIGKILL)


@pytest.mark.e2e
def test_a_second_process_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    first = spawn(tmp_path)
    wait_until_up(first)
    second = spawn(tmp_path)
    _out, errors = second.communicate(timeout=20)
    assert second.returncode == ConflictError.exit_code
    assert errors.strip() == (
        f"error: the data directory {tmp_path / 'host'} is in use by pid {first.pid} on {socket.gethostname()}; "
        "stop that host first, or choose another --data-dir"
    )
    first.terminate()
    first.communicate(timeout=20)


def test_the_host_imports_no_torch() -> None:
    code = (
        "import sys, gswarm.host.daemon; print([name for name in ('torch','transformers','peft','trl','datasets') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_refused_start_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(GswarmError) as caught:
        asyncio.run(Host.start(config(tmp_path, bind="10.255.255.1"), insecure=True))
    assert caught.value.hint
