"""A warm clone's start: the parent's weights under the clone's own configuration.

- Weights of the same name, type and shape are the parent's; so are their optimizer moments.
- A weight of another shape (another LoRA rank, other targets) cannot be taken over: it keeps its fresh initialisation, with zero moments.
- Learning rate, weight decay, betas and the schedule are the clone's own, at its own step; the random state is the parent's.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import torch
from transformers import TrainerState

from gswarm.domain.errors import InvalidInputError
from gswarm.training.build import trainable
from gswarm.training.codec import Checkpoint, RunningMetrics


def warm_checkpoint(parent: Checkpoint, trainer: Any, *, first_step: int, steps_per_epoch: int) -> Checkpoint:
    """The checkpoint at ``first_step`` from which ``trainer``, freshly built from the clone's spec, continues.

    Raises:
        InvalidInputError: no weight of the parent fits, so the start would not be warm at all.
    """
    own = trainable(trainer.model)
    fitting = {name for name, weight in own.items() if _fits(parent.weights.get(name), weight)}
    if not fitting:
        raise InvalidInputError(
            "none of the parent's trained weights has the shape that this run needs",
            "keep lora_rank, lora_target and finetuning_type of the parent, or start the clone cold",
        )
    groups, scheduler = _own_schedule(trainer, own, first_step)
    state = TrainerState(global_step=first_step, epoch=first_step / steps_per_epoch, train_batch_size=trainer.args.train_batch_size)
    state.compute_steps(trainer.args, trainer.args.max_steps)
    return Checkpoint(
        step=first_step,
        weights={name: parent.weights[name] if name in fitting else weight.detach().to("cpu", copy=True) for name, weight in own.items()},
        optimizer={key: moment for key, moment in parent.optimizer.items() if key.partition("/")[2] in fitting},
        rng=parent.rng,
        groups=groups,
        scheduler=scheduler,
        scaler=parent.scaler if trainer.accelerator.scaler is not None else None,
        trainer_state=asdict(state),
        metrics=RunningMetrics(),
    )


def _fits(theirs: torch.Tensor | None, own: torch.Tensor) -> bool:
    return theirs is not None and theirs.shape == own.shape and theirs.dtype == own.dtype


def _own_schedule(trainer: Any, own: dict[str, torch.Tensor], first_step: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The optimizer's groups and the schedule's state as the clone's configuration has them after ``first_step`` steps.

    A throw-away optimizer and schedule are stepped there, which needs no knowledge of the schedule's formula.
    """
    names = {id(weight): name for name, weight in own.items()}
    optimizer = trainer.create_optimizer()
    scheduler = trainer.create_scheduler(num_training_steps=trainer.args.max_steps, optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch expects an optimizer step before each of the schedule's
        for _ in range(first_step):
            scheduler.step()
    groups = [{**group, "params": [names[id(weight)] for weight in group["params"]]} for group in optimizer.param_groups]
    trainer.optimizer = trainer.lr_scheduler = None
    return groups, scheduler.state_dict()
