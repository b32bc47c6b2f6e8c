"""From a ``RunSpec`` to TRL's own, unmodified ``SFTTrainer``, the same whether it is then paused or trained plainly.

LoRA runs share the tensors of their base: each has a module tree of its own around the same storage, so that hooks, modes and adapters of
one never touch another. Full fine-tuning writes to the base and gets tensors of its own.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from gswarm.domain.errors import CorruptDataError, GswarmError, InvalidInputError
from gswarm.domain.keys import OPTIMIZERS, SCHEDULERS
from gswarm.domain.spec import FinetuningType, RunSpec, Stage
from gswarm.training import process_state
from gswarm.training.base_files import check_base
from gswarm.training.bounds import processor_time
from gswarm.training.data import load_data
from gswarm.training.failures import is_machines_fault

ATTENTION = "sdpa"
BASES_LIMIT = 4
"""Shared bases that a process holds at once; the least recently used one goes first."""

META_TIME_MAX_S = 120.0
"""For the modules of a model without weights: seconds even for large ones, years for a configuration that lies."""

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
        trusted_code: Collection[str] = (),
    ) -> SFTTrainer:
        """The trainer, ready for ``train()``. Seeds the process's random state as plain TRL does.

        Args:
            trusted_code: digests of models' code that an admin has consented to.

        Raises:
            InvalidInputError: this version cannot train the spec, the model has no such LoRA targets, or it needs code that is not trusted.
            CorruptDataError: base or data cannot be read.
        """
        check_supported(spec)
        process_state.forget()
        train, held_out = load_data(data_dir)
        set_seed(spec.seed)
        model = self._model(spec, base_dir, base_digest, trusted_code)
        try:
            trainer = SFTTrainer(
                model=model,
                args=self._arguments(spec, total_steps, output_dir),
                train_dataset=train,
                eval_dataset=held_out,
                processing_class=self.tokenizer(base_dir, base_digest, trusted_code),
                peft_config=lora_config(spec),
                callbacks=list(callbacks),
            )
        except ValueError as error:
            raise InvalidInputError(f"the trainer cannot be built: {error}", "check lora_target and the other keys of the run") from error
        _check_targets(spec, trainer.model)
        trainer.remove_callback(PrinterCallback)
        return trainer

    def tokenizer(self, base_dir: Path, base_digest: str = "", trusted_code: Collection[str] = ()) -> Any:
        """The base's own. Raises InvalidInputError and CorruptDataError like ``check_base``."""
        key = base_digest or str(base_dir)
        if key not in self._tokenizers:
            self._tokenizers = {name: self._tokenizers[name] for name in list(self._tokenizers)[-(BASES_LIMIT - 1) :]}
            self._tokenizers[key] = _load_tokenizer(base_dir, check_base(base_dir, trusted_code))
        return self._tokenizers[key]

    def fresh_base(self, spec: RunSpec, base_dir: Path, trusted_code: Collection[str] = ()) -> Any:
        """The base model in the spec's type, with tensors that nobody shares.

        Raises:
            CorruptDataError: it cannot be loaded, or lacks weights.
            InvalidInputError: it needs code that is not trusted.
        """
        runs_code = check_base(base_dir, trusted_code)
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                base_dir,
                dtype=base_dtype(spec),
                attn_implementation=ATTENTION,
                use_safetensors=True,
                trust_remote_code=runs_code,
                output_loading_info=True,
            )
        except Exception as error:
            if is_machines_fault(error):
                raise
            raise CorruptDataError(f"the base model cannot be loaded: {error}", "check model_name_or_path") from error
        if found["missing_keys"]:
            # They would be drawn at random, differently on every machine.
            raise CorruptDataError(f"the base model lacks weights, first {min(found['missing_keys'])}", "check model_name_or_path")
        return model.to(self.device)

    def _model(self, spec: RunSpec, base_dir: Path, base_digest: str, trusted_code: Collection[str]) -> Any:
        if spec.finetuning_type is FinetuningType.FULL:
            return self.fresh_base(spec, base_dir, trusted_code)
        key = (base_digest or str(base_dir), base_dtype(spec), ATTENTION)
        base = self._bases.pop(key, None)
        if base is None:
            base = self.fresh_base(spec, base_dir, trusted_code)
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


def _load_tokenizer(base_dir: Path, runs_code: bool) -> Any:
    """Raises CorruptDataError; its parsers raise what they like, one of them no ``Exception``."""
    try:
        return AutoTokenizer.from_pretrained(base_dir, trust_remote_code=runs_code)
    except BaseException as error:
        if is_machines_fault(error) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CorruptDataError(f"the base model's tokenizer cannot be loaded: {reason}", "check model_name_or_path") from error


def meta_model(base_dir: Path, trusted_code: Collection[str] = ()) -> Any:
    """The model's modules without their weights. Raises InvalidInputError and CorruptDataError like ``check_base``."""
    runs_code = check_base(base_dir, trusted_code)
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(base_dir, trust_remote_code=runs_code)
        return AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, trust_remote_code=runs_code)


def check_buildable(spec: RunSpec, base_dir: Path, trusted_code: Collection[str] = ()) -> None:
    """Cheap: no weights are read.

    Raises:
        InvalidInputError: the model is of no known kind, has no such LoRA targets, or needs code that is not trusted.
        CorruptDataError: a file of the model lies about its content.
    """
    try:
        with processor_time(META_TIME_MAX_S, "building the model without weights"):
            model = meta_model(base_dir, trusted_code)
        config = lora_config(spec)
        if config is not None:
            model = get_peft_model(model, config)
    except (GswarmError, MemoryError):
        raise
    except Exception as error:  # a configuration that lies makes the libraries raise whatever Python can
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


def token_limits(base_dir: Path, trusted_code: Collection[str] = ()) -> tuple[int, int | None]:
    """How many tokens the model knows, and the longest row where its positions are learned (GPT-2); ``None`` where they are computed."""
    model = meta_model(base_dir, trusted_code)
    embeddings = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    known = int(model.get_input_embeddings().num_embeddings)
    return known, int(model.config.max_position_embeddings) if len(embeddings) > 1 else None


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
