"""Why runs, slots and experiments are where they are, worked out the slow way from the plan's plain fields; ``scheduler.explain`` must
say the same."""

from __future__ import annotations

from collections.abc import Iterator

from gswarm.domain.ids import HOST_HOLDER, ClientName, ExperimentId, SlotId
from gswarm.domain.plan import Client, ClientState, Experiment, ExperimentState, GrantPhase, JobKind, Run, RunState, Slot
from gswarm.scheduler.explain import NAMED_MAX, Explanation, explain_experiment, explain_run, explain_slot
from gswarm.scheduler.index import expected_step_s, number_of
from gswarm.scheduler.state import Plan


def ready_slots(plan: Plan) -> list[Slot]:
    """Slots of ready clients."""
    return [slot for slot in plan.slots.values() if plan.clients[slot.client].state is ClientState.READY]


def waits_anywhere(plan: Plan, run: Run) -> bool:
    """It has no grant and waits for one, and what it goes on from can be had."""
    return run.state is RunState.QUEUED and not run.grants and not _is_out_of_reach(plan, run)


def waits_at_home(run: Run) -> bool:
    """All it was granted is trained and not committed: only the slot that has it in memory could go on."""
    return run.state is RunState.RUNNING and all(one.phase is GrantPhase.TRAINED for one in run.grants) and _has_more(run)


def may_train_on(plan: Plan, run: Run, slot_id: SlotId) -> bool:
    """It has not failed there, or on every slot that it could have instead."""
    able = [slot.spec.id for slot in ready_slots(plan) if len(plan.clients[slot.client].slots) >= needs(plan, run)]
    return slot_id not in run.avoid_slots or all(one in run.avoid_slots for one in able)


def needs(plan: Plan, run: Run) -> int:
    """How many slots at once."""
    return plan.experiments[run.experiment].spec.resources.gpus_per_run


def _has_more(run: Run) -> bool:
    return run.grants[-1].to_step < run.total_steps and len(run.grants) < 3 and run.home == run.grants[-1].slots[0]


def _is_out_of_reach(plan: Plan, run: Run) -> bool:
    checkpoint = run.checkpoints[-1] if run.checkpoints else run.start
    if checkpoint is None or HOST_HOLDER in checkpoint.holders:
        return False
    holders: list[Client | None] = [plan.clients.get(ClientName(name)) for name in checkpoint.holders]
    return all(client is None or client.state is ClientState.LOST for client in holders)


def kept_for_gangs(plan: Plan) -> dict[ClientName, ExperimentId]:
    """Which client is kept for which experiment's runs of several slots: those whose turn it is first choose first, each the client with
    most free slots."""
    kept: dict[ClientName, ExperimentId] = {}
    for experiment in sorted(plan.experiments.values(), key=_turn_of):
        size = experiment.spec.resources.gpus_per_run
        waiting = [run for run in plan.runs.values() if run.experiment == experiment.id and waits_anywhere(plan, run)]
        if size == 1 or not waiting:
            continue
        able = [
            client
            for client in plan.clients.values()
            if client.state is ClientState.READY and client.name not in kept and len(client.slots) >= size
            if any(may_train_on(plan, run, slot_id) for run in waiting for slot_id in client.slots)
        ]
        if able:
            kept[max(able, key=lambda client: sum(not plan.slots[one].queue for one in client.slots)).name] = experiment.id
    return kept


def check_reasons(plan: Plan, now_s: float) -> Iterator[str]:
    """What ``explain`` gets wrong."""
    for run in plan.runs.values():
        reason, expected = explain_run(plan, run.id, now_s), _reason_of(plan, run)
        if reason.code != expected:
            yield f"run {run.id} is explained by {reason.code!r} instead of {expected}"
        elif reason.code == "next" and (free := sum(not slot.queue for slot in ready_slots(plan))) != _said_to_be_free(reason):
            yield f"{free} slots are free, but run {run.id} is explained by {reason.text!r}"
        elif reason.code == "turn" and _named(reason) != (before := _before(plan, run)):
            yield f"run {run.id} waits behind {before}, but is explained by {reason.text!r}"
    kept = kept_for_gangs(plan)
    for slot in plan.slots.values():
        reason, expected = explain_slot(plan, slot.spec.id, now_s), _reason_of_slot(plan, slot, kept)
        if reason.code != expected:
            yield f"slot {slot.spec.id} is explained by {reason.code!r} instead of {expected}"
        elif reason.code == "kept_for_gang" and reason.details != (("experiment", kept[slot.client]),):
            yield f"slot {slot.spec.id} is kept for {kept[slot.client]}, but is explained by {reason.text!r}"
    for experiment in plan.experiments.values():
        reason = explain_experiment(plan, experiment.id, now_s)
        wanted = _reason_of_experiment(plan, experiment)
        if (reason.code, dict(reason.details).get("client")) != wanted:
            yield f"experiment {experiment.id} is explained by {reason.text!r} instead of {wanted}"


def _turn_of(experiment: Experiment) -> tuple[int, float, int]:
    return -experiment.spec.resources.priority, experiment.service_s, number_of(experiment.id)


def _before(plan: Plan, run: Run) -> list[str]:
    """Whose turn comes before the waiting run's: as a sentence names them, then how many there are."""

    def turn(one: Run) -> tuple[object, ...]:
        if one.experiment != run.experiment:
            return (*_turn_of(plan.experiments[one.experiment]), 0, 0.0, 0)
        has_begun = one.position > one.first_step or bool(one.checkpoints)
        left_s = (one.total_steps - one.position) * expected_step_s(one)
        return (*_turn_of(plan.experiments[one.experiment]), int(has_begun), -left_s, number_of(one.id))

    # The sort is stable: those of another experiment stay in the order of their creation.
    before = sorted((one for one in plan.runs.values() if waits_anywhere(plan, one) and turn(one) < turn(run)), key=turn)
    more = [f"{len(before) - NAMED_MAX} more"] if len(before) > NAMED_MAX else []
    return [*(str(one.id) for one in before[:NAMED_MAX]), *more, str(len(before))] if before else []


def _said_to_be_free(reason: Explanation) -> int:
    number = reason.text.partition(" is next; ")[2].split()[0]
    return 0 if number == "all" else int(number)


def _named(reason: Explanation) -> list[str]:
    """What the sentence names, then the number beside it."""
    named = reason.text.partition(", behind ")[2].replace(" and ", ", ").split(", ")
    return [*named, dict(reason.details)["ahead"]]


def _reason_of(plan: Plan, run: Run) -> str:
    if run.state is RunState.RUNNING:
        untrained = [one for one in run.grants if one.phase is not GrantPhase.TRAINED]
        if not untrained:
            return "committing"
        first = plan.slots[untrained[0].slots[0]].queue[0]
        return "training" if first == (run.id, untrained[0].generation) else "ahead"
    if run.state is not RunState.QUEUED:
        return run.state.value
    if run.grants:
        return "resumes"
    ready = ready_slots(plan)
    if not ready:
        return "no_client"
    if _is_out_of_reach(plan, run):
        return "out_of_reach"
    if needs(plan, run) > 1:
        largest = max(sum(slot.client == name for slot in ready) for name in plan.clients)
        return "gang" if largest >= needs(plan, run) else "no_client_for_gang"
    free = [slot for slot in ready if not slot.queue]
    if free and run.attempts and not any(may_train_on(plan, run, slot.spec.id) for slot in free):
        return "avoids"
    return "turn" if _before(plan, run) else "next"


def _reason_of_experiment(plan: Plan, experiment: Experiment) -> tuple[str, str | None]:
    """The code, and the client that has its job."""
    if experiment.state is not ExperimentState.PREPARING:
        return experiment.state.value, None
    (job,) = (job for job in plan.jobs.values() if job.kind is JobKind.PREPARE and job.experiment == experiment.id)
    if job.client is not None:
        return "preparing", job.client
    return "clients_busy" if any(client.state is ClientState.READY for client in plan.clients.values()) else "no_client", None


def _reason_of_slot(plan: Plan, slot: Slot, kept: dict[ClientName, ExperimentId]) -> str:
    client = plan.clients[slot.client]
    if slot.queue:
        return "training"
    if client.state is not ClientState.READY:
        return f"client_{client.state}"
    if client.name in kept:
        return "kept_for_gang"
    waiting = [run for run in plan.runs.values() if waits_anywhere(plan, run)]
    if any(needs(plan, run) == 1 and may_train_on(plan, run, slot.spec.id) for run in waiting):
        return "work for it"
    if waiting or any(waits_at_home(run) for run in plan.runs.values()):
        return "none_fits"
    return "nothing_waits"
