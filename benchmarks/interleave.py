"""Interleaved training against plain training, as ratios of one run.

Four configurations of a small Llama take turns of about a second on one slot; the same four are trained by plain TRL one after another.
Both are processes that train by turns, a block of four chunks each, because a shared machine's speed changes by the minute.
A second plain process shows what the ratio of equals is, and all three start anew several times, because where a process finds its memory
is luck that lasts as long as it does. ``python benchmarks/interleave.py [--json] [--blocks N] [--sets N]``
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from queue import Queue
from threading import Semaphore
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "training"))

from gswarm.client.processes import slot_environment
from gswarm.domain import steps
from gswarm.domain.ids import Digest, RunId
from gswarm.domain.plan import SlotSpec
from gswarm.domain.spec import RunSpec
from gswarm.training.memory import keep_freed_memory
from gswarm.training.process import SWITCH_INTERVAL_S
from gswarm.training.protocol import Quit, RangeFailed, RangeStarted, RangeTrained, StepDone, TrainerEvent, TrainRange

CHOICES = ((1e-4, 8), (3e-4, 8), (1e-4, 16), (3e-4, 16))
"""Learning rate and LoRA rank of each run."""
CHUNK_S = 1.0
ROWS = 2000
EVAL_ROWS = 16
WARM_UP_STEPS = 16


@dataclass(frozen=True)
class Bench:
    """Model and data in ``root``, and what is trained with them."""

    root: Path
    total_steps: int

    @property
    def specs(self) -> tuple[RunSpec, ...]:
        base = RunSpec(
            model_name_or_path=str(self.root / "model"),
            dataset=str(self.root / "chat.jsonl"),
            val_size=EVAL_ROWS,
            per_device_train_batch_size=8,
            lora_dropout=0.1,
            lr_scheduler_type="cosine",
            max_steps=self.total_steps,
        )
        return tuple(replace(base, learning_rate=rate, lora_rank=rank) for rate, rank in CHOICES)

    def order(self, index: int, generation: int, from_step: int, to_step: int, **more: Any) -> TrainRange:
        order = TrainRange(
            run=RunId(f"r{index}"),
            generation=generation,
            from_step=from_step,
            to_step=to_step,
            total_steps=self.total_steps,
            steps_per_epoch=steps.steps_per_epoch(self.specs[index], ROWS - EVAL_ROWS),
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


def set_up(root: Path) -> None:
    """Writes the model and the data."""
    import tiny
    from transformers import AutoTokenizer

    from gswarm.training.data import prepare_data

    tiny.write_model(root / "model", hidden=192, layers=6)
    tiny.write_dataset(root / "chat.jsonl", ROWS)
    meta = prepare_data(Bench(root, 1).specs[0], AutoTokenizer.from_pretrained(root / "model"), root / "data", root)
    assert meta.train_rows == ROWS - EVAL_ROWS


class Recorder:
    """Events with the time at which they came."""

    def __init__(self) -> None:
        self.events: list[tuple[float, TrainerEvent]] = []
        self.news: Queue[TrainerEvent] = Queue()

    def __call__(self, event: TrainerEvent) -> None:
        self.events.append((time.perf_counter(), event))
        if not isinstance(event, StepDone):  # a waiting thread that wakes at every step takes the interpreter from the one that trains
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
    """Seconds of one block: ``RUNS`` chunks of training."""

    wall_s: float
    cpu_s: float
    """Of the whole process, all threads: it counts set-up and snapshots, and not what else the machine does."""
    training_s: float


class Plain:
    """All runs one after another by plain TRL. It waits between blocks, and only that wait is not counted."""

    def __init__(self, bench: Bench, block_steps: int) -> None:
        self.digests: list[str] = []
        self._bench = bench
        self._block_steps = block_steps
        self._begin, self._end = Semaphore(0), Semaphore(0)
        self._steps_left = 0
        self._total_left = bench.total_steps * len(bench.specs)
        self._training_s = 0.0
        self._training_since_s = 0.0
        self._thread = threading.Thread(target=self._train_all, daemon=True)
        self._thread.start()

    def block(self) -> Timing:
        self._steps_left, self._training_s = self._block_steps, 0.0
        began_s, cpu_began_s = time.perf_counter(), time.process_time()
        self._begin.release()
        self._end.acquire()
        return Timing(time.perf_counter() - began_s, time.process_time() - cpu_began_s, self._training_s)

    def _train_all(self) -> None:
        self._begin.acquire()
        for spec in self._bench.specs:
            # A program of its own begins with cold caches; oneDNN keeps compiled kernels by thread, so a new thread does too.
            thread = threading.Thread(target=self._train, args=(spec,))
            thread.start()
            thread.join()
        self._end.release()

    def _train(self, spec: RunSpec) -> None:
        from transformers import TrainerCallback

        from gswarm.training.build import Workshop, trainable
        from gswarm.training.digest import weights_digest

        class Gate(TrainerCallback):
            def on_train_begin(_, *args: Any, **kwargs: Any) -> None:
                self._training_since_s = time.perf_counter()

            def on_step_end(_, *args: Any, **kwargs: Any) -> None:
                self._step_done()

            def on_train_end(_, *args: Any, **kwargs: Any) -> None:
                self._training_s += time.perf_counter() - self._training_since_s

        bench = self._bench
        folders = {"base_dir": bench.root / "model", "data_dir": bench.root / "data", "output_dir": bench.root / "plain"}
        trainer = Workshop("cpu").build(spec, total_steps=bench.total_steps, callbacks=[Gate()], **folders)
        trainer.train()
        self.digests.append(weights_digest(trainable(trainer.model)))

    def _step_done(self) -> None:
        self._steps_left -= 1
        self._total_left -= 1
        if self._steps_left == 0 and self._total_left > 0:
            self._training_s += time.perf_counter() - self._training_since_s
            self._end.release()
            self._begin.acquire()
            self._training_since_s = time.perf_counter()


class Turns:
    """The runs in turns of ``chunk_steps``; a block is one turn of each."""

    def __init__(self, bench: Bench, chunk_steps: int) -> None:
        from gswarm.training.build import Workshop
        from gswarm.training.conductor import Conductor

        self.recorder = Recorder()
        self._bench = bench
        self._chunk_steps = chunk_steps
        self._generation = 0
        self._conductor = Conductor(Workshop("cpu"), self.recorder)
        self._thread = threading.Thread(target=self._conductor.run, daemon=True)
        self._thread.start()

    def block(self) -> Timing:
        began_s, cpu_began_s = time.perf_counter(), time.process_time()
        seen = len(self.recorder.events)
        start = self._generation * self._chunk_steps
        for index in range(len(self._bench.specs)):
            end = min(start + self._chunk_steps, self._bench.total_steps)
            self._conductor.handle(self._bench.order(index, self._generation, start, end))
        self._generation += 1
        self.recorder.wait_for(len(self._bench.specs))
        wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
        steps_s = sum(dict(event.values)["step_time_s"] for _, event in self.recorder.events[seen:] if isinstance(event, StepDone))
        gaps = switch_gaps(self.recorder, seen)
        return Timing(wall_s, cpu_s, steps_s + sum(gaps) / max(1, len(gaps)) * len(self._bench.specs))

    @property
    def is_done(self) -> bool:
        return self._generation * self._chunk_steps >= self._bench.total_steps

    @property
    def digests(self) -> list[str]:
        ends = [event for _, event in self.recorder.of(RangeTrained) if event.reached_step == self._bench.total_steps]
        return [event.weights_digest for event in sorted(ends, key=lambda event: event.run)]

    def close(self) -> None:
        self._conductor.handle(Quit())
        self._thread.join()


def switch_gaps(recorder: Recorder, since: int = 0) -> list[float]:
    """Seconds from one range's end (its last step, without the evaluation) to the start of the next hot one, from that event on."""
    ends = {(event.run, event.generation): event for _, event in recorder.of(RangeTrained)}
    gaps, last_step_s, last_key = [], 0.0, None
    for at_s, event in recorder.events[since:]:
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


# ---- the processes that train by turns -----------------------------------------------------------------------------


def child(role: str, bench: Bench, chunk_steps: int) -> None:
    """Answers every line of stdin with a block's timing, and the last one with the digests of the weights."""
    from gswarm.training.build import make_deterministic

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    make_deterministic()
    if role == "turns":  # as the trainer process does
        keep_freed_memory()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
    side = Turns(bench, chunk_steps) if role == "turns" else Plain(bench, chunk_steps * len(CHOICES))
    gc.collect()
    gc.freeze()
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        print(json.dumps(asdict(side.block()) if line == "block\n" else side.digests), file=answers)


class Child:
    def __init__(self, role: str, bench: Bench, chunk_steps: int) -> None:
        environment = slot_environment(SlotSpec(0, "cpu", 1), os.environ) if role == "turns" else dict(os.environ)
        command = [sys.executable, __file__, "--child", role, str(bench.root), str(bench.total_steps), str(chunk_steps)]
        began_s = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()
        self.start_s = time.perf_counter() - began_s
        self.blocks: list[Timing] = []

    def block(self) -> None:
        self.blocks.append(Timing(**self._ask("block")))

    def digests(self) -> list[str]:
        return self._ask("digests")

    def total(self, name: str) -> float:
        return sum(getattr(block, name) for block in self.blocks)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, question: str) -> Any:
        print(question, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        return json.loads(self._process.stdout.readline())


@contextmanager
def children(bench: Bench, chunk_steps: int, *roles: str) -> Iterator[list[Child]]:
    running: list[Child] = []
    try:
        running.extend(Child(role, bench, chunk_steps) for role in roles)
        yield running
    finally:
        for one in running:
            one.close()


ROLES = ("plain", "turns", "plain")


@dataclass(frozen=True)
class Totals:
    """What a side took in all sets together."""

    start_s: float
    wall_s: float
    cpu_s: float
    training_s: float


def by_turns(bench: Bench, chunk_steps: int, sets: int) -> tuple[list[Totals], bool]:
    """The totals of ``ROLES``, and whether all trained the same weights."""
    sides: list[list[Totals]] = [[] for _ in ROLES]
    same = True
    for _ in range(sets):
        with children(bench, chunk_steps, *ROLES) as running:
            for _ in range(bench.total_steps // chunk_steps):
                for one in running:
                    one.block()
            digests = [one.digests() for one in running]
            same = same and digests.count(digests[0]) == len(ROLES)
            for side, one in zip(sides, running, strict=True):
                side.append(Totals(one.start_s, one.total("wall_s"), one.total("cpu_s"), one.total("training_s")))
    return [Totals(*map(sum, zip(*map(astuple, side), strict=True))) for side in sides], same


def measure(blocks: int, sets: int) -> list[dict[str, Any]]:
    from gswarm.training.build import make_deterministic

    make_deterministic()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with tempfile.TemporaryDirectory(prefix="gswarm-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        root = Path(folder)
        set_up(root)
        warm_up = Plain(Bench(root, WARM_UP_STEPS), WARM_UP_STEPS).block()
        chunk_steps = max(1, round(CHUNK_S / (warm_up.training_s / WARM_UP_STEPS)))
        bench = Bench(root, blocks * chunk_steps)
        compared = Turns(bench, chunk_steps)
        first_s = compared.block().wall_s
        compared.close()
        cold_s = cold_switch_s(bench)
        # Evaluations are extra work that plain training has not: without them the two do the same.
        (root / "data" / "eval.arrow").unlink()
        (plain, turns, again), same = by_turns(bench, chunk_steps, sets)
        gaps_ms = sorted(gap * 1000 for gap in hot_switches(bench, chunk_steps))
    evaluations = [event.eval_time_s for _, event in compared.recorder.of(RangeTrained)]

    def ratio(name: str) -> float:
        return float(2 * getattr(turns, name) / (getattr(plain, name) + getattr(again, name)))

    pure, wall = ratio("training_s"), (turns.wall_s + turns.start_s) / (plain.wall_s + plain.start_s * len(CHOICES))
    p50_ms, p99_ms = statistics.median(gaps_ms), gaps_ms[int(len(gaps_ms) * 0.99)]
    first = first_s * sets / plain.wall_s
    return [
        row("interleaved weights identical to plain TRL", float(same), "1 = yes", "1", same),
        row("interleaved / plain, training time", pure, "ratio", "<= 1.01", pure <= 1.01, "TRL"),
        row("plain / plain, the same twice", again.training_s / plain.training_s, "ratio", "", True, "TRL"),
        row("interleaved / four plain programs, wall time with set-up", wall, "ratio", "< 1.0", wall < 1.0, "TRL"),
        row("interleaved / plain in one program, wall time with set-up", ratio("wall_s"), "ratio", "", True, "TRL"),
        row("interleaved / plain, CPU time with snapshots", ratio("cpu_s"), "ratio", "", True, "TRL"),
        row("first comparison of all runs / sequential", first, "ratio", "< 1.0", first < 1.0, "TRL"),
        row("hot switch p50", p50_ms, "ms", "<= 3", p50_ms <= 3),
        row("hot switch p99", p99_ms, "ms", "<= 10", p99_ms <= 10),
        row("cold switch", cold_s, "s", "", True),
        row("steps a chunk", float(chunk_steps), "steps", "", True),
        row("evaluation a chunk", statistics.mean(evaluations), "s", "", True),
    ]


def hot_switches(bench: Bench, chunk_steps: int) -> list[float]:
    """Switches from each run's first range to its end, in this process."""
    turns = Turns(bench, max(1, chunk_steps // 4))
    while not turns.is_done:
        turns.block()
    turns.close()
    return switch_gaps(turns.recorder)


def row(metric: str, value: float, unit: str, target: str, ok: bool, peer: str = "") -> dict[str, Any]:
    return {"metric": metric, "value": round(value, 4), "unit": unit, "target": target, "peer": peer, "ok": ok}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--blocks", type=int, default=8, help="blocks of four chunks on each side, a set")
    parser.add_argument("--sets", type=int, default=3, help="times that all processes start anew")
    parser.add_argument("--child", nargs=4, metavar=("ROLE", "ROOT", "TOTAL_STEPS", "CHUNK_STEPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        role, root, total_steps, chunk_steps = options.child
        child(role, Bench(Path(root), int(total_steps)), int(chunk_steps))
        return 0
    rows = measure(options.blocks, options.sets)
    if options.json:
        print(json.dumps(rows))
    else:
        for entry in rows:
            print(f"{entry['metric']:65} {entry['value']:>10} {entry['unit']:6} {entry['target']:8} {'ok' if entry['ok'] else 'MISSED'}")
    return 0 if all(entry["ok"] for entry in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
