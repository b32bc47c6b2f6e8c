"""What a person waits for, and what a slot waits for, on a real cluster: a host, two clients, their trainer processes, a small model.

    python benchmarks/steering.py [--json] [--cycles 20]

IC Ops are timed at the caller. Gaps and set-up come from the time stamps that trainer processes put on every step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from _cluster import running_cluster, wait_for, write_chats, write_model

from gswarm.sdk import Host

NAME = "steering"
ROWS = 3000
CHUNK_STEPS = 15
TURNS = 30
"""Of each of the runs that share a slot."""
SHARING = 4
MOVES = 5
ENDLESS = 1_000_000
RAPIDFIRE_SWAP = "RapidFire AI 0.16.2: 1000-1200 ms"
RAPIDFIRE_STOP = "RapidFire AI 0.16.2: 2900 ms at chunks of 2400 ms"
RAPIDFIRE_WARM_CHUNK = "RapidFire AI 0.16.2: 3600 ms"


@dataclass(frozen=True)
class Result:
    metric: str
    value: float
    unit: str
    target: str = ""
    peer: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Step:
    """One optimizer step as the trainer process timed it, in seconds since the epoch."""

    number: int
    began_s: float
    ended_s: float
    setup_s: float | None
    """Only at the first step of a granted range."""


@dataclass(frozen=True)
class Stop:
    """One stop of a run that trains."""

    asked_s: float
    acknowledged_s: float
    position: int


@dataclass
class Measured:
    """Seconds, and what they are read from later."""

    acknowledged_s: list[float] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    stopped_s: list[float] = field(default_factory=list)
    """From the request until the host has the checkpoint of the last step and calls the run stopped."""
    resumed_s: dict[str, list[float]] = field(default_factory=lambda: {"hot": [], "same": [], "other": []})
    """When a resume was asked for, by where the run's memory and checkpoint were."""

    def op(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        began_s = time.perf_counter()
        answer = act()
        self.acknowledged_s.append(time.perf_counter() - began_s)
        return answer


def experiment(assets: Path) -> dict[str, Any]:
    """Without evaluation, so that nothing but the switch lies between two ranges of steps."""
    base = {
        "model_name_or_path": str(assets / "model"),
        "dataset": str(assets / "chat.jsonl"),
        "lora_dropout": 0.1,
        "cutoff_len": 64,
        "per_device_train_batch_size": 4,
        "max_steps": TURNS * CHUNK_STEPS,
    }
    rates = {"learning_rate": {"values": [1e-4 * (index + 1) for index in range(SHARING)]}}
    return {
        "experiment": NAME,
        "base": base,
        "search": {"parameters": rates},
        "chunks": {"steps": CHUNK_STEPS},
        "resources": {"max_skew": 1},
        "checkpoint": {"keep": ["last"]},
    }


def steps_of(host: Host, run: str) -> list[Step]:
    """All steps of a run that is not training. Metrics have a stream of their own and may come a moment behind the last commit."""
    position = host.run(run)["position"]
    while host.metrics(run, ("step_time_s",))["series"][0]["points"][-1][0] < position:
        time.sleep(0.01)
    series = {one["metric"]: one["points"] for one in host.metrics(run, ("step_time_s", "setup_s"))["series"]}
    setups = {step: value for step, value, _ in series["setup_s"]}
    return [Step(number, at_s - took_s, at_s, setups.get(number)) for number, took_s, at_s in series["step_time_s"]]


@contextmanager
def only(host: Host, client: str) -> Iterator[None]:
    """Nothing new is granted to the other client."""
    other = "right" if client == "left" else "left"
    host.drain_client(other)
    yield
    host.resume_client(other)


def until_trains(host: Host, run: str) -> None:
    """Until a step behind the last commit is known of: the run is in the middle of a chunk. Metrics are no events of the host."""
    while (seen := host.run(run))["slot"] is None or seen["current_step"] <= seen["position"]:
        time.sleep(0.01)


def stop(host: Host, run: str, measured: Measured) -> None:
    until_trains(host, run)
    asked_s = time.time()
    measured.op(lambda: host.stop_run(run))
    acknowledged_s = time.time()
    wait_for(host, lambda: host.run(run)["state"] == "stopped")
    measured.stopped_s.append(time.time() - asked_s)
    measured.stops.append(Stop(asked_s, acknowledged_s, int(host.run(run)["position"])))


def resume(host: Host, run: str, measured: Measured, kind: str) -> None:
    measured.resumed_s[kind].append(time.time())
    measured.op(lambda: host.resume_run(run))
    until_trains(host, run)


def steer(host: Host, seed: str, cycles: int) -> tuple[Measured, str]:
    """Stops, resumes, clones, deletes and restores while both slots train; the run that was steered."""
    measured = Measured()
    run, beside = (host.clone_run(seed, {"max_steps": ENDLESS})["id"] for _ in range(2))
    with only(host, "left"):
        until_trains(host, run)
    for _ in range(cycles):
        stop(host, run, measured)
        resume(host, run, measured, "hot")
        clone = measured.op(lambda: host.clone_run(run, {"learning_rate": 3e-4}, "latest"))["id"]
        measured.op(partial(host.delete_run, clone))
        measured.op(partial(host.restore_run, clone))
        host.delete_run(clone)
    host.delete_run(beside)
    for _ in range(MOVES):
        client = host.run(run)["slot"].partition("/")[0]
        with only(host, client):
            stop(host, run, measured)
            host.delete_run(run)  # its memory is freed; the checkpoint stays in the client's pool
            host.restore_run(run)
            resume(host, run, measured, "same")
        stop(host, run, measured)
        with only(host, "right" if client == "left" else "left"):
            resume(host, run, measured, "other")
    stop(host, run, measured)
    return measured, run


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def gaps(host: Host, runs: list[str]) -> tuple[list[float], list[float]]:
    """Of the ranges on the one slot that began hot: seconds from the end of the step before to their first step, and their set-up."""
    steps = sorted(((step, run) for run in runs for step in steps_of(host, run)), key=lambda pair: pair[0].ended_s)
    found, setups, seen = [], [], set()
    for (before, _), (step, run) in itertools.pairwise(steps):
        if step.setup_s is not None and run in seen:
            found.append(step.began_s - before.ended_s)
            setups.append(step.setup_s)
        if step.setup_s is not None:
            seen.add(run)
    return found, setups


def first_after(steps: list[Step], asked_s: float) -> Step:
    return next(step for step in steps if step.setup_s is not None and step.ended_s > asked_s)


def sharing_results(host: Host, runs: list[str]) -> list[Result]:
    found, setups = gaps(host, runs)
    gaps_ms, setups_ms = [1000 * value for value in found], [1000 * value for value in setups]
    steps_ms = [1000 * (step.ended_s - step.began_s) for run in runs for step in steps_of(host, run)]
    middle, worst = statistics.median(gaps_ms), percentile(gaps_ms, 0.99)
    return [
        Result("chunk end to next chunk start on a slot, p50", middle, "ms", "<= 3", RAPIDFIRE_SWAP, middle <= 3),
        Result("chunk end to next chunk start on a slot, p99", worst, "ms", "<= 10", RAPIDFIRE_SWAP, worst <= 10),
        Result("switch, hot: set-up, p50", statistics.median(setups_ms), "ms", "", RAPIDFIRE_WARM_CHUNK),
        Result("chunks measured", float(len(found)), "chunks"),
        Result("a step, p50", statistics.median(steps_ms), "ms"),
        Result("a step, p99 above p50: what else the machine does", percentile(steps_ms, 0.99) - statistics.median(steps_ms), "ms"),
    ]


def steering_results(host: Host, measured: Measured, run: str) -> list[Result]:
    steps = steps_of(host, run)
    last = {step.number: step for step in steps}
    after = [sum(one.acknowledged_s < step.began_s for step in steps if step.number <= one.position) for one in measured.stops]
    effective_ms = [1000 * (last[one.position].ended_s - one.asked_s) for one in measured.stops]
    acknowledged_ms = [1000 * value for value in measured.acknowledged_s]
    worst = percentile(acknowledged_ms, 0.99)
    return [
        Result("IC op acknowledged, p50", statistics.median(acknowledged_ms), "ms"),
        Result("IC op acknowledged, p99", worst, "ms", "<= 50", "", worst <= 50),
        Result("IC ops measured", float(len(acknowledged_ms)), "operations"),
        Result("stop: steps begun after the acknowledgement, most", float(max(after)), "steps", "<= 1", "", max(after) <= 1),
        Result("stop: request to the last step's end, p50", statistics.median(effective_ms), "ms", "", RAPIDFIRE_STOP),
        Result("stop: request to the last step's end, p99", percentile(effective_ms, 0.99), "ms", "", RAPIDFIRE_STOP),
        Result("stop: request to stopped, checkpoint in two places, p50", 1000 * statistics.median(measured.stopped_s), "ms"),
        *_resumes(measured, steps),
    ]


def _resumes(measured: Measured, steps: list[Step]) -> Iterator[Result]:
    where = {"hot": "hot", "same": "cold, checkpoint on the same node", "other": "cold, checkpoint from the other node"}
    for kind, text in where.items():
        firsts = [(asked_s, first_after(steps, asked_s)) for asked_s in measured.resumed_s[kind]]
        wait_ms = 1000 * statistics.median(step.began_s - asked_s for asked_s, step in firsts)
        setup_ms = 1000 * statistics.median(step.setup_s or 0.0 for _, step in firsts)
        if kind != "hot":
            yield Result(f"switch, {text}: set-up, p50", setup_ms, "ms", "", RAPIDFIRE_WARM_CHUNK)
        yield Result(f"resume, {text}: request to first step, p50", wait_ms, "ms")


def measure(cycles: int) -> list[Result]:
    with running_cluster() as (host, assets):
        write_model(assets / "model", hidden=64, layers=4)
        write_chats(assets / "chat.jsonl", ROWS)
        with only(host, "left"):
            host.submit(experiment(assets))
            wait_for(host, lambda: host.experiment(NAME)["state"] in ("idle", "rejected"))
        runs = [run["id"] for run in host.experiment_runs(NAME)]
        assert len(runs) == SHARING, host.experiment(NAME)["failure"]
        measured, steered = steer(host, runs[0], cycles)
        return [*sharing_results(host, runs), *steering_results(host, measured, steered)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cycles", type=int, default=20, help="stops and resumes while both slots train")
    options = parser.parse_args()
    results = measure(options.cycles)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        for one in results:
            verdict = ("ok" if one.ok else "MISSED") if one.target else ""
            print(f"{one.metric:62} {one.value:>10.2f} {one.unit:10} {one.target:8} {verdict:7} {one.peer}")
    return 0 if all(one.ok for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
