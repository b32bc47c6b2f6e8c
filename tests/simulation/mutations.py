"""Bugs that are planted into the real code, each of which the simulator must catch. ``python mutations.py`` looks for the first seed that
catches each, and prints the table of docs/reliability.md."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from gswarm.client.agent_book import Book
from gswarm.datapool.pins import Pins
from gswarm.domain.ids import Digest
from gswarm.domain.plan import Grant, Run
from gswarm.host import orders, reports
from gswarm.host.effects import EffectRunner
from gswarm.host.keeper import PoolKeeper
from gswarm.host.loop import PlanLoop
from gswarm.scheduler import clients, clones, core, explain, leases, operations, policy
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.effects import SendGrant
from gswarm.scheduler.gangs import Reservations
from gswarm.scheduler.index import Index, number_of
from gswarm.scheduler.state import Plan, Turn, send_grant
from gswarm.simulator import checkers, pool
from gswarm.simulator.run import Outcome, simulate

SEEDS_MAX = 500


@dataclass(frozen=True, slots=True)
class Mutation:
    """``plant`` changes the real code for as long as its context lasts. The first seed that catches it, and the checker, stand beside it,
    so that the tests need not look for them."""

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[Any]]
    seed: int
    checker: str

    def row(self) -> str:
        """Its line in the table of docs/reliability.md."""
        return f"| {self.name} | {self.what} | {self.seed} | {self.checker} |"


def _off_by_one_chunk() -> AbstractContextManager[Any]:
    def planned(run: Run) -> int:
        return run.grants[-1].to_step - 1 if run.grants else run.position

    return patch.object(Run, "planned_position", property(planned))


def _missing_fence() -> AbstractContextManager[Any]:
    original = Plan.open_grant

    def open_grant(plan: Plan, client: Any, run_id: Any, generation: int) -> tuple[Run, int]:
        run = plan.runs.get(run_id)
        return (run, 0) if run is not None and run.grants else original(plan, client, run_id, generation)

    return patch.object(Plan, "open_grant", open_grant)


def _ack_before_flush() -> AbstractContextManager[Any]:
    original = PlanLoop._commit

    async def commit(loop: PlanLoop, batch: Any) -> None:
        for waiting, submitted in batch.accepted:
            if not waiting.answer.done():
                waiting.answer.set_result(submitted)
        await original(loop, batch)

    return patch.object(PlanLoop, "_commit", commit)


def _double_grant() -> AbstractContextManager[Any]:
    original = leases.give

    def give(turn: Turn, run: Run, slots: tuple[Any, ...]) -> None:
        original(turn, run, slots)
        other = next(iter(turn.plan.index.vacant), None)
        if other is not None:
            turn.emit(send_grant(replace(run.grants[-1], client=turn.plan.slots[other].client, slots=(other,))))

    return patch.object(leases, "give", give)


def _lost_ref() -> AbstractContextManager[Any]:
    original = Plan.live_roots

    def live_roots(plan: Plan) -> tuple[Digest, ...]:
        lost = {run.start.manifest for run in plan.runs.values() if run.start is not None}
        return tuple(root for root in original(plan) if root not in lost)

    return patch.object(Plan, "live_roots", live_roots)


@contextmanager
def _sweep_without_lease() -> Iterator[None]:
    """The grace time would hide it for an hour."""
    original = pool.sweep

    def sweep(store: Any, roots: Any, pins: Pins, now_s: float) -> Any:
        return original(store, roots, Pins(), now_s, grace_s=0.0)

    with patch.object(pool, "sweep", sweep), patch.object(Pins, "pinned", lambda pins: frozenset()):
        yield


def _stale_resume() -> AbstractContextManager[Any]:
    original = orders.grant_order

    def grant_order(grant: Grant, run: Run, *more: Any) -> Any:
        order = original(grant, run, *more)
        return replace(order, checkpoint=run.checkpoints[0]) if run.checkpoints else order

    return patch.object(orders, "grant_order", grant_order)


def _clone_shares_a_list() -> AbstractContextManager[Any]:
    original = clones.cloned

    def cloned(turn: Turn, event: Any) -> str:
        clone = original(turn, event)
        turn.plan.runs[clone].history = turn.plan.runs[event.parent].history  # type: ignore[index]
        return clone

    return patch.object(clones, "cloned", cloned)


@contextmanager
def _timer_reuse() -> Iterator[None]:
    original = operations.fired

    def start_timer(runner: EffectRunner, key: str, due_at_s: float) -> None:
        runner._timers[key] = runner._clock.call_at(due_at_s, lambda: runner._fire(key))

    def fired(turn: Turn, event: Any) -> None:
        original(replace(turn, now_s=turn.plan.timers.get(event.key, turn.now_s)), event)

    with patch.object(EffectRunner, "_start_timer", start_timer), patch.object(operations, "fired", fired):
        yield


def _unfair_tie() -> AbstractContextManager[Any]:
    def order_key(index: Index, experiment: Any) -> Any:
        return (-experiment.spec.resources.priority, 0.0, number_of(experiment.id), experiment.id)

    return _other_order(order_key)


@contextmanager
def _other_order(order_key: Callable[[Index, Any], Any]) -> Iterator[None]:
    """Whose turn it is. The reasons would give it away before anybody is treated unfairly: without them the other checkers must see it."""
    with patch.object(Index, "order_key", order_key), patch.object(checkers, "check_reasons", lambda plan, now_s: ()):
        yield


def _request_counts_twice() -> AbstractContextManager[Any]:
    def step(state: ClusterState, event: Any, now_s: float) -> Any:
        state.requests.pop(getattr(event, "request", None), None)  # type: ignore[call-overload]
        return original(state, event, now_s)

    original = ClusterState.step
    return patch.object(ClusterState, "step", step)


def _commit_without_a_look() -> AbstractContextManager[Any]:
    async def lacking(keeper: PoolKeeper, manifest: Digest, owner: str) -> list[Digest]:
        return []

    return patch.object(PoolKeeper, "lacking", lacking)


def _lost_client_keeps_its_leases() -> AbstractContextManager[Any]:
    return patch.object(clients.leases, "close", lambda *args, **more: None)


def _outbox_is_forgotten() -> AbstractContextManager[Any]:
    original = Book.report

    def report(book: Book, message: Any) -> None:
        original(book, message)
        if not book.connected:
            del book.outbox[message.seq]

    return patch.object(Book, "report", report)


def _nothing_is_said_again() -> AbstractContextManager[Any]:
    original = ClusterState.outstanding_effects

    def outstanding(state: ClusterState, client: Any = None) -> list[Any]:
        return [one for one in original(state, client) if not isinstance(one, SendGrant)]

    return patch.object(ClusterState, "outstanding_effects", outstanding)


def _skew_is_ignored() -> AbstractContextManager[Any]:
    return patch.object(policy, "_chunks", lambda plan, run: 0)


def _priority_is_upside_down() -> AbstractContextManager[Any]:
    def order_key(index: Index, experiment: Any) -> Any:
        return (experiment.spec.resources.priority, experiment.service_s, number_of(experiment.id), experiment.id)

    return _other_order(order_key)


def _explain_guesses() -> AbstractContextManager[Any]:
    return patch.object(explain, "out_of_reach", lambda plan, run: ())


def _busy_is_nobody() -> AbstractContextManager[Any]:
    original = explain._preparing

    def preparing(*about: Any) -> explain.Explanation:
        said = original(*about)
        return replace(said, code="no_client") if said.code == "clients_busy" else said

    return patch.object(explain, "_preparing", preparing)


def _always_next() -> AbstractContextManager[Any]:
    return patch.object(explain, "_ahead_of", lambda plan, run: [])


def _behind_a_stranger() -> AbstractContextManager[Any]:
    original = explain._ahead_of
    return patch.object(explain, "_ahead_of", lambda plan, run: ["r999" for _ in original(plan, run)])


def _nothing_is_let_go() -> AbstractContextManager[Any]:
    return patch.object(PoolKeeper, "let_go", lambda keeper, owner: None)


def _nothing_is_kept_for_gangs() -> AbstractContextManager[Any]:
    return patch.object(policy, "Reservations", lambda plan: type("Nobody", (Reservations,), {"held": lambda self: {}})(plan))


def _everything_counts_already() -> AbstractContextManager[Any]:
    return patch.object(reports, "already_counts", lambda state, client, report: isinstance(report, reports.ChunkFailedReport))


def _snapshot_of_another_time() -> AbstractContextManager[Any]:
    original = PlanLoop._save_snapshot

    async def save(loop: PlanLoop, seq: int, payload: bytes) -> None:
        await original(loop, max(0, seq - 1), payload)

    return patch.object(PlanLoop, "_save_snapshot", save)


def _short_range_keeps_what_follows() -> AbstractContextManager[Any]:
    original = leases.trained

    def trained(turn: Turn, event: Any) -> None:
        with patch.object(leases, "close", lambda *args, **more: None):
            original(turn, event)

    return patch.object(core.leases, "trained", trained)


MUTATIONS = (
    Mutation("off-by-one chunk", "the chunk behind an open one begins a step early", _off_by_one_chunk, 0, "invariants"),
    Mutation("missing fence", "a report counts for whatever grant of the run is open", _missing_fence, 4, "acknowledged"),
    Mutation("ack before flush", "callers are answered before the journal is on disk", _ack_before_flush, 1, "acknowledged"),
    Mutation("double grant", "a grant is also sent to a second slot", _double_grant, 0, "leases"),
    Mutation("lost ref", "where a warm clone began is no root", _lost_ref, 4, "blobs"),
    Mutation("sweep without lease", "a client sweeps what a grant has pinned", _sweep_without_lease, 0, "blobs"),
    Mutation("stale resume", "a run goes on from its oldest checkpoint", _stale_resume, 4, "progress"),
    Mutation("clone sharing a mutable ref", "a clone writes into its parent's history", _clone_shares_a_list, 0, "invariants"),
    Mutation("timer reuse", "the timer of an undone deletion ends the next one", _timer_reuse, 71, "deletion"),
    Mutation("unfair tie", "the older experiment always goes first", _unfair_tie, 4, "fair share"),
    Mutation("request twice", "a request said twice takes effect twice", _request_counts_twice, 0, "replay"),
    Mutation("commit without a look", "the host does not look whether it has the bytes", _commit_without_a_look, 38, "blobs"),
    Mutation("eternal lease", "grants of a lost client stay open", _lost_client_keeps_its_leases, 0, "progress"),
    Mutation("forgotten report", "what is reported while disconnected is not sent again", _outbox_is_forgotten, 4, "progress"),
    Mutation("silent host", "grants are not said again after a reconnect", _nothing_is_said_again, 3, "progress"),
    Mutation("skew ignored", "a slot stays with its run for ever", _skew_is_ignored, 2, "max_skew"),
    Mutation("priority upside down", "the lowest priority goes first", _priority_is_upside_down, 0, "fair share"),
    Mutation("explain guesses", "a run whose checkpoint is out of reach is said to wait for its turn", _explain_guesses, 3, "explain"),
    Mutation("busy is nobody", "a job that waits for busy clients is said to wait for a client", _busy_is_nobody, 186, "explain"),
    Mutation("always next", "every run that waits is said to be next", _always_next, 0, "explain"),
    Mutation("behind a stranger", "a run is said to wait behind runs that there are not", _behind_a_stranger, 0, "explain"),
    Mutation("eternal pin", "the host never lets go of what it pinned for a commit", _nothing_is_let_go, 0, "blobs"),
    Mutation("robbed gang", "what is kept for a run of several slots is given to others", _nothing_is_kept_for_gangs, 6, "fair share"),
    Mutation("everything counts", "a failure is acknowledged and dropped", _everything_counts_already, 5, "acknowledged"),
    Mutation("late snapshot", "a snapshot is filed one entry too early", _snapshot_of_another_time, 0, "replay"),
    Mutation("short range", "the grant behind one that stopped short stays open", _short_range_keeps_what_follows, 15, "invariants"),
)


def hunt(mutation: Mutation, seeds: Sequence[int] = range(SEEDS_MAX)) -> Outcome | None:
    """The first of these seeds that catches the planted bug."""
    with ExitStack() as stack:
        stack.enter_context(mutation.plant())
        for seed in seeds:
            outcome = simulate(seed)
            if outcome.violation is not None:
                return outcome
    return None


def main() -> int:
    logging.disable(logging.CRITICAL)
    print("| planted bug | what it does | caught at seed | by the checker |\n|---|---|---|---|")
    found = []
    for mutation in MUTATIONS:
        found.append(_found(mutation))
        print(found[-1].row(), flush=True)
    if found != list(MUTATIONS):
        print("this is not what stands in mutations.py and docs/reliability.md: write it there", file=sys.stderr)
    return 0 if found == list(MUTATIONS) else 1


def _found(mutation: Mutation) -> Mutation:
    """As the search finds it."""
    caught = hunt(mutation)
    if caught is None or caught.violation is None:
        return replace(mutation, checker="MISSED")
    return replace(mutation, seed=caught.scenario.seed, checker=caught.violation.checker)


if __name__ == "__main__":
    sys.exit(main())
