"""Interleaved training against plain training, as ratios of one run.

Four configurations of a small Llama take turns of about a second on one slot; the same four are trained by plain TRL one after another.
``python benchmarks/interleave.py [--json] [--steps N]``
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "training"))

import tiny

from gswarm.domain import steps
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.spec import RunSpec
from gswarm.training.process import SWITCH_INTERVAL_S
from gswarm.training.protocol import Quit, RangeFailed, RangeStarted, RangeTrained, StepDone, TrainerEvent, TrainRange

RUNS = 4
CHUNK_S = 1.0
ROWS = 2000
EVAL_ROWS = 16


@dataclass(frozen=True)
class Bench:
    root: Path
    specs: tuple[RunSpec, ...]
    total_steps: int
    steps_per_epoch: int

    def order(self, index: int, generation: int, from_step: int, to_step: int, **more: Any) -> TrainRange:
        order = TrainRange(
            run=RunId(f"r{index}"),
            generation=generation,
            from_step=from_step,
            to_step=to_step,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            spec=self.specs[index],
            base_digest=Digest("base"),
            base_dir=str(self.root / "model"),
            data_dir=str(self.root / "data"),
            checkpoint_dir=None,
            warm_start=False,
            first_step=0,
            snapshot_dir=str(self.root / f"snapshot-{index}-{generation}"),
        )
        return replace(order, **more)


def set_up(root: Path, total_steps: int) -> Bench:
    from transformers import AutoTokenizer

    from gswarm.training.data import prepare_data

    tiny.write_model(root / "model", hidden=192, layers=6)
    tiny.write_dataset(root / "chat.jsonl", ROWS)
    base = RunSpec(
        model_name_or_path=str(root / "model"),
        dataset=str(root / "chat.jsonl"),
        val_size=EVAL_ROWS,
        per_device_train_batch_size=8,
        lora_dropout=0.1,
        lr_scheduler_type="cosine",
        max_steps=total_steps,
    )
    meta = prepare_data(base, AutoTokenizer.from_pretrained(root / "model"), root / "data", root)
    choices = ((1e-4, 8), (3e-4, 8), (1e-4, 16), (3e-4, 16))
    specs = tuple(replace(base, learning_rate=rate, lora_rank=rank) for rate, rank in choices[:RUNS])
    return Bench(root, specs, total_steps, steps.steps_per_epoch(base, meta.train_rows))


class Recorder:
    """Events with the time at which they came."""

    def __init__(self) -> None:
        self.events: list[tuple[float, TrainerEvent]] = []
        self.news: Queue[TrainerEvent] = Queue()

    def __call__(self, event: TrainerEvent) -> None:
        self.events.append((time.perf_counter(), event))
        self.news.put(event)

    def wait_for(self, count: int) -> None:
        """Until so many more ranges are trained."""
        while count:
            event = self.news.get(timeout=600)
            assert not isinstance(event, RangeFailed), event
            count -= isinstance(event, RangeTrained)

    def of(self, kind: type) -> list[tuple[float, Any]]:
        return [(at_s, event) for at_s, event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class Timing:
    wall_s: float
    cpu_s: float
    """Of the whole process, all threads: it counts set-up and snapshots, and not what else the machine does."""
    training_s: float


def plain(bench: Bench) -> tuple[Timing, list[str]]:
    """All runs one after another, each as a program of its own would do it, and the digests of their weights."""
    from gswarm.training.build import Workshop, trainable
    from gswarm.training.digest import weights_digest

    training_s: list[float] = []
    digests: list[str] = []

    def train(spec: RunSpec) -> None:
        trainer = Workshop("cpu").build(
            spec,
            base_dir=bench.root / "model",
            data_dir=bench.root / "data",
            total_steps=bench.total_steps,
            output_dir=bench.root / "plain",
        )
        started_s = time.perf_counter()
        trainer.train()
        training_s.append(time.perf_counter() - started_s)
        digests.append(weights_digest(trainable(trainer.model)))

    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    for spec in bench.specs:
        # A program of its own begins with cold caches; oneDNN keeps compiled kernels by thread, so a new thread does too.
        thread = threading.Thread(target=train, args=(spec,))
        thread.start()
        thread.join()
    return Timing(time.perf_counter() - began_s, time.process_time() - cpu_began_s, sum(training_s)), digests


def interleave(bench: Bench, chunk_steps: int, rounds: int | None = None) -> tuple[Timing, Recorder]:
    """The runs in turns of ``chunk_steps``; at most ``rounds`` turns of each."""
    from gswarm.training.build import Workshop
    from gswarm.training.conductor import Conductor

    recorder = Recorder()
    conductor = Conductor(Workshop("cpu"), recorder)
    thread = threading.Thread(target=conductor.run, daemon=True)
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    thread.start()
    for generation, start in enumerate(range(0, bench.total_steps, chunk_steps)[:rounds]):
        for index in range(len(bench.specs)):
            conductor.handle(bench.order(index, generation, start, min(start + chunk_steps, bench.total_steps)))
        if generation:  # one round is always queued behind the one that trains
            recorder.wait_for(len(bench.specs))
    recorder.wait_for(len(bench.specs))
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    conductor.handle(Quit())
    thread.join()
    steps_s = sum(dict(event.values)["step_time_s"] for _, event in recorder.of(StepDone))
    return Timing(wall_s, cpu_s, steps_s + sum(switch_gaps(recorder))), recorder


def switch_gaps(recorder: Recorder) -> list[float]:
    """Seconds from one range's end (its last step, evaluation and copy) to the start of the next hot one."""
    ends = {(event.run, event.generation): event for _, event in recorder.of(RangeTrained)}
    gaps, last_step_s, last_key = [], 0.0, None
    for at_s, event in recorder.events:
        if isinstance(event, StepDone):
            last_step_s, last_key = at_s, (event.run, event.generation)
        elif isinstance(event, RangeStarted) and event.was_hot and last_key in ends:
            gaps.append(at_s - last_step_s - ends[last_key].eval_time_s)
    return gaps


def cold_switch_s(bench: Bench) -> float:
    """Set-up seconds of a run whose base is in memory and whose checkpoint is on disk."""
    from gswarm.training.build import Workshop
    from gswarm.training.conductor import Conductor

    recorder = Recorder()
    conductor = Conductor(Workshop("cpu"), recorder, hot_runs_limit=1)
    thread = threading.Thread(target=conductor.run, daemon=True)
    thread.start()
    for index in (0, 1):
        conductor.handle(bench.order(index, 0, 0, 1))
    recorder.wait_for(2)
    for generation in range(1, 4):
        for index in (0, 1):
            checkpoint = str(bench.root / f"snapshot-{index}-{generation - 1}")
            conductor.handle(bench.order(index, generation, generation, generation + 1, checkpoint_dir=checkpoint))
            recorder.wait_for(1)
    conductor.handle(Quit())
    thread.join()
    times = [event.setup_s for _, event in recorder.of(RangeStarted) if event.generation > 0]
    return statistics.median(times)


def measure(total_steps: int) -> list[dict[str, Any]]:
    from gswarm.training.build import make_deterministic

    make_deterministic()
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as the trainer process does
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="gswarm-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        bench = set_up(Path(folder), total_steps)
        warm_up, _ = plain(replace(bench, specs=bench.specs[:1], total_steps=20))
        chunk_steps = max(1, round(CHUNK_S / (warm_up.training_s / 20)))
        compared, compared_recorder = interleave(bench, chunk_steps, rounds=1)
        cold_s = cold_switch_s(bench)
        # Evaluations are extra work that plain training has not: without them the two do the same.
        (bench.root / "data" / "eval.arrow").unlink()
        before, digests = plain(bench)
        turns, recorder = interleave(bench, chunk_steps)
        after, _ = plain(bench)
    same = [event.weights_digest for _, event in recorder.of(RangeTrained) if event.reached_step == total_steps] == digests
    pure = 2 * turns.training_s / (before.training_s + after.training_s)
    wall = 2 * turns.wall_s / (before.wall_s + after.wall_s)
    cpu = 2 * turns.cpu_s / (before.cpu_s + after.cpu_s)
    drift = max(before.wall_s, after.wall_s) / min(before.wall_s, after.wall_s)
    first = 2 * compared.wall_s / (before.wall_s + after.wall_s)
    gaps_ms = sorted(gap * 1000 for gap in switch_gaps(recorder))
    p50_ms, p99_ms = statistics.median(gaps_ms), gaps_ms[int(len(gaps_ms) * 0.99)]
    evaluations = [event.eval_time_s for _, event in compared_recorder.of(RangeTrained)]
    return [
        row("interleaved weights identical to plain TRL", float(same), "1 = yes", "1", same),
        row("interleaved / plain, training time", pure, "ratio", "<= 1.01", pure <= 1.01, "TRL"),
        row("interleaved / plain, wall time with set-up and snapshots", wall, "ratio", "< 1.0", wall < 1.0, "TRL"),
        row("interleaved / plain, CPU time with set-up and snapshots", cpu, "ratio", "", True, "TRL"),
        row("plain / plain, the same twice (how quiet the machine is)", drift, "ratio", "", True, "TRL"),
        row("first comparison of all runs / sequential", first, "ratio", "< 1.0", first < 1.0, "TRL"),
        row("hot switch p50", p50_ms, "ms", "<= 3", p50_ms <= 3),
        row("hot switch p99", p99_ms, "ms", "<= 10", p99_ms <= 10),
        row("cold switch", cold_s, "s", "", True),
        row("steps a chunk", float(chunk_steps), "steps", "", True),
        row("evaluation a chunk", statistics.mean(evaluations), "s", "", True),
    ]


def row(metric: str, value: float, unit: str, target: str, ok: bool, peer: str = "") -> dict[str, Any]:
    return {"metric": metric, "value": round(value, 4), "unit": unit, "target": target, "peer": peer, "ok": ok}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=120, help="steps of each run")
    options = parser.parse_args()
    rows = measure(options.steps)
    if options.json:
        print(json.dumps(rows))
    else:
        for entry in rows:
            print(f"{entry['metric']:65} {entry['value']:>10} {entry['unit']:6} {entry['target']:8} {'ok' if entry['ok'] else 'MISSED'}")
    return 0 if all(entry["ok"] for entry in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
