"""Answers planning questions: how long an experiment takes on a cluster, and how good that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gswarm.domain.spec import Durability
from gswarm.simulator.forecast.described import ClusterDescription, Workload, check_size, checked
from gswarm.simulator.forecast.play import BITS_PER_GBIT, BITS_PER_MB, Played, Player
from gswarm.simulator.forecast.schedule import check_schedule


@dataclass(frozen=True, slots=True)
class Forecast:
    """Times in seconds from the submission."""

    runs: int
    slots: int
    chunks: int
    makespan_s: float
    lower_bound_s: float
    """No schedule ends sooner: all steps over all slots, or the longest run on the fastest slot. Nothing but steps is counted."""
    first_comparison_s: float
    """Until every run has trained its first chunk."""
    first_comparison_bound_s: float
    sequential_s: float
    """The same steps one run after another on the fastest slot."""
    link_s: float
    """What the host's link alone needs for all checkpoints."""
    switches: int
    max_skew: int
    train_share: float
    """Of all slot-seconds until the end."""
    switch_share: float
    played: Played

    @property
    def idle_share(self) -> float:
        """Evaluations, waiting for checkpoints, and slots without work."""
        return max(0.0, 1.0 - self.train_share - self.switch_share)


def forecast(cluster: ClusterDescription, workload: Workload, tell: Callable[[int], None] = lambda chunks: None) -> Forecast:
    """Plays the experiment, and checks the schedule without asking the scheduler.

    Args:
        tell: called with the number of chunks trained, now and then.

    Raises:
        InvalidInputError, LimitError: it cannot be played.
    """
    checked(cluster)
    check_size(workload)
    played = Player(cluster, workload, tell).play()
    check_schedule(played.trained, played.total_steps)
    whole_s = [workload.total_steps(spec) * step_s for spec, step_s in zip(workload.runs, workload.step_times_s, strict=True)]
    first_s = [workload.first_chunk_steps(spec) * step_s for spec, step_s in zip(workload.runs, workload.step_times_s, strict=True)]
    speeds = [group.speed for group in cluster.machines for _ in range(group.count * group.slots)]
    makespan_s = max(played.makespan_s, 1e-12)
    trained_s = sum(one.ended_s - one.began_s for one in played.trained)
    return Forecast(
        runs=len(workload.runs),
        slots=len(speeds),
        chunks=len(played.trained),
        makespan_s=played.makespan_s,
        lower_bound_s=_bound_s(whole_s, speeds),
        first_comparison_s=max((one.ended_s for one in played.trained if one.from_step == 0), default=0.0),
        first_comparison_bound_s=_bound_s(first_s, speeds),
        sequential_s=sum(whole_s) / max(speeds),
        link_s=_link_s(cluster, workload),
        switches=played.switches,
        max_skew=played.max_skew,
        train_share=trained_s / (makespan_s * len(speeds)),
        switch_share=played.switch_s / (makespan_s * len(speeds)),
        played=played,
    )


def _bound_s(work_s: list[float], speeds: list[float]) -> float:
    return max(sum(work_s) / sum(speeds), max(work_s) / max(speeds))


def _link_s(cluster: ClusterDescription, workload: Workload) -> float:
    if workload.experiment.checkpoint.durability is Durability.LOCAL:
        return 0.0
    return workload.chunk_count() * cluster.costs.checkpoint_mb * BITS_PER_MB / (cluster.host_gbit_s * BITS_PER_GBIT)
