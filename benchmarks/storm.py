"""What a host does when every client comes back at once: its memory, and how long a person's request waits meanwhile.

    python benchmarks/storm.py [--clients 1000] [--json]

The host is killed with SIGKILL while all clients are connected, and started again on the same port. The simulated clients (real mTLS
sessions with heartbeats, in one process) try again as real ones do. This process measures, by control calls one after another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import psutil
from host import Result, SimulatedClient, end, join_all, percentile, start_host

from gswarm.domain.errors import GswarmError
from gswarm.wire.client import Backoff

LEASE_TIMEOUT_S = 120.0
"""Clients that wait for a host with two cores are not lost meanwhile: that is measured, too."""
QUIET_CALLS = 300
BYTES_PER_CLIENT_TARGET = 1024 * 1024
CALL_P99_TARGET_MS = 500.0


class ReturningClient(SimulatedClient):
    """Opens its session again after every loss, as the client does."""

    async def stay(self) -> None:
        backoff = Backoff(initial_s=0.2, max_s=10.0)
        while True:
            try:
                await self.run()
            except GswarmError:
                self.up.clear()
            await asyncio.sleep(next(backoff))


async def helper(data_dir: Path, token: str, count: int) -> None:
    """Prints the seconds until all clients were there, and for each line on its standard input the seconds until they are back."""
    began_s = time.perf_counter()
    clients = await join_all(data_dir, token, count, ReturningClient)
    sessions = [asyncio.create_task(client.stay()) for client in clients]
    await asyncio.gather(*(client.up.wait() for client in clients))
    print(time.perf_counter() - began_s, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        began_s = time.perf_counter()
        await asyncio.gather(*(client.up.wait() for client in clients))
        print(time.perf_counter() - began_s, flush=True)
    for session in sessions:
        session.cancel()


class Caller:
    """Asks the host about itself again and again, in a thread: milliseconds of every answer, and the host's memory."""

    def __init__(self, data_dir: Path, pid: int) -> None:
        self._process = psutil.Process(pid)
        endpoint = json.loads((data_dir / "host" / "endpoint.json").read_text())
        token = (data_dir / "host" / "admin.token").read_text().strip()
        self._http = httpx.Client(base_url=endpoint["http_url"], headers={"Authorization": f"Bearer {token}"}, timeout=120)
        self.times_ms: list[float] = []
        self.memory_bytes = 0

    def call(self, count: int) -> None:
        for _ in range(count):
            began_s = time.perf_counter()
            self._http.get("/api/v1/ready").raise_for_status()
            self.times_ms.append(1_000 * (time.perf_counter() - began_s))
            self.memory_bytes = max(self.memory_bytes, self._process.memory_info().rss)

    def count(self, what: str) -> int:
        return int(self._http.get("/api/v1/host").json()[what])

    def token(self, uses: int) -> str:
        answer = self._http.post("/api/v1/tokens", json={"role": "client", "uses": uses})
        answer.raise_for_status()
        return str(answer.json()["token"])


def storm_results(count: int) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        host = start_host(data_dir, lease_timeout_s=LEASE_TIMEOUT_S)
        helped: subprocess.Popen[str] | None = None
        try:
            before = Caller(data_dir, host.pid)
            before.call(1)
            empty_bytes = before.memory_bytes
            port = int(json.loads((data_dir / "host" / "endpoint.json").read_text())["grpc_address"].rpartition(":")[2])
            command = [sys.executable, __file__, "--helper", folder, before.token(count), str(count)]
            helped = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert helped.stdin is not None
            assert helped.stdout is not None
            joined_s = float(helped.stdout.readline())
            before.call(QUIET_CALLS)
            host.kill()
            host.wait()
            host = start_host(data_dir, port, LEASE_TIMEOUT_S)
            during = Caller(data_dir, host.pid)
            helped.stdin.write("\n")
            helped.stdin.flush()
            lines: list[str] = []
            reading = threading.Thread(target=lambda said: lines.append(said.readline()), args=(helped.stdout,), daemon=True)
            reading.start()
            while reading.is_alive():
                during.call(1)
            back_s = float(lines[0])
            connected, ready = during.count("connected"), during.count("clients")
            during.call(1)
        finally:
            for process in (helped, host):
                if process is not None:
                    end(process)
    quiet_ms, storm_ms = percentile(before.times_ms[1:], 99), percentile(during.times_ms, 99)
    a_client_bytes = (during.memory_bytes - empty_bytes) / count
    return [
        Result(f"join_and_register_{count}_clients", round(joined_s, 2), "s"),
        Result(f"all_{count}_back_after_restart", round(back_s, 2), "s"),
        Result("clients_connected_after_storm", connected, "clients", f"{count}", ok=connected == ready == count),
        Result("control_calls_during_storm", len(during.times_ms), "calls"),
        Result("control_call_p50_quiet", round(percentile(before.times_ms[1:], 50), 2), "ms"),
        Result("control_call_p99_quiet", round(quiet_ms, 2), "ms"),
        Result("control_call_p50_storm", round(percentile(during.times_ms, 50), 2), "ms"),
        Result(
            "control_call_p99_storm", round(storm_ms, 2), "ms", f"<= {CALL_P99_TARGET_MS:g}", "no clients", storm_ms <= CALL_P99_TARGET_MS
        ),
        Result("host_memory_peak_storm", round(during.memory_bytes / 2**20, 1), "MiB"),
        Result(
            "host_memory_per_client_storm",
            round(a_client_bytes / 2**10, 1),
            "KiB",
            f"<= {BYTES_PER_CLIENT_TARGET >> 10}",
            "the empty host of the same run",
            a_client_bytes <= BYTES_PER_CLIENT_TARGET,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--helper", nargs=3, metavar=("DATA_DIR", "TOKEN", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.helper:
        asyncio.run(helper(Path(args.helper[0]), args.helper[1], int(args.helper[2])))
        return
    results = storm_results(args.clients)
    if args.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    for result in results:
        print(f"{result.metric:36} {result.value:>12} {result.unit:12} {result.target:8} {'ok' if result.ok else 'MISSED'}")


if __name__ == "__main__":
    main()
