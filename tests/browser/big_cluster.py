"""A pretended cluster of a thousand GPUs: 125 clients whose slots all hold a run, their newest samples, and what the slots did before."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import closing

import api_host as pretended
import numpy as np
from api_host import CLIENT, EXPERIMENT, ApiHost

from gswarm.domain.ids import ClientName, ExperimentId, RunId, SlotId
from gswarm.domain.plan import SlotSpec
from gswarm.domain.samples import DeviceInfo, SampleBatch, SampleColumns
from gswarm.host.timeline.chunk_book import ChunkTime, Outcome, write_chunks
from gswarm.scheduler.events import ClientRegistered

CLIENTS, GPUS = 125, 8
RUNS = 2_100
"""Two a slot, one that trains and one ahead, and some that wait."""
METRICS = ("gpu_utilization", "gpu_memory_used", "gpu_temperature", "gpu_power", "gpu_power_limit")
SECONDS = 5


def join_gpus(api: ApiHost) -> list[ClientName]:
    """An experiment, and clients that hold as many of its runs as they have GPUs; the clients."""
    names = [CLIENT, *(ClientName(f"node-{index:03d}") for index in range(1, CLIENTS))]
    api.sessions.connected = frozenset(names)
    values = [1e-5 * 1.001**index for index in range(RUNS)]
    steps, pretended.TOTAL_STEPS = pretended.TOTAL_STEPS, 1_000
    try:
        with api.host() as host:
            host.submit({**EXPERIMENT, "search": {"parameters": {"learning_rate": {"values": values}}}})
        for name in names:
            slots = tuple(SlotSpec(SlotId(f"{name}/{index}"), f"cuda:{index}", 1, 0, "NVIDIA H200") for index in range(GPUS))
            api.submit(ClientRegistered(name, "i1", "0.0.test", "https://127.0.0.1:1", slots))
            if name == CLIENT:
                api.prepare()
    finally:
        pretended.TOTAL_STEPS = steps
    return names


def measure_gpus(api: ApiHost, names: list[ClientName], seq: int) -> None:
    """The newest seconds of every GPU. ``seq`` grows with every call."""
    times = np.arange(SECONDS) + math.floor(time.time()) - SECONDS + 1
    stamps = (times * 1_000_000).astype("<i8").tobytes()
    for number, name in enumerate(names):
        columns, devices = [], []
        for gpu in range(GPUS):
            use = 0.5 + 0.5 * np.sin(times / 30 + number + gpu)
            limit = np.full(SECONDS, 700.0)
            values = np.array([use, use * 100 * 2**30, 40 + use * 30, 100 + use * 500, limit], "<f8").tobytes()
            columns.append(SampleColumns(f"gpu:{gpu}", "", METRICS, stamps, values))
            devices.append(DeviceInfo(f"gpu:{gpu}", "gpu", "NVIDIA H200", f"GPU-{number}-{gpu}", 141 * 2**30))
        api.profiler.samples.append(name, SampleBatch(f"{number:016x}", seq, tuple(columns), tuple(devices)))


def fill_timeline(api: ApiHost, names: list[ClientName], chunks: int = 5, chunk_s: float = 600.0) -> int:
    """Every slot has trained so many chunks one after the other until now; how many that are."""
    now_s = time.time()
    experiment = ExperimentId("e1")
    rows = []
    for place, (name, gpu) in enumerate((name, gpu) for name in names for gpu in range(GPUS)):
        for index in range(chunks):
            begun_s = now_s - (chunks - index) * chunk_s + place % 60
            run = RunId(f"r{(place * chunks + index) % RUNS + 1}")
            slot = SlotId(f"{name}/{gpu}")
            end_s = begun_s + chunk_s * 0.95
            rows.append(ChunkTime(slot, begun_s, end_s, name, experiment, run, 1_000 + index, 0, 16, 1.0, Outcome.TRAINED))
    with closing(sqlite3.connect(api.root / "chronicle.db", timeout=30)) as database, database:
        write_chunks(database, rows)
    return len(rows)
