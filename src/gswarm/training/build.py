"""From a ``RunSpec`` to TRL's own, unmodified ``SFTTrainer``, the same whether it is then paused or trained plainly.

LoRA runs share the tensors of their base: each has a module tree of its own around the same storage, so that hooks, modes and adapters of
one never touch another. Full fine-tuning writes to the base and gets tensors of its own.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.domain.keys import OPTIMIZERS, SCHEDULERS
from gswarm.domain.spec import FinetuningType, RunSpec, Stage
from gswarm.training import process_state
from gswarm.training.data import load_data

ATTENTION = "sdpa"
BASES_LIMIT = 4
"""Shared bases that a process holds at once; the least recently used one goes first."""

BaseKey = tuple[str, torch.dtype, str]
"""(digest or path, type, attention kernel): what must be equal for two runs to share a base's tensors."""


def best_device() -> str:
    """``cuda:0`` where a GPU is visible, else ``cpu``."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def make_deterministic() -> None:
    """Kernels whose results do not depend on timing. CUDA's must be asked for before its first use."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory is for finding bugs; it costs a pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False


def check_supported(spec: RunSpec) -> None:
    """Raises InvalidInputError when this version cannot train the configuration."""
    problems = (
        (spec.stage is not Stage.SFT, f"stage {spec.stage} is not supported yet", "use stage: sft"),
        (spec.finetuning_type is FinetuningType.FREEZE, "finetuning_type freeze is not supported yet", "use lora or full"),
        (spec.quantization_bit is not None, "quantization_bit is not supported yet", "leave it out"),
        (spec.packing, "packing is not supported yet", "leave packing out"),
        (spec.bf16 and spec.fp16, "bf16 and fp16 are both set", "keep one of them"),
        (spec.fp16 and not torch.cuda.is_available(), "fp16 needs a CUDA GPU", "use bf16, or neither"),
        (spec.lr_scheduler_type not in SCHEDULERS, f"lr_scheduler_type {spec.lr_scheduler_type!r} is not supported", _one_of(SCHEDULERS)),
        (spec.optim not in OPTIMIZERS, f"optim {spec.optim!r} is not supported", _one_of(OPTIMIZERS)),
        (spec.template != "auto", f"the template {spec.template!r} is not known", "use template: auto (the tokenizer's own)"),
    )
    for is_wrong, message, hint in problems:
        if is_wrong:
            raise InvalidInputError(message, hint)


def _one_of(names: tuple[str, ...]) -> str:
    return f"use one of {', '.join(names)}"


@dataclass(slots=True)
class Workshop:
    """Builds trainers on one device and keeps the bases that they share. Not safe to use from two threads at once.

    Args:
        device: ``cpu``, or ``cuda:0`` (a process sees one GPU).
    """

    device: str
    _bases: dict[BaseKey, Any] = field(default_factory=dict)
    _tokenizers: dict[str, Any] = field(default_factory=dict)

    def build(
        self,
        spec: RunSpec,
        *,
        base_dir: Path,
        data_dir: Path,
        total_steps: int,
        output_dir: Path,
        base_digest: str = "",
        callbacks: Sequence[TrainerCallback] = (),
    ) -> SFTTrainer:
        """The trainer, ready for ``train()``. Seeds the process's random state as plain TRL does.

        Raises:
            InvalidInputError: this version cannot train the spec, or the model has no such LoRA targets.
            CorruptDataError: base or data cannot be read.
        """
        check_supported(spec)
        process_state.forget()
        train, held_out = load_data(data_dir)
        set_seed(spec.seed)
        model = self._model(spec, base_dir, base_digest)
        try:
            trainer = SFTTrainer(
                model=model,
                args=self._arguments(spec, total_steps, output_dir),
                train_dataset=train,
                eval_dataset=held_out,
                processing_class=self.tokenizer(base_dir, base_digest),
                peft_config=lora_config(spec),
                callbacks=list(callbacks),
            )
        except ValueError as error:
            raise InvalidInputError(f"the trainer cannot be built: {error}", "check lora_target and the other keys of the run") from error
        _check_targets(spec, trainer.model)
        trainer.remove_callback(PrinterCallback)
        return trainer

    def tokenizer(self, base_dir: Path, base_digest: str = "") -> Any:
        key = base_digest or str(base_dir)
        if key not in self._tokenizers:
            self._tokenizers = {name: self._tokenizers[name] for name in list(self._tokenizers)[-(BASES_LIMIT - 1) :]}
            self._tokenizers[key] = AutoTokenizer.from_pretrained(base_dir)
        return self._tokenizers[key]

    def fresh_base(self, spec: RunSpec, base_dir: Path) -> Any:
        """The base model in the spec's type, with tensors that nobody shares.

        Raises:
            CorruptDataError: it cannot be loaded.
        """
        try:
            model = AutoModelForCausalLM.from_pretrained(
                base_dir, dtype=base_dtype(spec), attn_implementation=ATTENTION, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CorruptDataError(f"the base model cannot be loaded: {error}", "check model_name_or_path") from error
        return model.to(self.device)

    def _model(self, spec: RunSpec, base_dir: Path, base_digest: str) -> Any:
        if spec.finetuning_type is FinetuningType.FULL:
            return self.fresh_base(spec, base_dir)
        key = (base_digest or str(base_dir), base_dtype(spec), ATTENTION)
        base = self._bases.pop(key, None)
        if base is None:
            base = self.fresh_base(spec, base_dir)
            while len(self._bases) >= BASES_LIMIT:
                self._bases.pop(next(iter(self._bases)))
        self._bases[key] = base
        shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
        return copy.deepcopy(base, shared)

    def _arguments(self, spec: RunSpec, total_steps: int, output_dir: Path) -> SFTConfig:
        return SFTConfig(
            output_dir=str(output_dir),
            max_steps=total_steps,
            num_train_epochs=spec.num_train_epochs,
            per_device_train_batch_size=spec.per_device_train_batch_size,
            per_device_eval_batch_size=spec.per_device_eval_batch_size,
            gradient_accumulation_steps=spec.gradient_accumulation_steps,
            gradient_checkpointing=spec.gradient_checkpointing,
            learning_rate=spec.learning_rate,
            lr_scheduler_type=spec.lr_scheduler_type,
            warmup_steps=warmup_steps(spec, total_steps),
            weight_decay=spec.weight_decay,
            max_grad_norm=spec.max_grad_norm,
            optim=spec.optim,
            adam_beta1=spec.adam_beta1,
            adam_beta2=spec.adam_beta2,
            adam_epsilon=spec.adam_epsilon,
            neftune_noise_alpha=spec.neftune_noise_alpha,
            bf16=spec.bf16,
            fp16=spec.fp16,
            seed=spec.seed,
            data_seed=spec.data_seed,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            use_cpu=self.device == "cpu",
            dataloader_pin_memory=self.device != "cpu",
            logging_strategy="steps",
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


def base_dtype(spec: RunSpec) -> torch.dtype:
    """Under LoRA the frozen base is stored as it is computed with.

    Full fine-tuning trains float32 weights under autocast, as LLaMA-Factory does: bfloat16 weights would lose small updates.
    """
    if spec.finetuning_type is FinetuningType.FULL:
        return torch.float32
    return torch.bfloat16 if spec.bf16 else torch.float16 if spec.fp16 else torch.float32


def meta_model(base_dir: Path) -> Any:
    """The model's modules without their weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_dir))


def check_buildable(spec: RunSpec, base_dir: Path) -> None:
    """Cheap: no weights are read.

    Raises:
        InvalidInputError: the model is of no known kind, or has no such LoRA targets.
    """
    try:
        model = meta_model(base_dir)
        config = lora_config(spec)
        if config is not None:
            model = get_peft_model(model, config)
    except (ValueError, KeyError) as error:
        raise InvalidInputError(f"a trainer for {spec.model_name_or_path} cannot be built: {error}", "check lora_target") from error
    _check_targets(spec, model)


def _check_targets(spec: RunSpec, model: Any) -> None:
    """peft passes over names that match nothing as long as one of them matches something."""
    if spec.finetuning_type is FinetuningType.FULL:
        return
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise InvalidInputError("lora_target names the output layer, whose adapter would never be trained", "leave lm_head out")
    adapted = [f".{name}" for name in model.targeted_module_names]
    idle = [target for target in spec.lora_target if target != "all" and not any(name.endswith(f".{target}") for name in adapted)]
    if idle:
        kinds = ", ".join(sorted({name.rpartition(".")[2] for name in adapted}))
        raise InvalidInputError(f"lora_target {', '.join(idle)} names no module that gets an adapter", f"those that do are {kinds}")


def tokens_max(base_dir: Path) -> int | None:
    """The longest row that the model can read, where its positions are learned (GPT-2); ``None`` where they are computed."""
    model = meta_model(base_dir)
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    return int(model.config.max_position_embeddings) if len(embeddings) > 1 else None


def warmup_steps(spec: RunSpec, total_steps: int) -> int:
    """Steps of warm-up. ``warmup_steps`` goes before ``warmup_ratio``, as in transformers."""
    return spec.warmup_steps if spec.warmup_steps > 0 else math.ceil(spec.warmup_ratio * total_steps)


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """The weights that training changes, by parameter name. Tied weights appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def lora_config(spec: RunSpec) -> LoraConfig | None:
    """The adapter's configuration; ``None`` for full fine-tuning."""
    if spec.finetuning_type is FinetuningType.FULL:
        return None
    return LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.effective_lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules="all-linear" if "all" in spec.lora_target else list(spec.lora_target),
        use_dora=spec.use_dora,
        task_type="CAUSAL_LM",
    )
