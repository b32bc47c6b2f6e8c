"""Runs that take turns at every step end with the same bits as each trained alone by plain TRL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Case, InProcess

from gswarm.training.protocol import RangeTrained, StepDone

pytestmark = pytest.mark.train

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "lora, dropout, accumulation 3, cosine with warm-up": (
        "llama",
        {"lora_dropout": 0.1, "gradient_accumulation_steps": 3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.15},
    ),
    "lora of another rank and other targets, linear": (
        "llama",
        {"lora_rank": 4, "lora_target": ("q_proj", "v_proj"), "lora_dropout": 0.2, "gradient_accumulation_steps": 3, "seed": 7},
    ),
    "full, weight decay, clipping": (
        "llama",
        {"finetuning_type": "full", "weight_decay": 0.1, "max_grad_norm": 0.05, "gradient_accumulation_steps": 3, "warmup_steps": 2},
    ),
    "qwen2, lora, bf16, weight decay": (
        "qwen2",
        {"bf16": True, "lora_dropout": 0.1, "weight_decay": 0.05, "gradient_accumulation_steps": 2, "num_train_epochs": 1.0},
    ),
    "gpt2, full with its own dropout, accumulation 3": ("gpt2", {"finetuning_type": "full", "gradient_accumulation_steps": 3}),
    "gpt2, lora, neftune": ("gpt2", {"neftune_noise_alpha": 5.0, "gradient_accumulation_steps": 4, "lora_dropout": 0.1}),
    "dora, gradient checkpointing": (
        "llama",
        {"use_dora": True, "lora_dropout": 0.1, "gradient_checkpointing": True, "gradient_accumulation_steps": 4, "num_train_epochs": 1.0},
    ),
}


@pytest.fixture(scope="module")
def cases(new_case: Callable[..., Case]) -> dict[str, Case]:
    from gswarm.domain.spec import FinetuningType

    made = {}
    for name, (family, keys) in CASES.items():
        if "finetuning_type" in keys:
            keys = keys | {"finetuning_type": FinetuningType(str(keys["finetuning_type"]))}
        made[name] = new_case(family, **keys)
    return made


@pytest.fixture(scope="module")
def plain(cases: dict[str, Case]) -> dict[str, str]:
    """The digest of the weights that plain TRL ends with."""
    from gswarm.training.build import Workshop, make_deterministic
    from gswarm.training.digest import weights_digest
    from gswarm.training.plain import train_plain

    make_deterministic()
    digests = {}
    for name, case in cases.items():
        weights = train_plain(
            Workshop("cpu"),
            case.spec,
            base_dir=case.base_dir,
            data_dir=case.data_dir,
            total_steps=case.total_steps,
            steps_per_epoch=case.steps_per_epoch,
        )
        digests[name] = weights_digest(weights)
    return digests


@pytest.fixture(scope="module")
def interleaved(
    cases: dict[str, Case], plain: dict[str, str], here: InProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RangeTrained]:
    """The last report of each run, all trained by one process in turns of a single step, with an evaluation after each."""
    last: dict[str, RangeTrained] = {}
    longest = max(case.total_steps for case in cases.values())
    for step in range(longest):
        turns = [(name, case) for name, case in cases.items() if step < case.total_steps]
        for name, case in turns:
            here.send(case.range(name, step, step, step + 1, tmp_path_factory.mktemp("snapshot")))
        for name, _ in turns:
            last[name] = here.trained(name, step)
    return last


@pytest.mark.parametrize("name", CASES)
def test_interleaved_at_every_step_is_plain_training(
    name: str, cases: dict[str, Case], plain: dict[str, str], interleaved: dict[str, RangeTrained]
) -> None:
    assert interleaved[name].reached_step == cases[name].total_steps
    assert interleaved[name].weights_digest == plain[name]


def test_every_step_is_reported_once_with_its_values(cases: dict[str, Case], interleaved: dict[str, RangeTrained], here: InProcess) -> None:
    for name, case in cases.items():
        steps = [event for event in here.seen if isinstance(event, StepDone) and event.run == name]
        assert [event.step for event in steps] == list(range(1, case.total_steps + 1))
        for event in steps:
            values = dict(event.values)
            assert {"loss", "learning_rate", "grad_norm", "step_time_s", "data_wait_s", "tokens"} <= values.keys()
            assert 0 <= values["data_wait_s"] <= values["step_time_s"]
            assert 0 < values["loss"] < 20
            assert values["step_time_s"] > 0


def test_range_reports_carry_evaluation_and_training_metrics(interleaved: dict[str, RangeTrained]) -> None:
    for report in interleaved.values():
        metrics = dict(report.metrics)
        assert metrics["eval_loss"] > 0
        assert metrics["train_loss"] > 0
        assert {path.name for path in Path(report.snapshot_dir).iterdir()} == {
            "weights.safetensors",
            "optimizer.safetensors",
            "rng.safetensors",
            "state.json",
        }


def test_plain_training_is_what_a_person_writes_with_trl(cases: dict[str, Case], plain: dict[str, str], tmp_path: Path) -> None:
    """The reference itself, without any code of gswarm: TRL, peft and the rows."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    from gswarm.training.digest import weights_digest

    name = "lora, dropout, accumulation 3, cosine with warm-up"
    case = cases[name]
    set_seed(42)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(case.base_dir),
        processing_class=AutoTokenizer.from_pretrained(case.base_dir),
        train_dataset=Dataset.from_file(str(case.data_dir / "train.arrow")),
        peft_config=LoraConfig(r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=3,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.15,
            optim="adamw_torch",
            seed=42,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
        ),
    )
    trainer.train()
    weights = {key: value for key, value in trainer.model.named_parameters() if value.requires_grad}
    assert weights_digest(weights) == plain[name]
