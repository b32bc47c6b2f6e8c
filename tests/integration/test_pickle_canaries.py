"""A pickle wherever a file or a message is accepted: refused or set aside, and never run.

Those of models, checkpoints, data sets and packages are in ``training/test_code_in_models.py`` and ``unit/test_lying_data.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from aiohttp import ClientSession
from blake3 import blake3
from client_rig import rig
from host_support import registered, submitted
from lies import Canary
from test_client_pool import world
from test_host_daemon import config

from gswarm.cli.host import load_config
from gswarm.cli.reach import read_contexts
from gswarm.client import enroll
from gswarm.client.sampling.spool import Record, Spools
from gswarm.domain.errors import CorruptDataError, GswarmError
from gswarm.domain.ids import ClientName, Digest, RunId
from gswarm.domain.messages import LogLine, StepMetrics
from gswarm.host.backup.restore import restore_backup
from gswarm.host.daemon import Host
from gswarm.host.journal import codec
from gswarm.host.journal.snapshot import decode_state
from gswarm.profiler.sensors.sampler_lines import decode_intervals, decode_line
from gswarm.sdk import read_endpoint
from gswarm.search.yaml_file import load_experiment_file
from gswarm.simulator.forecast.described import load_description
from gswarm.training import job_types, protocol_codec
from gswarm.wire import convert
from gswarm.wire.tls import ClientTls
from sample_kit import batch, columns


def zipped(pickled: bytes) -> bytes:
    """As ``torch.save`` does it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return made.getvalue()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that would be there if one had run."""
    return tmp_path / "canary"


@pytest.fixture
def pickles(canary: Path) -> list[bytes]:
    """As text, as bytes, and in an archive. They work."""
    made = [pickle.dumps(Canary(canary), 0), pickle.dumps(Canary(canary))]
    for one in made:
        pickle.loads(one).close()
        assert canary.exists()
        canary.unlink()
    return [*made, zipped(made[1])]


# ---- a host's files --------------------------------------------------------------------------------------------------------

SOMETIMES = ("host/journal.db-wal", "host/alerts.json", "host/endpoint.json", "host/last_words.json", "series/raw-000000000001.parquet")
"""Files that a host which stopped in good order need not have."""


async def start(data_dir: Path) -> Host:
    return await Host.start(config(data_dir), insecure=True)


def api(host: Host, data_dir: Path) -> httpx.AsyncClient:
    token = (data_dir / "host" / "admin.token").read_text(errors="replace").strip().encode()
    return httpx.AsyncClient(base_url=f"{host.endpoint.http_url}/api/v1", headers={"Authorization": b"Bearer " + token})


async def used_host(data_dir: Path) -> list[str]:
    """A host's data directory with something of everything; the names of its files."""
    host = await start(data_dir)
    try:
        services = host.services
        for event in (registered("a"), submitted()):
            await services.loop.submit(event)
        services.profiler.sessions.start("mine", 0.5)
        services.profiler.samples.append(ClientName("a"), batch(1, columns("gpu:0", [0, 1, 2], {"gpu_power": [1, 2, 3]})))
        services.run_logs.append([LogLine(RunId("r1"), 1.0, "info", "hello")])
        services.series.append([StepMetrics(RunId("r1"), 1, 1, 1.0, (("loss", 1.0),))])
        with services.store.ingest() as ingest:
            ingest.write(b"a blob")
            ingest.commit()
        async with api(host, data_dir) as http:
            (await http.post("/tokens", json={"role": "viewer"})).raise_for_status()
    finally:
        await host.stop()
    return sorted(path.relative_to(data_dir).as_posix() for path in data_dir.rglob("*") if path.is_file())


async def look_at_everything(host: Host, data_dir: Path) -> None:
    """Whatever the host reads only when it is asked."""
    with contextlib.suppress(httpx.LocalProtocolError):  # the token's file is a pickle
        async with api(host, data_dir) as http:
            for path in ("/runs", "/profiler/query", "/profiler/sessions/mine/export?format=csv", "/runs/r1/logs", "/audit", "/alerts"):
                answer = await http.get(path)
                assert answer.status_code < 500 or answer.headers["content-type"] == "application/problem+json", f"{path}: {answer.text}"


async def test_in_the_place_of_every_file_of_a_host(tmp_path: Path, canary: Path, pickles: list[bytes]) -> None:
    names = await used_host(tmp_path / "whole")
    kinds = {name.partition("/")[0] for name in names}
    assert kinds == {"host", "logs", "pool", "series"}
    assert {"host/journal.db", "host/auth.db", "host/tls/ca.pem", "logs/r1.log", "series/sessions.json"} <= set(names)
    assert all(any(name.startswith(folder) for name in names) for folder in ("host/snapshots/", "host/audit/"))
    assert any(name.startswith("series/") and name.endswith(".bin") for name in names), "a log of samples"
    refused = []
    for number, name in enumerate([*names, *SOMETIMES]):
        data_dir = Path(shutil.copytree(tmp_path / "whole", tmp_path / "spoiled"))
        file = data_dir / name
        file.unlink(missing_ok=True)
        file.write_bytes(pickles[number % len(pickles)])
        file.chmod(0o600)
        try:
            host = await start(data_dir)
        except GswarmError as error:
            refused.append(f"{name}: {error}")
        else:
            try:
                await look_at_everything(host, data_dir)
            finally:
                await host.stop()
        assert not canary.exists(), name
        shutil.rmtree(data_dir)
    assert any("journal.db" in line for line in refused)


async def test_in_the_place_of_a_clients_files(tmp_path: Path, canary: Path, pickles: list[bytes]) -> None:
    async with rig(tmp_path) as made:
        async with made.running() as (client, _):
            assert client.loop is not None
            with client.loop.parts.pool.store.ingest() as ingest:
                ingest.write(b"a blob")
                digest = ingest.commit()
        home = made.data_dir / "clients" / "a"
        for place in ("cluster.json", "tls/key.pem", "samples/1/00000001.seg", "snapshots/left", "devices/slot-0.lock"):
            (home / place).parent.mkdir(parents=True, exist_ok=True)
            (home / place).write_bytes(pickles[1])
        blob = client.loop.parts.pool.store.path(digest)
        blob.chmod(0o600)
        blob.write_bytes(pickles[1])
        async with made.running():
            made.host.say(made.grant("r1", 0, 5))
            await made.host.until(lambda: any(row.step == 5 for row in made.host.metrics_rows))
    assert not canary.exists()


# ---- files that commands read ----------------------------------------------------------------------------------------------


def backup(path: Path, content: bytes) -> None:
    """One that is nothing but a pickle, and one whose members are pickles and whose list says so."""
    with contextlib.suppress(GswarmError):
        restore_backup(path, path.with_name("never"))
    places = ["host/journal.db", "host/snapshots/1.snapshot", "host/tls/ca.pem", "host/auth.db", "logs/r1.log", "series/sessions.json"]
    members = [{"name": name, "size_bytes": len(content), "digest": blake3(content).hexdigest()} for name in places]
    listed = json.dumps({"gswarm": "1", "cluster_id": "c", "taken_at_s": 0, "events": 0, "members": members}).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in [*((name, content) for name in places), (f"gswarm-backup-{blake3(listed).hexdigest()}.json", listed)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    restore_backup(path, path.with_name("restored"))


def spool(path: Path, content: bytes) -> None:
    """As a whole segment, and as a record whose head is right."""
    folder = path.parent / "spools" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "00000001.seg").write_bytes(content)
    Spools(folder.parent, 1 << 20).close()
    Record(1, 1, content).batch()


def in_data_dir(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def place(path: Path, content: bytes) -> None:
        file = path.parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        read(path.parent)

    return place


def message(decode: Callable[[bytes], object]) -> Callable[[Path, bytes], object]:
    return lambda _path, content: decode(content)


PLACES: dict[str, Callable[[Path, bytes], object]] = {
    "backup": backup,
    "config.yaml": lambda path, _content: load_config(path, {}),
    "experiment.yaml": lambda path, _content: load_experiment_file(path),
    "cluster.yaml": lambda path, _content: load_description(path),
    "contexts.json": in_data_dir("contexts.json", lambda _folder: read_contexts()),
    "endpoint.json": in_data_dir("host/endpoint.json", read_endpoint),
    "cluster.json": in_data_dir("cluster.json", enroll._load),
    "certificate": in_data_dir("tls/cert.pem", lambda folder: ClientTls.load(folder / "tls")),
    "spool": spool,
    "journal entry": message(lambda content: codec.decode(content.decode("latin-1"))),
    "snapshot": message(decode_state),
    "client message": message(convert.decode_client_message),
    "host message": message(convert.decode_host_message),
    "metrics": message(convert.decode_metric_batch),
    "samples": message(convert.decode_samples),
    "sampler's line": message(decode_line),
    "sampler's intervals": message(decode_intervals),
    "trainer's command": message(protocol_codec.decode_command),
    "trainer's event": message(protocol_codec.decode_event),
    "job's request": message(job_types.decode_request),
    "job's answer": message(job_types.decode_response),
}


@pytest.mark.parametrize("place", PLACES)
def test_in_the_place_of_what_commands_and_processes_read(
    place: str, tmp_path: Path, canary: Path, pickles: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, content in enumerate(pickles):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setenv("GSWARM_DATA_DIR", str(folder))
        (folder / "file").write_bytes(content)
        with contextlib.suppress(GswarmError):
            PLACES[place](folder / "file", content)
        assert not canary.exists()


async def test_as_a_blob_it_is_bytes_and_as_a_manifest_it_is_none(tmp_path: Path, canary: Path, pickles: list[bytes]) -> None:
    async with world(tmp_path) as made, ClientSession() as http:
        for content in pickles:
            digest = Digest(blake3(content).hexdigest())
            async with http.put(f"{made.url}/v1/blobs/{digest}", data=content) as answer:
                assert answer.status in (200, 201, 204)
            assert made.host.path(digest).read_bytes() == content
            with pytest.raises(CorruptDataError):
                await asyncio.wait_for(made.pool._fetch(digest), 20)
    assert not canary.exists()
