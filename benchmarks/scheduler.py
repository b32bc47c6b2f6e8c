"""The scheduler alone: decisions a second, and how good its schedules are.

The schedules come out of the real ``ClusterState`` as ``gswarm simulate`` plays it; a check that knows nothing of the scheduler
is made of every one of them. ``--json`` prints the rows as one JSON document; ``--largest`` adds the largest forecast, which takes minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass

from gswarm.domain.ids import ClientName, Digest, JobId, RequestId, SlotId
from gswarm.domain.plan import Checkpoint, Grant, RunSize, SlotSpec
from gswarm.domain.spec import Chunks, ExperimentSpec, Resources, RunSpec
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import Effect, SendGrant, SendJob
from gswarm.scheduler.events import (
    ChunkCommitted,
    ChunkTrained,
    ClientRegistered,
    ExperimentSubmitted,
    JobFinished,
)
from gswarm.simulator.forecast.described import CHUNKS_MAX, SLOTS_MAX, ClusterDescription, Costs, Machines, Workload
from gswarm.simulator.forecast.forecast import forecast

CLIENT = ClientName("c")
BASE, DATA = Digest("b" * 64), Digest("d" * 64)
STEPS_PER_CHUNK = 10


def register(state: ClusterState, slots: int) -> list[Effect]:
    specs = tuple(SlotSpec(SlotId(f"{CLIENT}/{index}"), "cpu") for index in range(slots))
    return state.step(ClientRegistered(CLIENT, "i1", "1", "", specs), 0.0)


def submit(state: ClusterState, runs: int, chunks: int) -> list[Effect]:
    """One prepared experiment of equal length in steps; its first grants are among the effects."""
    spec = RunSpec("m", "d")
    experiment = ExperimentSpec("bench", spec, chunks=Chunks(steps=STEPS_PER_CHUNK), resources=Resources())
    effects = state.step(ExperimentSubmitted(RequestId("q"), experiment, (spec,) * runs, ((),) * runs), 0.0)
    job = next(effect.job for effect in effects if isinstance(effect, SendJob))
    steps = chunks * STEPS_PER_CHUNK
    size = RunSize(steps, steps, steps, 0, BASE, DATA)
    return state.step(JobFinished(CLIENT, JobId(job), "{}", None, (size,) * runs), 0.0)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(Digest("c" * 64), step, Digest("w" * 64), 1)


@dataclass(frozen=True)
class Quality:
    makespan_ratio: float
    first_comparison_ratio: float
    switches: int
    max_skew: int


def schedule(seed: int | None, switch_cost: float, runs: int = 16, slots: int = 4, chunks: int = 8) -> Quality:
    """Play one experiment. ``seed`` spreads step times over 0.5 to 1.5 s a chunk; ``None`` makes them equal.

    Ratios are to bounds without any switch cost: all work over all slots (or the longest run), and for the first comparison
    all first chunks over all slots.
    """
    spread = random.Random(seed)
    chunk_times_s = [1.0 if seed is None else spread.uniform(0.5, 1.5) for _ in range(runs)]
    mean_s = sum(chunk_times_s) / runs
    costs = Costs(hot_switch_s=switch_cost * mean_s, cold_start_s=switch_cost * mean_s, checkpoint_mb=0, message_s=0.005 * mean_s)
    spec = RunSpec("m", "d", num_train_epochs=1.0)
    experiment = ExperimentSpec("bench", spec, chunks=Chunks(steps=STEPS_PER_CHUNK))
    workload = Workload(experiment, (spec,) * runs, chunks * STEPS_PER_CHUNK, tuple(one / STEPS_PER_CHUNK for one in chunk_times_s))
    result = forecast(ClusterDescription(machines=(Machines(slots=slots),), costs=costs), workload)
    trained_s = max(one.ended_s for one in result.played.trained)
    first_ratio = result.first_comparison_s / result.first_comparison_bound_s
    return Quality(trained_s / result.lower_bound_s, first_ratio, result.switches, result.max_skew)


@dataclass(frozen=True)
class Speed:
    decisions_per_s: float
    """Chunk trained -> next grant decided."""
    cycles_per_s: float
    """With the commit of each chunk."""


def speed(runs: int, decisions: int = 20_000, slots: int = 8) -> Speed:
    """Play chunks round robin over the slots, as fast as the state takes them, and count the processor time of ``step`` alone.

    As a server would, it keeps the collector away from what is there at the start.
    """
    state = ClusterState()
    register(state, slots)
    effects = submit(state, runs, max(8, 4 * decisions // runs))
    active: dict[SlotId, deque[Grant]] = {}
    trained_ns = committed_ns = 0
    decided = made = chunks = 0
    clock = time.process_time_ns
    turns = deque(state.slots)

    def note(effects: list[Effect]) -> int:
        granted = [effect.grant for effect in effects if isinstance(effect, SendGrant)]
        for grant in granted:
            active.setdefault(grant.slots[0], deque()).append(grant)
        return len(granted)

    note(effects)
    gc.collect()
    gc.freeze()
    while decided < decisions and any(active.values()):
        slot_id = turns[0]
        turns.rotate(-1)
        if not active.get(slot_id):
            continue
        grant = active[slot_id].popleft()
        trained = ChunkTrained(CLIENT, grant.run, grant.generation, grant.to_step, 0.1 + 0.001 * (int(grant.run[1:]) % 97))
        commit = ChunkCommitted(CLIENT, grant.run, grant.generation, checkpoint(grant.to_step))
        began = clock()
        first = state.step(trained, float(chunks))
        between = clock()
        second = state.step(commit, float(chunks))
        ended = clock()
        trained_ns += between - began
        committed_ns += ended - between
        decided += note(first)
        made += note(second)
        chunks += 1
    gc.unfreeze()
    return Speed(decided / trained_ns * 1e9, (decided + made) / (trained_ns + committed_ns) * 1e9)


def forecast_s(slots: int, chunks: int, runs_per_slot: int = 2) -> float:
    """Processor seconds of a forecast, its check included: clients of eight slots, runs whose steps take unequally long."""
    spread = random.Random(1)
    runs, steps = slots * runs_per_slot, chunks // (slots * runs_per_slot) * STEPS_PER_CHUNK
    spec = RunSpec("m", "d", num_train_epochs=1.0)
    experiment = ExperimentSpec("bench", spec, chunks=Chunks(steps=STEPS_PER_CHUNK))
    workload = Workload(experiment, (spec,) * runs, steps, tuple(spread.uniform(0.05, 0.15) for _ in range(runs)))
    began_s = time.process_time()
    forecast(ClusterDescription(machines=(Machines(count=slots // 8, slots=8),)), workload)
    return time.process_time() - began_s


def row(metric: str, value: float, unit: str, target: str, ok: bool, peer: str = "") -> dict[str, object]:
    return {"metric": metric, "value": round(value, 4), "unit": unit, "target": target, "peer": peer, "ok": ok}


def quality_rows() -> list[dict[str, object]]:
    rows = []
    for cost, target in ((0.0, 1.01), (0.04, 1.02), (0.18, 1.05)):
        equal = schedule(None, cost)
        spread = [schedule(seed, cost) for seed in range(20)]
        mean = sum(one.makespan_ratio for one in spread) / len(spread)
        worst = max(one.makespan_ratio for one in spread)
        first = max(one.first_comparison_ratio for one in spread)
        name = f"16 runs, 4 slots, 8 chunks, switch cost {cost:.0%}"
        rows.append(
            row(f"makespan / bound, equal runs: {name}", equal.makespan_ratio, "ratio", f"<= {target}", equal.makespan_ratio <= target)
        )
        rows.append(row(f"makespan / bound, mean of 20 spreads: {name}", mean, "ratio", "", True))
        rows.append(row(f"makespan / bound, worst of 20 spreads: {name}", worst, "ratio", "", True))
        if cost <= 0.04:
            rows.append(
                row(
                    f"first comparison / bound, equal runs: {name}",
                    equal.first_comparison_ratio,
                    "ratio",
                    "<= 1.1",
                    equal.first_comparison_ratio <= 1.1,
                )
            )
        rows.append(row(f"first comparison / bound, worst of 20 spreads: {name}", first, "ratio", "", True))
        rows.append(row(f"switches, equal runs (max_skew {equal.max_skew}): {name}", equal.switches, "switches", "", True))
    return rows


def speed_rows() -> list[dict[str, object]]:
    speed(100, 2_000)
    found = {runs: speed(runs) for runs in (10, 1_000, 100_000)}
    rows = [
        row(
            f"decisions a second at {runs:,} runs",
            one.decisions_per_s,
            "1/s",
            ">= 20000" if runs == 1_000 else "",
            runs != 1_000 or one.decisions_per_s >= 20_000,
        )
        for runs, one in found.items()
    ]
    rows += [row(f"decisions a second with commits at {runs:,} runs", one.cycles_per_s, "1/s", "", True) for runs, one in found.items()]
    growth = found[1_000].decisions_per_s / found[100_000].decisions_per_s
    rows.append(row("cost of a decision at 100,000 runs / at 1,000", growth, "ratio", "<= 1.67 (a heap: log n)", growth <= 1.67))
    return rows


def forecast_rows(*, largest: bool) -> list[dict[str, object]]:
    rows = []
    for slots, chunks, limit_s in ((800, 100_000, 60.0), (SLOTS_MAX, CHUNKS_MAX, 300.0))[: 2 if largest else 1]:
        took_s = forecast_s(slots, chunks)
        rows.append(row(f"forecast of {chunks:,} chunks on {slots:,} slots", took_s, "s", f"<= {limit_s:g}", took_s <= limit_s))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--largest", action="store_true", help="also the largest forecast that gswarm simulate makes")
    options = parser.parse_args()
    rows = [*quality_rows(), *speed_rows(), *forecast_rows(largest=options.largest)]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        for one in rows:
            mark = "ok  " if one["ok"] else "MISS"
            print(f"{mark} {one['value']!s:>12} {one['unit']!s:9} {one['target']!s:24} {one['metric']}")
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
