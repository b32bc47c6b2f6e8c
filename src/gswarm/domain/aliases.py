"""Names that other trainers use for the same keys, and keys of theirs that mean nothing here.

Sources: ms-swift is its "Command-line parameters" page, axolotl its configuration reference, TRL and peft their ``SFTConfig``,
``ModelConfig`` and ``ScriptArguments``, LLaMA-Factory its ``hparams`` folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Alias:
    """``name`` means ``key``. With ``values``, only those are accepted and each becomes the value beside it."""

    name: str
    key: str
    source: str
    values: tuple[tuple[Any, Any], ...] = ()


_NEGATED = ((True, False), (False, True))

_ALL = (
    Alias("model", "model_name_or_path", "ms-swift"),
    Alias("base_model", "model_name_or_path", "axolotl"),
    Alias("dataset_name", "dataset", "TRL"),
    Alias("val_dataset", "eval_dataset", "ms-swift"),
    Alias("split_dataset_ratio", "val_size", "ms-swift"),
    Alias("val_set_size", "val_size", "axolotl"),
    Alias("train_type", "finetuning_type", "ms-swift 3"),
    Alias("tuner_type", "finetuning_type", "ms-swift 4"),
    Alias("adapter", "finetuning_type", "axolotl"),
    Alias("use_peft", "finetuning_type", "TRL", ((True, "lora"), (False, "full"))),
    Alias("quant_bits", "quantization_bit", "ms-swift"),
    Alias("load_in_4bit", "quantization_bit", "axolotl, TRL", ((True, 4), (False, None))),
    Alias("load_in_8bit", "quantization_bit", "axolotl, TRL", ((True, 8), (False, None))),
    Alias("lora_r", "lora_rank", "axolotl, TRL"),
    Alias("lora_target_modules", "lora_target", "axolotl, TRL"),
    Alias("target_modules", "lora_target", "ms-swift, peft"),
    Alias("lora_target_linear", "lora_target", "axolotl", ((True, "all"), (False, None))),
    Alias("peft_use_dora", "use_dora", "axolotl"),
    Alias("sequence_len", "cutoff_len", "axolotl"),
    Alias("max_length", "cutoff_len", "ms-swift, TRL"),
    Alias("max_seq_length", "cutoff_len", "TRL before 0.20"),
    Alias("train_on_inputs", "train_on_prompt", "axolotl"),
    Alias("completion_only_loss", "train_on_prompt", "TRL", _NEGATED),
    Alias("sample_packing", "packing", "axolotl"),
    Alias("micro_batch_size", "per_device_train_batch_size", "axolotl"),
    Alias("eval_batch_size", "per_device_eval_batch_size", "axolotl"),
    Alias("activation_checkpointing", "gradient_checkpointing", "transformers 5"),
    Alias("disable_gradient_checkpointing", "gradient_checkpointing", "LLaMA-Factory", _NEGATED),
    Alias("lr", "learning_rate", "torch"),
    Alias("lr_scheduler", "lr_scheduler_type", "axolotl"),
    Alias("optimizer", "optim", "axolotl"),
    Alias("num_epochs", "num_train_epochs", "axolotl"),
    Alias("torch_dtype", "bf16", "ms-swift, TRL", (("bfloat16", True), ("float32", False))),
)
ALIASES: dict[str, Alias] = {alias.name: alias for alias in _ALL}
VALUE_ALIASES: dict[str, dict[str, str]] = {
    "lora_target": {"all-linear": "all"},
    "optim": {"adamw_hf": "adamw_torch"},
}
"""Values of other trainers that mean a canonical one: peft's ``all-linear`` is LLaMA-Factory's ``all``."""

_OFF = (None, False, "false", "none", "")
IGNORED: dict[str, tuple[Any, ...] | None] = {
    # Where output goes, what is logged and when is saved: the host decides.
    "output_dir": None,
    "overwrite_output_dir": None,
    "run_name": None,
    "logging_dir": None,
    "logging_steps": None,
    "logging_strategy": None,
    "logging_first_step": None,
    "log_level": None,
    "disable_tqdm": None,
    "plot_loss": None,
    "save_steps": None,
    "save_strategy": None,
    "save_total_limit": None,
    "save_only_model": None,
    "save_safetensors": None,
    "load_best_model_at_end": None,
    "metric_for_best_model": None,
    "greater_is_better": None,
    "eval_strategy": None,
    "evaluation_strategy": None,
    "eval_steps": None,
    "eval_on_start": None,
    "do_eval": None,
    "print_param_status": None,
    "include_num_input_tokens_seen": None,
    "include_tokens_per_second": None,
    "include_effective_tokens_per_second": None,
    # How the data are prepared, not what comes out.
    "overwrite_cache": None,
    "cache_dir": None,
    "tokenized_path": None,
    "preprocessing_num_workers": None,
    "preprocessing_batch_size": None,
    "dataset_num_proc": None,
    "dataloader_num_workers": None,
    "dataloader_pin_memory": None,
    "dataloader_persistent_workers": None,
    "dataloader_prefetch_factor": None,
    "data_shared_file_system": None,
    "low_cpu_mem_usage": None,
    "use_reentrant_gc": None,
    "remove_unused_columns": None,
    # Of multi-GPU launches and of generation.
    "ddp_timeout": None,
    "ddp_backend": None,
    "ddp_find_unused_parameters": None,
    "local_rank": None,
    "max_new_tokens": None,
    "predict_with_generate": None,
    # These would change what is trained, so only the values that do not are passed over.
    "do_train": (None, True, "true"),
    "do_predict": _OFF,
    "trust_remote_code": _OFF,
    "resume_from_checkpoint": _OFF,
    "adapter_name_or_path": _OFF,
    "deepspeed": _OFF,
    "fsdp": _OFF,
    "fsdp_config": _OFF,
    "streaming": _OFF,
    "neat_packing": _OFF,
    "mask_history": _OFF,
    "use_rslora": _OFF,
    "use_unsloth": _OFF,
    "use_galore": _OFF,
    "use_badam": _OFF,
    "enable_liger_kernel": _OFF,
    "pure_bf16": _OFF,
    "group_by_length": _OFF,
    "push_to_hub": _OFF,
    "flash_attn": (None, "auto", "sdpa"),
}
"""Keys that say nothing about a run here: ``None`` with any value, else with one of these values; with another one they are refused."""

REFUSED_HINTS: dict[str, str] = {
    "trust_remote_code": "gswarm never runs code that comes with a model unless an admin has consented: host.trusted_code; remove it",
    "resume_from_checkpoint": "remove it: interrupted runs go on by themselves, and gswarm run clone --warm-start begins at a checkpoint",
    "adapter_name_or_path": "remove it: gswarm run clone --warm-start begins at another run's weights",
    "deepspeed": "remove it: a run trains on one slot",
    "fsdp": "remove it: a run trains on one slot",
    "fsdp_config": "remove it: a run trains on one slot",
    "do_train": "remove it: gswarm trains",
}
