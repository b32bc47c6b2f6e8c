"""What it costs to read 8 GPUs: gswarm's sampler beside nvitop-exporter, both over the same pretended driver (built with gcc).

``python benchmarks/sampler.py [--json] [--seconds 20]``. The driver answers at once, so this is what the programs themselves take; a
real driver's calls come on top of both. nvitop-exporter comes with ``pip install --constraint constraints.txt '.[bench]'``; without it
the table says that it was not measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from gswarm.profiler.sensors.sampler import QUICK
from gswarm.profiler.sensors.sampler_lines import decode_line, encode_intervals
from nvml_kit import Gpus, build, make_gpus

GPUS = 8
WARM_UP_S = 4.0
PEER = "nvitop-exporter"
NOT_MEASURED = "not measured: pip install --constraint constraints.txt '.[bench]'"


def row(metric: str, value: float | None, unit: str, target: str = "", ok: bool = True, peer: str = "") -> dict[str, Any]:
    """``value`` is ``None`` where nothing was measured."""
    told = None if value is None else float(f"{value:.4g}")
    return {"metric": metric, "value": told, "unit": unit, "target": target, "peer": peer, "ok": ok}


def start(command: list[str], gpus: Gpus) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **gpus.environment}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def share(process: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """Percent of a core that it takes, and its memory in MiB, after it has settled."""
    watched = psutil.Process(process.pid)
    time.sleep(WARM_UP_S)
    before, began_s = watched.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after, took_s = watched.cpu_times(), time.monotonic() - began_s
    used_s = after.user + after.system - before.user - before.system
    return 100 * used_s / took_s, watched.memory_info().rss / 2**20


def sampler(gpus: Gpus, folder: Path, intervals_s: dict[str, float], seconds: float) -> tuple[float, float, float]:
    """Its share, its memory, and how many readings of the quick sensors of each GPU came a second."""
    process = start(
        [sys.executable, "-m", "gswarm.profiler.sensors.sampler", "--data-dir", str(folder), "--parent", str(os.getpid())], gpus
    )
    assert process.stdin is not None
    assert process.stdout is not None
    rows = 0
    process.stdin.write(encode_intervals(intervals_s))
    process.stdin.flush()

    def read() -> None:
        nonlocal rows
        for line in process.stdout or ():
            rows += sum(len(columns.times_us) // 8 for columns in decode_line(line).columns if "gpu_power" in columns.metrics)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    began_s = time.monotonic()
    cpu, memory = share(process, seconds)
    rate = rows / GPUS / (time.monotonic() - began_s)
    process.stdin.close()
    process.wait(20)
    return cpu, memory, rate


def exporter(gpus: Gpus, seconds: float) -> tuple[float, float]:
    process = start([sys.executable, "-m", "nvitop_exporter", "--port", "0", "--interval", "1.0"], gpus)
    try:
        return share(process, seconds)
    finally:
        process.kill()
        process.wait()


def measure(seconds: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="gswarm-bench-") as name:
        folder = Path(name)
        gpus = make_gpus(build(folder), folder, GPUS)
        rows = []
        cpu = {}
        for name, intervals_s, target in (
            ("quick sensors every 0.1 s", dict.fromkeys(sorted(QUICK), 0.1) | {"*": 1.0}, 1.0),
            ("every sensor as fast as it can", {"*": 0.1}, None),
            ("every 1 s", {"*": 1.0}, 1.0),
        ):
            cpu[name], memory, rate = sampler(gpus, folder, intervals_s, seconds)
            wanted = "<= 1" if target is not None else ""
            rows.append(row(f"sampler, {GPUS} GPUs, {name}", cpu[name], "% of a core", wanted, target is None or cpu[name] <= target))
            rows.append(row(f"readings that came, {name}", rate, "1/s"))
        rows.append(row("memory of the sampler", memory, "MiB"))
        if importlib.util.find_spec("nvitop_exporter") is None:
            rows.append(row(f"{PEER}, {GPUS} GPUs every 1 s", None, NOT_MEASURED, peer=PEER))
        else:
            theirs, their_memory = exporter(gpus, seconds)
            rows.append(row(f"{PEER}, {GPUS} GPUs every 1 s", theirs, "% of a core", peer=PEER))
            rows.append(row(f"memory of {PEER}", their_memory, "MiB", peer=PEER))
            ours = cpu["every 1 s"]
            rows.append(row(f"sampler / {PEER}, every 1 s", ours / theirs, "ratio", "<= 1", ours <= theirs, PEER))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    rows = measure(options.seconds)
    if options.json:
        print(json.dumps(rows))
        return
    for one in rows:
        verdict = ("ok" if one["ok"] else "MISSED") if one["target"] else ""
        value = "-" if one["value"] is None else one["value"]
        print(f"{one['metric']:54} {value:>10} {one['unit']:12} {one['target']:8} {verdict}")


if __name__ == "__main__":
    main()
