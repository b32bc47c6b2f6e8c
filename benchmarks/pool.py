"""The data pool against what the machine can do: memory copies, plain files and raw loopback TCP.

    python benchmarks/pool.py [--json] [--mib 128]

Every figure is a ratio of medians within one run, peer and pool taking turns, so a slow or busy machine moves both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from gswarm.datapool.disk import DiskStore
from gswarm.datapool.memory import MemoryStore
from gswarm.datapool.store import BlobStore
from gswarm.datapool.transfer import PoolClient, Source, pool_routes
from gswarm.domain.ids import Digest

ROUNDS = 5
MIB = 1 << 20


def result(metric: str, value: float, unit: str, target: float, peer: str, ok: bool) -> dict[str, object]:
    return {"metric": metric, "value": round(value, 4), "unit": unit, "target": target, "peer": peer, "ok": ok}


def seconds(action: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    action()
    return time.perf_counter() - begin_s


def write_and_delete(store: BlobStore, data: bytes) -> None:
    with store.ingest() as ingest:
        view = memoryview(data)
        for start in range(0, len(data), MIB):
            ingest.write(view[start : start + MIB])
        digest = ingest.commit()
    store.delete(digest)


def plain_write(folder: Path, data: bytes) -> None:
    path = folder / "plain"
    with path.open("wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    path.unlink()


def writes(folder: Path, data: bytes) -> list[dict[str, object]]:
    memory, disk = MemoryStore(), DiskStore(folder / "pool")
    warm = bytearray(len(data))
    copied_s, in_memory_s, plain_s, on_disk_s = [], [], [], []
    for _ in range(ROUNDS):
        copied_s.append(seconds(lambda: warm.__setitem__(slice(None), data)))
        in_memory_s.append(seconds(lambda: write_and_delete(memory, data)))
        plain_s.append(seconds(lambda: plain_write(folder, data)))
        on_disk_s.append(seconds(lambda: write_and_delete(disk, data)))
    memory.close()
    disk.close()
    to_memory = statistics.median(copied_s) / statistics.median(in_memory_s)
    to_disk = statistics.median(plain_s) / statistics.median(on_disk_s)
    return [
        result("pool.memory_write", to_memory, "x", 0.8, "warm memcpy", to_memory >= 0.8),
        result("pool.disk_write", to_disk, "x", 0.8, "write + fsync of a plain file", to_disk >= 0.8),
    ]


def reads(folder: Path) -> list[dict[str, object]]:
    store = DiskStore(folder / "read")
    results = []
    for name, size in (("1KiB", 1024), ("64MiB", 64 * MIB)):
        with store.ingest() as ingest:
            ingest.write(os.urandom(size))
            digest = ingest.commit()

        def read(digest: Digest = digest) -> None:
            with store.open(digest) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                assert mapped[-1] is not None

        latency_us = statistics.median(seconds(read) for _ in range(500)) * 1e6
        results.append(result(f"pool.read_{name}", latency_us, "us", 200, "-", latency_us <= 200))
    store.close()
    return results


def raw_tcp_s(path: Path, size: int) -> float:
    """How long a thread's sendfile needs to another thread's ``recv_into`` over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection, path.open("rb") as file:
                connection.sendfile(file)

        sender = threading.Thread(target=send)
        sender.start()
        buffer, received = memoryview(bytearray(MIB)), 0
        begin_s = time.perf_counter()
        with socket.create_connection(server.getsockname()) as connection:
            while received < size:
                received += connection.recv_into(buffer)
        sender.join()
        return time.perf_counter() - begin_s


async def serve(root: Path) -> None:
    """The other node: a process of its own, until its standard input ends."""
    app = web.Application()
    app.add_routes(pool_routes(DiskStore(root), lambda _request: "bench"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


async def transfers(folder: Path, data: bytes) -> list[dict[str, object]]:
    there = DiskStore(folder / "there")
    with there.ingest() as ingest:
        ingest.write(data)
        digest = ingest.commit()
    node = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder / "there")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    source = Source(f"http://127.0.0.1:{(await asyncio.to_thread(node.stdout.readline)).strip()}")
    client, raw_s, pool_s = PoolClient(), [], []
    disk = DiskStore(folder / "here")
    disk_s = []
    for _ in range(ROUNDS):
        raw_s.append(await asyncio.to_thread(raw_tcp_s, there.path(digest), len(data)))
        memory = MemoryStore()
        begin_s = time.perf_counter()
        await client.fetch_blob(memory, digest, [source], len(data))
        pool_s.append(time.perf_counter() - begin_s)
        memory.close()
        begin_s = time.perf_counter()
        await client.fetch_blob(disk, digest, [source], len(data))
        disk_s.append(time.perf_counter() - begin_s)
        disk.delete(digest)
    await client.close()
    assert node.stdin is not None
    node.stdin.close()
    node.wait(10)
    to_memory, to_disk = (statistics.median(raw_s) / statistics.median(series) for series in (pool_s, disk_s))
    return [
        result("pool.fetch_to_memory", to_memory, "x", 0.85, "raw loopback TCP", to_memory >= 0.85),
        result("pool.fetch_to_disk", to_disk, "x", 0.85, "raw loopback TCP", to_disk >= 0.85),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("--mib", type=int, default=128, help="size of the large blobs, at most 256")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    data = os.urandom(min(options.mib, 256) * MIB)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = [*writes(folder, data), *reads(folder), *asyncio.run(transfers(folder, data))]
    if options.json:
        print(json.dumps(results))
        return
    for line in results:
        missed = "" if line["ok"] else "   (missed)"
        print(f"{line['metric']:22} {line['value']:>9} {line['unit']:3} target {line['target']:>5} vs {line['peer']}{missed}")


if __name__ == "__main__":
    main()
