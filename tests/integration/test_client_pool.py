"""A client's blobs: in from other pools, out to the host, room, and jobs that work on them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession, web
from pydantic import TypeAdapter

from gswarm.client.data_server import DataServer
from gswarm.client.devices import Devices
from gswarm.client.jobs import JobRunner
from gswarm.client.peer_rights import PeerRights
from gswarm.client.pool import ClientPool
from gswarm.datapool.disk import DiskStore
from gswarm.datapool.layout import storage_error
from gswarm.datapool.manifest import ingest_folder, missing
from gswarm.datapool.transfer import PoolClient, RetryPolicy, Source, pool_routes
from gswarm.domain.errors import CorruptDataError, NotFoundError, StorageError, UnavailableError
from gswarm.domain.ids import ClientName, Digest, JobId, RunId, SlotId
from gswarm.domain.messages import JobOrder
from gswarm.domain.plan import Checkpoint, JobKind, SlotSpec
from gswarm.domain.spec import RunSpec
from gswarm.training.protocol import RangeTrained
from gswarm.wire.client import Backoff

MIB = 1024 * 1024
FAKE_JOB = (sys.executable, str(Path(__file__).with_name("client_fake_job.py")))


@dataclass
class World:
    """A host's pool and one client's."""

    host: DiskStore
    open_pool: Callable[[], ClientPool]
    pool: ClientPool
    directory: Path
    places: dict[Digest, list[tuple[str, str]]] = field(default_factory=dict)
    url: str = ""

    def make(self, name: str, size_bytes: int = 100, store: DiskStore | None = None) -> Digest:
        folder = self.directory / f"make-{name}"
        folder.mkdir()
        (folder / "part.bin").write_bytes((name.encode() * size_bytes)[:size_bytes])
        digest, _ = ingest_folder(store or self.host, "test", folder)
        return digest

    async def restart(self) -> None:
        """The client's process ends and begins again."""
        await self.pool.close()
        self.pool = self.open_pool()

    def snapshot(self, step: int) -> RangeTrained:
        folder = self.directory / f"snap-{step}"
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"w" * step)
        metrics = (("eval_loss", 0.5), ("bad", float("nan")))
        return RangeTrained(RunId("r1"), 1, step, str(folder), Digest("a" * 64), metrics, 0.1, 0.0)


@asynccontextmanager
async def world(directory: Path, budget_bytes: int = 1 << 40) -> AsyncIterator[World]:
    host = DiskStore(directory / "host")
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(pool_routes(host, lambda request: None))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def locate(digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
        return {digest: made.places.get(digest, [(url, "host")] if host.has(digest) else []) for digest in digests}

    client = directory / "client"
    client.mkdir()

    def open_pool() -> ClientPool:
        remote = PoolClient(retry=RetryPolicy(attempts=2, first_delay_s=0.01))
        return ClientPool(client, ClientName("a"), remote, Source(url), locate, budget_bytes)

    made = World(host, open_pool, open_pool(), directory, url=url)
    try:
        yield made
    finally:
        await made.pool.close()
        await runner.cleanup()
        host.close()


async def test_inputs_come_once_and_lie_in_folders(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        base, data = w.make("base"), w.make("data")
        dirs = await w.pool.inputs("g1", base, data, None)
        assert Path(dirs.base_dir, "part.bin").read_bytes().startswith(b"basebase")
        assert dirs.checkpoint_dir is None
        again = await asyncio.gather(*(w.pool.inputs(f"g{n}", base, data, base) for n in range(5)))
        assert {found.base_dir for found in again} == {dirs.base_dir}
        assert again[0].checkpoint_dir == dirs.base_dir


async def test_the_host_is_asked_where_this_client_reaches_it(tmp_path: Path) -> None:
    """What it calls itself, for example its machine's name, may mean nothing elsewhere."""
    async with world(tmp_path) as w:
        base = w.make("base")
        w.places[base] = [("http://name.invalid:1", "host")]
        assert (await w.pool.unpack("g1", base) / "part.bin").exists()


async def test_a_checkpoint_goes_to_both_places_or_to_one(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        both = await w.pool.store_checkpoint("g1", w.snapshot(5), replicate=True)
        assert (both.step, both.size_bytes, both.holders, both.metrics) == (5, 5, ("a", "host"), (("eval_loss", 0.5),))
        assert not missing(w.host, both.manifest)
        here = await w.pool.store_checkpoint("g2", w.snapshot(6), replicate=False)
        assert here.holders == ("a",)
        assert missing(w.host, here.manifest)
        assert not list((tmp_path / "snap-5").iterdir())


async def test_a_full_disk_says_whether_it_is_the_hosts_and_the_snapshot_can_be_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        snapshot = w.snapshot(5)
        with monkeypatch.context() as patch:
            patch.setattr(w.pool.store, "put_file", full_disk)
            with pytest.raises(StorageError, match=r"^cannot write a blob: No space left"):
                await w.pool.store_checkpoint("g1", snapshot, replicate=True)
        with monkeypatch.context() as patch:
            patch.setattr(w.host, "ingest", full_disk)
            with pytest.raises(StorageError, match=r"on the host: .*No space left"):
                await w.pool.store_checkpoint("g1", w.snapshot(6), replicate=True)
        stored = await w.pool.store_checkpoint("g1", snapshot, replicate=True)
        assert not missing(w.host, stored.manifest)


async def nothing(_client: ClientName, _enrolment: str) -> Sequence[Digest]:
    return ()


def full_disk(*_args: object, **_options: object) -> None:
    raise storage_error("write a blob", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


async def test_a_pool_on_all_addresses_names_one(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    server = DataServer(store, None, PeerRights(nothing, store))
    try:
        assert (await server.start("0.0.0.0", 0, "10.0.0.7")).startswith("http://10.0.0.7:")
    finally:
        await server.stop()
        store.close()


async def test_a_pool_follows_its_machine_to_another_address(tmp_path: Path) -> None:
    theirs = DiskStore(tmp_path / "theirs")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "part.bin").write_bytes(b"part")
    digest, _ = ingest_folder(theirs, "test", folder)
    server = DataServer(theirs, None, PeerRights(nothing, theirs))
    try:
        before = await server.start("127.0.0.1", 0)
        assert await server.start("127.0.0.1", 0) == before
        after = await server.start("127.0.0.2", 0)
        assert (after, after.rpartition(":")[0]) == (server.url, "http://127.0.0.2")
        async with ClientSession() as http:
            async with http.get(f"{after}/v1/blobs/{digest}") as answer:
                assert answer.status == 200
            with pytest.raises(ClientConnectionError):
                await http.get(f"{before}/v1/blobs/{digest}")
        with pytest.raises(StorageError):
            await server.start("203.0.113.1", 0)
        assert server.url == after
    finally:
        await server.stop()
        theirs.close()


async def test_in_plaintext_a_web_page_is_no_caller(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    server = DataServer(store, None, PeerRights(nothing, store))
    url = await server.start("127.0.0.1", 0)
    try:
        async with ClientSession() as http:
            for host, status in (("127.0.0.1:1", 404), ("localhost", 404), ("[::1]:1", 404), ("evil.example:1", 403), ("", 403)):
                async with http.get(f"{url}/v1/blobs/{'0' * 64}", headers={"Host": host}) as answer:
                    assert answer.status == status, host
    finally:
        await server.stop()
        store.close()


async def test_a_client_reads_from_another_client(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        theirs = DiskStore(tmp_path / "theirs")
        digest = w.make("checkpoint", 3 * MIB, store=theirs)
        server = DataServer(theirs, None, PeerRights(nothing, theirs))
        url = await server.start("127.0.0.1", 0)
        try:
            w.places[digest] = [("http://127.0.0.1:9", "gone"), (url, "b")]
            path = await w.pool.unpack("g1", digest)
            assert (path / "part.bin").stat().st_size == 3 * MIB
            async with ClientSession() as http, http.put(f"{url}/v1/blobs/{digest}", data=b"x") as answer:
                assert answer.status == 405
        finally:
            await server.stop()
            theirs.close()


async def test_what_nobody_has_is_said_after_a_few_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.client.pool.ABSENT_TRIES", 2)
    async with world(tmp_path) as w:
        with pytest.raises(NotFoundError):
            await w.pool.unpack("g1", Digest("0" * 64))


async def test_an_unreachable_pool_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        digest = w.make("base")
        w.places[digest] = [("http://127.0.0.1:9", "b")]
        fetching = asyncio.create_task(w.pool.unpack("g1", digest))
        await asyncio.sleep(0.3)
        assert not fetching.done()
        del w.places[digest]
        assert (await asyncio.wait_for(fetching, 20)).is_dir()


def quick(**_options: float) -> Backoff:
    return Backoff(initial_s=0.01, max_s=0.01)


async def test_a_holder_out_of_reach_is_named_after_some_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ever, the grant would hold its slot."""
    monkeypatch.setattr("gswarm.client.pool.UNREACHABLE_TRIES", 3)
    monkeypatch.setattr("gswarm.client.pool.Backoff", quick)
    async with world(tmp_path) as w:
        digest = w.make("base")
        w.places[digest] = [("http://127.0.0.1:9", "b")]
        with pytest.raises(UnavailableError, match=r"is only at b, out of reach from here: "):
            await asyncio.wait_for(w.pool.unpack("g1", digest), 20)


async def test_a_host_that_cannot_be_asked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.client.pool.UNREACHABLE_TRIES", 2)
    monkeypatch.setattr("gswarm.client.pool.Backoff", quick)
    async with world(tmp_path) as w:
        digest = w.make("base")
        refusals, locate = iter(range(5)), w.pool._locate

        async def away(digests: Sequence[Digest]) -> dict[Digest, list[tuple[str, str]]]:
            if next(refusals, None) is not None:
                raise UnavailableError("the host is away")
            return await locate(digests)

        monkeypatch.setattr(w.pool, "_locate", away)
        assert (await w.pool.unpack("g1", digest)).is_dir()


async def test_what_was_not_used_longest_makes_room_and_comes_back(tmp_path: Path) -> None:
    async with world(tmp_path, budget_bytes=2 * MIB) as w:
        first, second, third = (w.make(name, MIB) for name in ("one", "two", "three"))
        for number, digest in enumerate((first, second)):
            await w.pool.unpack(f"g{number}", digest)
        w.pool.release("g0")
        path = await w.pool.unpack("g2", third)
        assert path.is_dir()
        assert missing(w.pool.store, first)
        assert not missing(w.pool.store, second)
        assert (await w.pool.unpack("g3", first)).is_dir()


async def test_what_is_only_here_never_makes_room(tmp_path: Path) -> None:
    async with world(tmp_path, budget_bytes=1) as w:
        kept = await w.pool.store_checkpoint("g1", w.snapshot(5), replicate=False)
        await w.pool.unpack("g1", kept.manifest)
        w.pool.release("g1")
        await w.pool.unpack("g2", w.make("base"))
        assert not missing(w.pool.store, kept.manifest)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("replicate", [False, True])
async def test_a_checkpoint_made_here_keeps_what_it_shares_with_one_that_came_in(tmp_path: Path, replicate: bool, restarted: bool) -> None:
    """Two runs' checkpoints of a step have the same random state."""

    def folder(name: str) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "weights").write_bytes(name.encode() * 100)
        (made / "rng").write_bytes(b"rng")
        return made

    async with world(tmp_path, budget_bytes=350) as w:
        snapshot = RangeTrained(RunId("r1"), 1, 20, str(folder("own")), Digest("a" * 64), (), 0.1, 0.0)
        own = (await w.pool.store_checkpoint("g1", snapshot, replicate=replicate)).manifest
        other, _ = ingest_folder(w.host, "checkpoint", folder("other"))
        w.pool.release("g1")
        if restarted:
            await w.restart()
        await w.pool.unpack("g2", other)
        w.pool.release("g2")
        await w.pool.unpack("g3", w.make("base"))
        assert not missing(w.pool.store, own)
        assert missing(w.pool.store, other) == [other]


async def test_a_sweep_spares_roots_pins_and_what_is_young(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        root, pinned, old, young = (w.make(name) for name in ("root", "pinned", "old", "young"))
        for name, digest in (("g1", root), ("g2", pinned), ("g3", old), ("g4", young)):
            await w.pool.unpack(name, digest)
        for name in ("g1", "g3", "g4"):
            w.pool.release(name)
        long_ago_s = time.time() - 1e6
        for blob in list(w.pool.store.digests()):
            os.utime(w.pool.store.path(blob), (long_ago_s, long_ago_s))
        assert w.pool.store.renew(young)
        await w.pool.sweep([root])
        assert w.pool.store.has(young)
        assert [bool(missing(w.pool.store, digest)) for digest in (root, pinned, old)] == [False, False, True]


# ---- jobs -----------------------------------------------------------------------------------------------------------


def runner(w: World) -> JobRunner:
    slot = SlotSpec(SlotId("a/0"), "cpu")
    return JobRunner(w.pool, w.directory / "client", slot, w.directory / "logs/jobs.log", Devices(w.directory / "devices"), FAKE_JOB)


def prepare(dataset: str, runs: int = 2, job: str = "j1") -> JobOrder:
    specs = TypeAdapter(tuple[RunSpec, ...]).dump_python(tuple(RunSpec("m", dataset) for _ in range(runs)), mode="json")
    return JobOrder(JobId(job), JobKind.PREPARE, json.dumps({"runs": specs}))


async def test_prepare_puts_base_and_data_on_the_host(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        done = await runner(w).run(prepare("ok"))
        assert done.failure is None
        [first, second] = done.sizes
        assert first == second
        assert (first.train_rows, first.eval_rows, first.steps_per_epoch, first.total_steps) == (80, 20, 40, 120)
        assert not missing(w.host, first.base)
        assert not missing(w.host, first.data)
        assert first.base != first.data
        assert not list((tmp_path / "client/jobs").iterdir())


@pytest.mark.parametrize(
    ("dataset", "code", "suspect"), [("die", "training", True), ("missing", "not_found", False), ("noise", "corrupt_data", False)]
)
async def test_a_job_that_fails_says_why(tmp_path: Path, dataset: str, code: str, suspect: bool) -> None:
    async with world(tmp_path) as w:
        done = await runner(w).run(prepare(dataset))
        assert done.result_json is None
        assert done.failure is not None
        assert (done.failure.code, done.failure.machine_suspect) == (code, suspect)
        assert ("about to die" in done.failure.log_tail) == (dataset == "die")


async def test_a_cancelled_job_ends_its_process_and_the_next_one_begins(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        jobs = runner(w)
        hanging = asyncio.create_task(jobs.run(prepare("hang")))
        waiting = asyncio.create_task(jobs.run(prepare("ok", job="j2")))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        hanging.cancel()
        assert (await asyncio.wait_for(waiting, 20)).failure is None


def dumped(checkpoint: Checkpoint) -> Any:
    return TypeAdapter(Checkpoint).dump_python(checkpoint, mode="json")


async def test_verify_and_export_get_their_folders(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        base, data, tree, start = (w.make(name) for name in ("base", "data", "tree", "start"))
        checkpoint = Checkpoint(tree, 5, Digest("a" * 64), 100)
        spec = TypeAdapter(RunSpec).dump_python(RunSpec("m", "ok"), mode="json")
        asked = {
            "spec": spec, "base": base, "data": data, "total_steps": 9, "steps_per_epoch": 9, "until_step": 5, "weights_digest": "a" * 64,
            "manifest": tree, "start": dumped(Checkpoint(start, 2, Digest("a" * 64), 100)), "warm_start": True, "first_step": 0,
        }  # fmt: skip
        done = await runner(w).run(JobOrder(JobId("j1"), JobKind.VERIFY, json.dumps(asked)))
        assert json.loads(done.result_json or "")["identical"] is True
        asked = {"spec": spec, "base": base, "checkpoint": dumped(checkpoint), "format": "adapter", "step": 5}
        done = await runner(w).run(JobOrder(JobId("j2"), JobKind.EXPORT, json.dumps(asked)))
        result = json.loads(done.result_json or "")
        assert (result["format"], result["files"]) == ("adapter", ["part.bin"])
        assert not missing(w.host, result["manifest"])


async def test_an_order_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        done = await runner(w).run(JobOrder(JobId("j1"), JobKind.VERIFY, '{"spec": 1}'))
        assert done.failure is not None
        assert done.failure.code == "invalid_input"


async def test_a_corrupt_manifest_is_not_unpacked(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        digest = w.make("base")
        await w.pool.unpack("g1", digest)
        path = w.pool.store.path(digest)
        path.chmod(0o600)
        path.write_bytes(b"{}")
        with pytest.raises(CorruptDataError):
            await w.pool.unpack("g2", digest)
