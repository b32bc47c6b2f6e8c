"""Experiments on the tiny model of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def experiment(assets: Path, name: str, **changes: Any) -> dict[str, Any]:
    """An experiment on the tiny model; ``changes`` go to the base, or to the section of that name."""
    document: dict[str, Any] = {
        "experiment": name,
        "base": {
            "model_name_or_path": str(assets / "model"),
            "dataset": str(assets / "chat.jsonl"),
            "stage": "sft",
            "finetuning_type": "lora",
            "lora_rank": 4,
            "lora_dropout": 0.1,
            "lora_target": "q_proj,v_proj",
            "val_size": 16,
            "cutoff_len": 64,
            "per_device_train_batch_size": 4,
            "learning_rate": 1.0e-3,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.1,
            "num_train_epochs": 2,
            "seed": 7,
        },
        "chunks": {"num_chunks": 3},
    }
    for key, value in changes.items():
        if key in ("search", "chunks", "resources", "checkpoint"):
            document[key] = value
        else:
            document["base"][key] = value
    return document


def write_experiment(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
