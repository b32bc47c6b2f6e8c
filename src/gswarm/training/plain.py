"""The reference that interleaved training is compared with: one unmodified TRL trainer, never paused."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from gswarm.domain.errors import CorruptDataError
from gswarm.domain.spec import RunSpec
from gswarm.training import codec
from gswarm.training.build import Workshop, trainable
from gswarm.training.warm_start import warm_checkpoint


class StopAt(TrainerCallback):
    """Ends ``train()`` after ``step`` without changing the schedule, which ``max_steps`` would do."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= self._step:
            control.should_training_stop = True


def train_plain(
    workshop: Workshop,
    spec: RunSpec,
    *,
    base_dir: Path,
    data_dir: Path,
    total_steps: int,
    steps_per_epoch: int,
    until_step: int | None = None,
    checkpoint_dir: Path | None = None,
    warm_start: bool = False,
    first_step: int = 0,
    trusted_code: Collection[str] = (),
) -> dict[str, torch.Tensor]:
    """Trains without interruption from ``first_step`` to ``until_step`` (or the end).

    Args:
        checkpoint_dir: a warm clone's start, or this run's own checkpoint at ``first_step``.

    Returns:
        The trained weights by parameter name, on the CPU.

    Raises:
        InvalidInputError, CorruptDataError: the spec cannot be trained, or base, data or checkpoint are not what they must be.
    """
    end = total_steps if until_step is None else until_step
    callbacks = [StopAt(end)] if end < total_steps else []
    with tempfile.TemporaryDirectory(prefix="gswarm-plain-") as scratch:
        trainer = workshop.build(
            spec,
            base_dir=base_dir,
            data_dir=data_dir,
            total_steps=total_steps,
            output_dir=Path(scratch),
            callbacks=callbacks,
            trusted_code=trusted_code,
        )
        resume = None
        if checkpoint_dir is not None:
            resume = Path(scratch) / "resume"
            checkpoint = codec.read(checkpoint_dir)
            if warm_start:
                checkpoint = warm_checkpoint(checkpoint, trainer, first_step=first_step, steps_per_epoch=steps_per_epoch)
            codec.write_hf_folder(checkpoint, trainer, resume)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if trainer.state.global_step != end:
            raise CorruptDataError(f"plain training ended at step {trainer.state.global_step}, not {end}")
        return {name: weight.detach().to("cpu", copy=True) for name, weight in trainable(trainer.model).items()}
