"""A person at the pretended command line: random experiments and IC Ops, some said twice, each until it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from random import Random
from typing import TYPE_CHECKING

from gswarm.domain.errors import GswarmError, StorageError, UnavailableError
from gswarm.domain.ids import RequestId
from gswarm.domain.plan import JobKind, Run, RunOp, RunState
from gswarm.domain.spec import CheckpointPolicy, Chunks, Durability, ExperimentSpec, Resources, RunSpec
from gswarm.scheduler.core import Request
from gswarm.scheduler.events import (
    ClientDrainRequested,
    Event,
    ExperimentOpRequested,
    ExperimentSubmitted,
    JobRequested,
    RunCloneRequested,
    RunOpRequested,
)
from gswarm.scheduler.lifecycle import LIVE
from gswarm.simulator.process import Process
from gswarm.simulator.scenario import Happening, Kind

if TYPE_CHECKING:
    from gswarm.simulator.world import World

RUNS_MAX = 10
TRIES_MAX = 6
PATIENCE_S = 3.0
OPS = (RunOp.STOP, RunOp.STOP, RunOp.RESUME, RunOp.RESUME, RunOp.DELETE, RunOp.RESTORE, RunOp.RESTORE)
SPEC = RunSpec("tiny", "chat")


class Person:
    """Makes up requests from what is in the plan, and keeps asking while nobody answers."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self.asking = 0
        """Requests without an answer."""
        self._acts: dict[Kind, Callable[[Random, RequestId], Event | None]] = {
            Kind.SUBMIT: self._submit,
            Kind.OPERATE: self._operate,
            Kind.OPERATE_ALL: self._operate_all,
            Kind.CLONE: self._clone,
            Kind.ASK_JOB: self._ask_job,
            Kind.DRAIN: self._drain,
        }

    def act(self, happening: Happening) -> None:
        """Asks for something; one time in three twice."""
        random = happening.random()
        if happening.kind is Kind.SWEEP:
            core, host = self._world.host.core, self._world.host.machine.process
            if core is not None and host is not None:
                host.call_soon(core.keeper.request_sweep)
            return
        event = self._acts[happening.kind](random, RequestId(f"q{happening.salt}"))
        if event is not None:
            for _ in range(2 if random.randrange(3) == 0 else 1):
                self.ask(event)

    def ask(self, event: Event) -> None:
        self.asking += 1
        self._process.create_task(self._ask(event), name="ask").add_done_callback(self._asked)

    def _asked(self, _task: object) -> None:
        self.asking -= 1

    async def _ask(self, event: Event) -> None:
        """The same request id each time: it must not take effect twice."""
        world = self._world
        for _ in range(TRIES_MAX):
            try:
                await world.network.call(self._process, world.host.machine, lambda: world.host_core().loop.submit(event))
            except (UnavailableError, StorageError):
                await asyncio.sleep(PATIENCE_S)
                continue
            except GswarmError as error:
                world.trace.note(f"refused: {error.message}")
                return
            if isinstance(event, Request):
                world.checkers.answered(event.request)
            return

    # ---- what a person asks for ------------------------------------------------------------------------------------

    def _submit(self, random: Random, request: RequestId) -> Event | None:
        if len(self._world.plan.runs) >= RUNS_MAX:
            return None
        total = random.choice((2, 5, 7, 12))
        specs = tuple(
            replace(
                SPEC,
                max_steps=total if random.randrange(2) else random.choice((2, 4, 9)),
                per_device_train_batch_size=random.choice((1, 1, 3)),
            )
            for _ in range(random.randint(1, 4))
        )
        resources = Resources(
            gpus_per_run=2 if random.randrange(8) == 0 and max(one.slots for one in self._world.scenario.clients) > 1 else 1,
            priority=random.choice((5, 5, 5, 8)),
            weight=random.choice((1.0, 1.0, 3.0)),
            max_skew=random.choice((1, 1, 2, None)),
        )
        durability = random.choice((Durability.REPLICATED, Durability.REPLICATED, Durability.LOCAL))
        spec = ExperimentSpec(
            name=f"x{request}",
            base=SPEC,
            chunks=random.choice((Chunks(steps=3), Chunks(steps=2), Chunks(num_chunks=2), Chunks())),
            resources=resources,
            checkpoint=CheckpointPolicy(random.choice((1, 2)), durability=durability),
        )
        return ExperimentSubmitted(request, spec, specs, ((),) * len(specs))

    def _some_run(self, random: Random) -> Run | None:
        """More often one that is still alive."""
        runs = list(self._world.plan.runs.values())
        live = [run for run in runs if run.state in LIVE]
        return random.choice(live if live and random.randrange(3) else runs) if runs else None

    def _operate(self, random: Random, request: RequestId) -> Event | None:
        run = self._some_run(random)
        return RunOpRequested(request, run.id, random.choice(OPS)) if run is not None else None

    def _operate_all(self, random: Random, request: RequestId) -> Event | None:
        experiments = list(self._world.plan.experiments)
        return ExperimentOpRequested(request, random.choice(experiments), random.choice(OPS)) if experiments else None

    def _clone(self, random: Random, request: RequestId) -> Event | None:
        run = self._some_run(random)
        if run is None or len(self._world.plan.runs) >= RUNS_MAX:
            return None
        spec = replace(run.spec, learning_rate=random.random())
        return RunCloneRequested(request, run.id, spec, (), random.choice((None, "latest", "best")))

    def _ask_job(self, random: Random, request: RequestId) -> Event | None:
        """As the REST API does: which checkpoint is meant is settled now."""
        run = self._some_run(random)
        if run is None or run.latest is None:
            return None
        kind = random.choice((JobKind.VERIFY, JobKind.EXPORT))
        asked = {"step": run.latest.step, "checkpoint": asdict(run.latest), "format": "adapter"}
        return JobRequested(request, kind, run.id, json.dumps(asked))

    def _drain(self, random: Random, _request: RequestId) -> Event | None:
        name = random.choice(self._world.scenario.clients).name
        return ClientDrainRequested(name, random.randrange(3) == 0)

    # ---- when everything is healed ---------------------------------------------------------------------------------

    def put_right(self, turn: int) -> None:
        """Gives every client work again and resumes what was stopped or has failed."""
        plan = self._world.plan
        for client in plan.clients.values():
            if client.state.value == "draining":
                self.ask(ClientDrainRequested(client.name, False))
        for run in plan.runs.values():
            if run.state in {RunState.STOPPED, RunState.FAILED}:
                self.ask(RunOpRequested(RequestId(f"again-{turn}-{run.id}"), run.id, RunOp.RESUME))
