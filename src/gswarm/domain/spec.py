"""The experiment file as types. Parsing and validation are in ``gswarm.domain.parse``; keys are LLaMA-Factory's.

A ``RunSpec`` is the full configuration of one run: equal specs, equal data and equal base give equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    PT = "pt"
    SFT = "sft"
    DPO = "dpo"
    KTO = "kto"
    RM = "rm"
    GRPO = "grpo"


class FinetuningType(StrEnum):
    LORA = "lora"
    FULL = "full"
    FREEZE = "freeze"


class SearchMethod(StrEnum):
    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"
    CMAES = "cmaes"


class Goal(StrEnum):
    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Durability(StrEnum):
    """How many places a checkpoint must be in before it counts."""

    LOCAL = "local"
    REPLICATED = "replicated"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One configuration. Defaults are LLaMA-Factory's where it has one, else transformers'."""

    model_name_or_path: str
    dataset: str
    stage: Stage = Stage.SFT
    finetuning_type: FinetuningType = FinetuningType.LORA
    quantization_bit: int | None = None
    lora_rank: int = 8
    lora_alpha: int | None = None
    """``None`` means twice the rank, as in LLaMA-Factory."""
    lora_dropout: float = 0.0
    lora_target: tuple[str, ...] = ("all",)
    use_dora: bool = False
    eval_dataset: str | None = None
    val_size: float = 0.0
    """A share of the rows below 1, a number of rows from 1 on."""
    max_samples: int | None = None
    template: str = "auto"
    cutoff_len: int = 2048
    train_on_prompt: bool = False
    packing: bool = False
    per_device_train_batch_size: int = 1
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    learning_rate: float = 5.0e-5
    lr_scheduler_type: str = "linear"
    warmup_ratio: float = 0.0
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optim: str = "adamw_torch"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1.0e-8
    neftune_noise_alpha: float | None = None
    num_train_epochs: float = 3.0
    max_steps: int | None = None
    bf16: bool = False
    fp16: bool = False
    seed: int = 42
    data_seed: int | None = None

    @property
    def effective_lora_alpha(self) -> int:
        return self.lora_alpha if self.lora_alpha is not None else 2 * self.lora_rank

    @property
    def samples_per_step(self) -> int:
        """Rows that one optimizer step consumes on one device."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True, slots=True)
class Metric:
    name: str = "eval_loss"
    goal: Goal = Goal.MINIMIZE


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter's values, each as likely as the others."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A continuous or integer range: ``uniform``, ``log_uniform_values``, ``int_uniform`` (wandb sweep names)."""

    distribution: str
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class EarlyStop:
    method: str = "none"
    min_chunks: int = 1
    reduction_factor: int = 3


@dataclass(frozen=True, slots=True)
class Search:
    method: SearchMethod = SearchMethod.GRID
    run_cap: int | None = None
    metric: Metric = Metric()
    parameters: tuple[tuple[str, Choice | Distribution], ...] = ()
    """In file order."""
    together: tuple[tuple[tuple[str, Any], ...], ...] = ()
    """The ``_`` key: each entry is a set of values that go together."""
    early_stop: EarlyStop = EarlyStop()
    seed: int = 42


@dataclass(frozen=True, slots=True)
class Chunks:
    """Exactly one is set; both ``None`` means auto."""

    num_chunks: int | None = None
    """Chunks per epoch."""
    steps: int | None = None
    """Steps per chunk (cut at the epoch's end)."""


@dataclass(frozen=True, slots=True)
class Resources:
    gpus_per_run: int = 1
    priority: int = 5
    """0..10, higher first."""
    weight: float = 1.0
    """Fair share between experiments of equal priority."""
    max_skew: int | None = None
    """In chunks; ``None`` means auto."""


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    save_total_limit: int = 2
    keep: tuple[str, ...] = ("best", "last")
    durability: Durability = Durability.REPLICATED


@dataclass(frozen=True, slots=True)
class Export:
    when: str = "never"
    format: str = "adapter"


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """One submitted YAML in canonical form. ``base`` is the run's configuration before the search's values are set."""

    name: str
    base: RunSpec
    search: Search = Search()
    chunks: Chunks = Chunks()
    resources: Resources = Resources()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    report_to: tuple[str, ...] = ()
    export: Export = Export()
    labels: tuple[tuple[str, str], ...] = field(default=())
