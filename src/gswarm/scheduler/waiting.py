"""In which order runs wait for a slot, for people. The policy asks its index; nothing is decided here."""

from __future__ import annotations

from heapq import nsmallest

from gswarm.domain.ids import RunId
from gswarm.domain.plan import RunState
from gswarm.scheduler.index import number_of
from gswarm.scheduler.state import Plan


def waiting_order(plan: Plan, limit: int) -> list[RunId]:
    """The first ``limit`` queued runs, the one whose turn comes first in front: experiments in the order of their turns, in each the runs
    that have trained nothing yet, then those with most work left. A slot may still prefer a run that it has hot, or one of the base that
    it holds.

    Runs that no slot can take now (their checkpoint is out of reach, or an old grant is not back yet) come last.
    """
    order: list[RunId] = []
    for *_, experiment in plan.index.order:
        pool = plan.index.pools[experiment]
        for heap in (pool.fresh, pool.movable):
            keys = heap.keys()
            order += nsmallest(limit - len(order), keys, key=lambda run: keys[run])
            if len(order) == limit:
                return order
    known = set(order)
    rest = (run.id for run in plan.runs.values() if run.state is RunState.QUEUED and run.id not in known)
    return order + nsmallest(limit - len(order), rest, key=number_of)
