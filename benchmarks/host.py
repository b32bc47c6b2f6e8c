"""What a host costs and how fast it answers: CPU and memory, events through the journal, time until an operation is acknowledged.

    python benchmarks/host.py [--clients 200] [--seconds 20] [--json]

The host and the simulated clients (real mTLS sessions with heartbeats) are a process each; this one measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import httpx
import psutil
from blake3 import blake3

from gswarm import __version__
from gswarm.datapool.manifest import Manifest
from gswarm.domain.ids import ClientName, Digest, SlotId
from gswarm.domain.messages import ClientMessage, GrantReturnedReport, Heartbeat, JobOrder, JobReport, Register, StopOrder
from gswarm.domain.plan import RunSize, SlotSpec
from gswarm.host.journal.sqlite import SqliteJournal
from gswarm.host.loop import PlanLoop
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ClientDrainRequested, ClientRegistered
from gswarm.wire.client import HostConnection
from gswarm.wire.tls import ClientTls, client_ssl_context, make_key_and_csr, server_name

LEASE_TIMEOUT_S = 15.0
ClientT = TypeVar("ClientT")
IC_OP_ACK_P99_TARGET_MS = 50.0


@dataclass(frozen=True)
class Result:
    metric: str
    value: float
    unit: str
    target: str = ""
    peer: str = ""
    ok: bool = True


# ---- events through the loop -------------------------------------------------------------------------------------------


async def measure_loop(concurrent: int, events: int) -> tuple[float, float]:
    """Events per second with as many callers at a time, each event flushed before its answer; events a flush."""
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal.db")
        loop = PlanLoop(journal, ClusterState(), time.time, lambda effects: None)
        loop.start()
        name = ClientName("a")
        await loop.submit(ClientRegistered(name, "i1", "0.1.0", "", ()))

        async def caller(count: int) -> None:
            for number in range(count):
                await loop.submit(ClientDrainRequested(name, number % 2 == 0))

        flushes, began_s = loop.flushes, time.perf_counter()
        await asyncio.gather(*(caller(events // concurrent) for _ in range(concurrent)))
        seconds = time.perf_counter() - began_s
        done = events // concurrent * concurrent
        factor = done / (loop.flushes - flushes)
        await loop.close()
        journal.close()
        return done / seconds, factor


async def loop_results() -> list[Result]:
    alone, _ = await measure_loop(1, 500)
    many, factor = await measure_loop(256, 20_480)
    return [
        Result("events_per_s_one_caller", round(alone, 1), "1/s"),
        Result("events_per_s_256_callers", round(many, 1), "1/s"),
        Result("group_commit_gain", round(many / alone, 1), "x", ">= 3", "one caller in the same run", many / alone >= 3),
        Result("events_per_flush_256_callers", round(factor, 1), "events"),
    ]


# ---- a host with clients -----------------------------------------------------------------------------------------------


def start_host(data_dir: Path, port: int = 0, lease_timeout_s: float = LEASE_TIMEOUT_S) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from gswarm.domain.config import HostConfig; from gswarm.host.daemon import run_host; "
        f"sys.exit(run_host(HostConfig(data_dir=sys.argv[1], port={port}, http_port=0, pool_port=0, lease_timeout_s={lease_timeout_s})))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(data_dir)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    said: deque[bytes] = deque(maxlen=50)
    for line in process.stderr:
        said.append(line)
        if b"clients connect to" in line:
            # A host whose log nobody reads would stand still when the pipe is full.
            threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
            return process
    raise SystemExit(f"the host did not start:\n{b''.join(said).decode()}")


def end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} did not end within 30 s of SIGTERM", file=sys.stderr)
        process.kill()
        process.wait()


def usage(process: psutil.Process, seconds: float, during: Callable[[], None]) -> tuple[float, float]:
    """CPU in percent of one core over some seconds, and resident memory in MiB at their end."""
    before = process.cpu_times()
    began_s = time.monotonic()
    during()
    rest_s = seconds - (time.monotonic() - began_s)
    if rest_s > 0:
        time.sleep(rest_s)
    after = process.cpu_times()
    took_s = time.monotonic() - began_s
    busy_s = after.user + after.system - before.user - before.system
    return 100 * busy_s / took_s, process.memory_info().rss / 2**20


def operate(http: httpx.Client, run: str, count: int) -> list[float]:
    """Stops and resumes a run in turn; milliseconds from request to answer."""
    times_ms = []
    for number in range(count):
        began_s = time.perf_counter()
        answer = http.post(f"/api/v1/runs/{run}/{'resume' if number % 2 else 'stop'}")
        times_ms.append(1_000 * (time.perf_counter() - began_s))
        answer.raise_for_status()
    return times_ms


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def host_results(clients: int, seconds: float) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        host = start_host(data_dir)
        helper: subprocess.Popen[str] | None = None
        try:
            measured = psutil.Process(host.pid)
            idle_cpu, idle_mib = usage(measured, seconds, lambda: None)
            endpoint = json.loads((data_dir / "host" / "endpoint.json").read_text())
            token = (data_dir / "host" / "admin.token").read_text().strip()
            http = httpx.Client(base_url=endpoint["http_url"], headers={"Authorization": f"Bearer {token}"}, timeout=60)
            join = http.post("/api/v1/tokens", json={"role": "client", "uses": clients}).json()["token"]
            helper = subprocess.Popen([sys.executable, __file__, "--helper", folder, join, str(clients)], stdout=subprocess.PIPE, text=True)
            assert helper.stdout is not None
            joined_s = float(helper.stdout.readline())
            busy_cpu, busy_mib = usage(measured, seconds, lambda: None)
            run = submit(http)
            times_ms: list[float] = []
            usage(measured, 0, lambda: times_ms.extend(operate(http, run, 300)))
            lost = sum(client["state"] != "ready" for client in http.get("/api/v1/clients", params={"limit": 500}).json()["items"])
        finally:
            for process in (helper, host):
                if process is not None:
                    end(process)
    p99_ms = percentile(times_ms, 99)
    return [
        Result("host_cpu_idle", round(idle_cpu, 2), "% of a core"),
        Result("host_memory_idle", round(idle_mib, 1), "MiB"),
        Result(f"host_cpu_{clients}_clients", round(busy_cpu, 2), "% of a core"),
        Result(f"host_memory_{clients}_clients", round(busy_mib, 1), "MiB"),
        Result(f"join_and_register_{clients}_clients", round(joined_s, 2), "s"),
        Result("clients_lost_meanwhile", lost, "clients", "0", ok=lost == 0),
        Result(f"ic_op_ack_p50_{clients}_clients", round(percentile(times_ms, 50), 2), "ms"),
        Result(f"ic_op_ack_p99_{clients}_clients", round(p99_ms, 2), "ms", "<= 50", ok=p99_ms <= IC_OP_ACK_P99_TARGET_MS),
    ]


def submit(http: httpx.Client) -> str:
    """Submits an experiment and waits by the stream of events until a client has prepared it; a run's id."""
    text = """
experiment: bench
base: {model_name_or_path: model, dataset: data, num_train_epochs: 1}
search: {method: grid, parameters: {learning_rate: {values: [1.0e-5, 1.0e-4]}}}
"""
    seq = http.get("/api/v1/ready").json()["seq"]
    answer = http.post("/api/v1/experiments", content=text, headers={"Content-Type": "application/yaml"})
    answer.raise_for_status()
    with http.stream("GET", "/api/v1/events", params={"after": seq}) as stream:
        for line in stream.iter_lines():
            if line.startswith("event:") and "job_finished" in line:
                break
    runs = http.get(f"/api/v1/experiments/{answer.json()['id']}/runs").json()["items"]
    return str(runs[0]["id"])


# ---- the helper process: simulated clients -----------------------------------------------------------------------------


class SimulatedClient:
    """A session that sends heartbeats, prepares what it is asked to at once, and gives back what it is to stop."""

    def __init__(self, name: ClientName, address: str, pool_url: str, tls: ClientTls) -> None:
        self._pool_url = pool_url
        self._name = name
        self._address = address
        self._tls = tls
        self._outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._seq = 0
        self.up = asyncio.Event()

    async def run(self) -> None:
        beating = asyncio.create_task(self._beat())
        try:
            await self._talk()
        finally:
            beating.cancel()

    async def _talk(self) -> None:
        async with HostConnection(self._address, self._tls, self._name) as connection:
            async for message in connection.session(self._messages()):
                self.up.set()
                match message:
                    case JobOrder(job=job):
                        planned = len(json.loads(message.request_json).get("runs", ()))
                        size = RunSize(1_000, 1_000, 1_000, 10, await self._bring("base"), await self._bring("data"))
                        self._outgoing.put_nowait(JobReport(self._next(), job, '{"seconds": 0}', sizes=(size,) * planned))
                    case StopOrder(run=run, generation=generation):
                        self._outgoing.put_nowait(GrantReturnedReport(self._next(), run, generation))
                    case _:
                        continue

    async def _bring(self, kind: str) -> Digest:
        """A manifest without files; who prepares must have brought what it names."""
        manifest = Manifest(kind, ()).to_bytes()
        digest = Digest(blake3(manifest).hexdigest())
        async with (
            aiohttp.ClientSession() as http,
            http.put(
                f"{self._pool_url}/v1/blobs/{digest}",
                data=manifest,
                ssl=client_ssl_context(self._tls),
                server_hostname=server_name("host"),
            ) as answer,
        ):
            answer.raise_for_status()
        return digest

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    async def _messages(self) -> AsyncIterator[ClientMessage]:
        slot = SlotSpec(SlotId(f"{self._name}/0"), "cpu")
        yield Register(self._name, "i1", __version__, "", (slot,))
        while True:
            yield await self._outgoing.get()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(LEASE_TIMEOUT_S / 3)
            self._outgoing.put_nowait(Heartbeat(time.time()))


async def helper(data_dir: Path, token: str, count: int) -> None:
    """Joins and connects ``count`` clients, prints how long that took, and goes on until it is ended."""
    began_s = time.perf_counter()
    clients = await join_all(data_dir, token, count, SimulatedClient)
    sessions: list[Awaitable[None]] = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.gather(*(client.up.wait() for client in clients))
    print(time.perf_counter() - began_s, flush=True)
    await asyncio.gather(*sessions)


async def join_all(data_dir: Path, token: str, count: int, make: Callable[[ClientName, str, str, ClientTls], ClientT]) -> list[ClientT]:
    endpoint = json.loads((data_dir / "host" / "endpoint.json").read_text())
    pool_url = f"https://127.0.0.1:{endpoint['pool_port']}"
    clients = []
    # As a client does: who has joined does not stay at the door, where one machine has 100 places.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        for number in range(count):
            name = ClientName(f"sim-{number}")
            tls = await join(http, pool_url, Path(endpoint["ca_path"]), token, name)
            clients.append(make(name, endpoint["grpc_address"], pool_url, tls))
    return clients


async def join(http: aiohttp.ClientSession, url: str, ca_path: Path, token: str, name: ClientName) -> ClientTls:
    import ssl

    key, csr = make_key_and_csr(name)
    context = ssl.create_default_context(cafile=str(ca_path))
    async with http.post(f"{url}/v1/join", json={"token": token, "name": name, "csr": csr.decode()}, ssl=context) as answer:
        answer.raise_for_status()
        body: dict[str, Any] = await answer.json()
    return ClientTls(body["certificate"].encode(), key, body["ca"].encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--helper", nargs=3, metavar=("DATA_DIR", "TOKEN", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.helper:
        asyncio.run(helper(Path(args.helper[0]), args.helper[1], int(args.helper[2])))
        return
    results = [*asyncio.run(loop_results()), *host_results(args.clients, args.seconds)]
    if args.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    for result in results:
        print(f"{result.metric:36} {result.value:>12} {result.unit:12} {result.target:8} {'ok' if result.ok else 'MISSED'}")


if __name__ == "__main__":
    main()
