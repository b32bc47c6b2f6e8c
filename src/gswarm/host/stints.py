"""Which client has trained which steps of a run: what is measured travels apart from reports, and comes when a grant is over."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from gswarm.domain.epochs import epoch_of
from gswarm.domain.ids import ClientName, RunId
from gswarm.domain.messages import GrantOrder, StepMetrics
from gswarm.domain.plan import Run
from gswarm.scheduler.core import ClusterState

RUNS_MAX = 20_000
"""Runs whose stints are remembered; the one that was granted longest ago is forgotten first."""
PER_RUN_MAX = 8
LATE_LINES_S = 30.0
"""A line names no step and no generation: for so long after the run went elsewhere it is believed to be of the time before that."""


@dataclass(slots=True)
class _Stint:
    """Grants of one run that a client got with nobody else in between."""

    client: ClientName
    began_s: float
    generations: range
    from_step: int
    to_step: int

    def covers(self, client: ClientName, row: StepMetrics) -> bool:
        return client == self.client and row.generation in self.generations and self.from_step < row.step <= self.to_step


class Stints:
    """What this process granted, and what the plan knows of the time before it. Used on one event loop's thread."""

    def __init__(self, state: ClusterState, now_s: Callable[[], float]) -> None:
        self._state = state
        self._now_s = now_s
        self._of: OrderedDict[RunId, list[_Stint]] = OrderedDict()

    def granted(self, client: ClientName, order: GrantOrder) -> None:
        stints = self._of.setdefault(order.run, [])
        self._of.move_to_end(order.run)
        if stints and stints[-1].client == client:
            last = stints[-1]
            last.generations = range(min(last.generations.start, order.generation), max(last.generations.stop, order.generation + 1))
            last.from_step, last.to_step = min(last.from_step, order.from_step), max(last.to_step, order.to_step)
        else:
            stints.append(_Stint(client, self._now_s(), range(order.generation, order.generation + 1), order.from_step, order.to_step))
            del stints[:-PER_RUN_MAX]
        if len(self._of) > RUNS_MAX:
            self._of.popitem(last=False)

    def may_measure(self, client: ClientName, row: StepMetrics) -> bool:
        """Whether the client was granted that step of the run with that generation."""
        run = self._state.runs.get(row.run)
        if run is None:
            return False
        return (
            any(stint.covers(client, row) for stint in self._of.get(row.run, ()))
            or any(
                (grant.client, grant.generation) == (client, row.generation) and grant.from_step < row.step <= grant.to_step
                for grant in run.grants
            )
            or _has_committed(client, run, row)
        )

    def may_log(self, client: ClientName, run_id: RunId) -> bool:
        """Whether the client holds the run, held it last, or did until a moment ago."""
        run = self._state.runs.get(run_id)
        if run is None:
            return False
        stints = self._of.get(run_id)
        if any(grant.client == client for grant in run.grants):
            return True
        if not stints:
            return client in _last_holders(self._state, run)
        ended_s = [later.began_s for stint, later in pairwise(stints) if stint.client == client]
        return stints[-1].client == client or any(self._now_s() - at_s < LATE_LINES_S for at_s in ended_s)


def _has_committed(client: ClientName, run: Run, row: StepMetrics) -> bool:
    """The step belongs to a commit that the client still holds. After a restart of the host nothing else is known of it."""
    if row.generation > run.generation or epoch_of(row.generation) != epoch_of(run.generation):
        return False
    for checkpoint in run.checkpoints:
        if row.step <= checkpoint.step and client in checkpoint.holders:
            before = bisect_left(run.history, checkpoint.step, key=lambda commit: commit[0])
            return row.step > (run.history[before - 1][0] if before else run.first_step)
    return False


def _last_holders(state: ClusterState, run: Run) -> set[str]:
    holders: set[str] = set(run.latest.holders) if run.latest is not None else set()
    if run.home is not None and run.home in state.slots:
        holders.add(state.slots[run.home].client)
    return holders
