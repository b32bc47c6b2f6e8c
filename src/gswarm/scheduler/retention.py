"""Which checkpoints of a run are kept."""

from __future__ import annotations

from gswarm.domain.plan import Checkpoint
from gswarm.domain.spec import CheckpointPolicy, Goal, Metric


def best_of(checkpoints: list[Checkpoint], metric: Metric) -> Checkpoint | None:
    """The best by the metric, the earliest of equals; ``None`` if none of them carries the metric."""
    best: tuple[float, Checkpoint] | None = None
    for checkpoint in checkpoints:
        value = checkpoint.metric(metric.name)
        if value is None:
            continue
        score = value if metric.goal is Goal.MINIMIZE else -value
        if best is None or score < best[0]:
            best = (score, checkpoint)
    return best[1] if best is not None else None


def prune(checkpoints: list[Checkpoint], policy: CheckpointPolicy, metric: Metric) -> list[Checkpoint]:
    """What stays, in step order: the last one (the run continues there), the best one if asked for, then the newest up to the limit."""
    keep = [checkpoints[-1]]
    best = best_of(checkpoints, metric) if "best" in policy.keep else None
    if best is not None and best is not keep[0]:
        keep.append(best)
    for checkpoint in reversed(checkpoints):
        if len(keep) >= policy.save_total_limit:
            break
        if all(checkpoint is not kept for kept in keep):
            keep.append(checkpoint)
    return sorted(keep, key=lambda checkpoint: checkpoint.step)
