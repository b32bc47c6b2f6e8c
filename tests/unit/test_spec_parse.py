"""The experiment file: canonical form, aliases, strictness, and what this version refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gswarm.domain import keys
from gswarm.domain.aliases import ALIASES, IGNORED
from gswarm.domain.errors import InvalidInputError
from gswarm.domain.parse import experiment_to_dict, parse_experiment, parse_experiment_verbose, run_spec_to_dict, run_spec_with
from gswarm.domain.reference import render
from gswarm.domain.spec import (
    CheckpointPolicy,
    Choice,
    Chunks,
    Distribution,
    Durability,
    ExperimentSpec,
    Export,
    FinetuningType,
    Goal,
    Metric,
    Resources,
    RunSpec,
    Search,
    SearchMethod,
)

ROOT = Path(__file__).parents[2]
BASE = {"model_name_or_path": "m", "dataset": "d"}
SPEC = RunSpec("m", "d")


def experiment(base: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    return {"experiment": "e", "base": {**BASE, **(base or {})}, **sections}


def problems_of(data: object) -> str:
    with pytest.raises(InvalidInputError) as caught:
        parse_experiment(data)
    return str(caught.value)


def base_problem(**base: Any) -> str:
    return problems_of(experiment(base))


def test_a_full_file_becomes_types() -> None:
    spec = parse_experiment(
        experiment(
            {"learning_rate": "1e-4", "lora_target": "q_proj, v_proj", "val_size": 0.1, "bf16": True},
            search={
                "method": "random",
                "run_cap": 12,
                "metric": {"name": "eval_loss", "goal": "minimize"},
                "parameters": {
                    "learning_rate": {"distribution": "log_uniform_values", "min": "1e-5", "max": 1e-3},
                    "lora_dropout": {"values": [0, 0.1, "0.1"]},
                    "_": [{"lora_rank": 8, "lora_alpha": 16}, {"lora_rank": 32}],
                },
            },
            chunks={"num_chunks": 8},
            resources={"priority": 7, "max_skew": "auto", "weight": 2},
            checkpoint={"save_total_limit": 3, "keep": ["last"], "durability": "local"},
            report_to="none",
            export={"when": "never", "format": "merged"},
            labels={"team": "support"},
        )
    )
    assert spec == ExperimentSpec(
        name="e",
        base=RunSpec("m", "d", learning_rate=1e-4, lora_target=("q_proj", "v_proj"), val_size=0.1, bf16=True),
        search=Search(
            method=SearchMethod.RANDOM,
            run_cap=12,
            metric=Metric("eval_loss", Goal.MINIMIZE),
            parameters=(
                ("learning_rate", Distribution("log_uniform_values", 1e-5, 1e-3)),
                ("lora_dropout", Choice((0.0, 0.1))),
            ),
            together=((("lora_rank", 8), ("lora_alpha", 16)), (("lora_rank", 32),)),
        ),
        chunks=Chunks(num_chunks=8),
        resources=Resources(priority=7, weight=2.0),
        checkpoint=CheckpointPolicy(3, ("last",), Durability.LOCAL),
        export=Export("never", "merged"),
        labels=(("team", "support"),),
    )
    assert parse_experiment(experiment_to_dict(spec)) == spec


def test_a_plain_llama_factory_file_is_one_run() -> None:
    parsed = parse_experiment_verbose(
        {
            "model_name_or_path": "Qwen/Qwen3-0.6B",
            "trust_remote_code": False,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_target": "all",
            "dataset": "identity",
            "cutoff_len": 2048,
            "max_samples": 1000,
            "overwrite_cache": True,
            "preprocessing_num_workers": 16,
            "output_dir": "saves/x",
            "logging_steps": 10,
            "plot_loss": True,
            "report_to": "none",
            "gradient_accumulation_steps": 8,
            "learning_rate": "1.0e-4",
            "num_train_epochs": 3.0,
            "warmup_ratio": 0.1,
            "bf16": True,
            "ddp_timeout": 180000000,
            "resume_from_checkpoint": None,
            "max_steps": -1,
        },
        default_name="qwen3_lora_sft",
    )
    assert parsed.spec.name == "qwen3_lora_sft"
    assert parsed.spec.base == RunSpec(
        "Qwen/Qwen3-0.6B",
        "identity",
        max_samples=1000,
        gradient_accumulation_steps=8,
        learning_rate=1e-4,
        warmup_ratio=0.1,
        bf16=True,
    )
    assert parsed.spec.search == Search()
    assert {"output_dir", "logging_steps", "plot_loss", "do_train", "ddp_timeout", "trust_remote_code"} <= set(parsed.ignored)
    assert "report_to" not in parsed.ignored


def test_a_plain_file_lists_trackers_as_ignored_and_keeps_no_sections() -> None:
    assert parse_experiment_verbose({**BASE, "report_to": "wandb"}).ignored == ("report_to",)
    assert "search: stands only beside experiment and base" in problems_of({**BASE, "search": {}})


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ({"model": "x"}, "model_name_or_path", "x"),
        ({"base_model": "x"}, "model_name_or_path", "x"),
        ({"dataset_name": "x"}, "dataset", "x"),
        ({"lora_r": 16}, "lora_rank", 16),
        ({"micro_batch_size": 4}, "per_device_train_batch_size", 4),
        ({"num_epochs": 2}, "num_train_epochs", 2.0),
        ({"max_length": 512}, "cutoff_len", 512),
        ({"max_seq_length": 512}, "cutoff_len", 512),
        ({"sequence_len": 512}, "cutoff_len", 512),
        ({"train_type": "full"}, "finetuning_type", FinetuningType.FULL),
        ({"tuner_type": "lora"}, "finetuning_type", FinetuningType.LORA),
        ({"use_peft": False}, "finetuning_type", FinetuningType.FULL),
        ({"lora_target_modules": ["a", "b"]}, "lora_target", ("a", "b")),
        ({"target_modules": "all-linear"}, "lora_target", ("all",)),
        ({"target_modules": ["all-linear"]}, "lora_target", ("all",)),
        ({"lora_target_linear": True}, "lora_target", ("all",)),
        ({"lr": "3e-4"}, "learning_rate", 3e-4),
        ({"lr_scheduler": "cosine"}, "lr_scheduler_type", "cosine"),
        ({"optimizer": "adamw_hf"}, "optim", "adamw_torch"),
        ({"torch_dtype": "bfloat16"}, "bf16", True),
        ({"completion_only_loss": False}, "train_on_prompt", True),
        ({"disable_gradient_checkpointing": "true"}, "gradient_checkpointing", False),
        ({"load_in_4bit": False}, "quantization_bit", None),
        ({"val_set_size": 0.05}, "val_size", 0.05),
    ],
)
def test_aliases_become_canonical(written: dict[str, Any], key: str, value: object) -> None:
    (name,) = written
    base = {own: text for own, text in BASE.items() if own != key}
    parsed = parse_experiment_verbose({"experiment": "e", "base": {**base, **written}})
    assert getattr(parsed.spec.base, key) == value
    assert parsed.renamed == ((f"base.{name}", key),)


def test_an_alias_beside_its_key_must_agree() -> None:
    assert parse_experiment(experiment({"lora_r": "16", "lora_rank": 16})).base.lora_rank == 16
    message = base_problem(lora_rank=8, lora_r=16)
    assert message.startswith("base.lora_r: says 16, but lora_rank is the same key")
    assert "base.max_length: says 64, but cutoff_len" in base_problem(cutoff_len=128, max_length=64)
    assert "base.sequence_len: says 64, but max_length" in base_problem(max_length=128, sequence_len=64)


def test_every_alias_and_ignored_key_is_consistent() -> None:
    assert {alias.key for alias in ALIASES.values()} <= set(keys.RUN_KEYS)
    assert not set(ALIASES) & set(keys.RUN_KEYS)
    assert not set(IGNORED) & (set(keys.RUN_KEYS) | set(ALIASES))
    assert set(keys.RUN_KEYS) == {item.name for item in dataclasses.fields(RunSpec)}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ({"base": {**BASE, "learnig_rate": 1}}, "base.learnig_rate: unknown key; did you mean learning_rate?"),
        ({"base": {**BASE, "Learning-Rate": 1}}, "base.Learning-Rate: unknown key; did you mean learning_rate?"),
        (experiment(serch={}), "serch: unknown key; did you mean search?"),
        (experiment({"chunks": {}}), "base.chunks: stands at the top level of the file, beside experiment and base"),
        (experiment(learning_rate=1), "learning_rate: is a key of the run; put it under base"),
        (experiment(resources={"prority": 1}), "resources.prority: unknown key; did you mean priority?"),
        (
            experiment(search={"parameters": {"lora_rnk": {"values": [1]}}}),
            "search.parameters.lora_rnk: unknown key; did you mean lora_rank?",
        ),
        (
            experiment(search={"paramters": {}, "parameters": {"seed": {"values": [1]}}}),
            "search.paramters: unknown key; did you mean parameters?",
        ),
        (
            experiment(search={"parameters": {"_": [{"lora_rnk": 1}]}}),
            "search.parameters._[0].lora_rnk: unknown key; did you mean lora_rank?",
        ),
        (experiment(search={"parameters": {"seed": {"valus": [1]}}}), "search.parameters.seed.valus: unknown key; did you mean values?"),
        ({**BASE, "modl": "x"}, "modl: unknown key; did you mean model?"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(path: dict[str, Any], message: str) -> None:
    assert problems_of(path) == message


def test_all_problems_are_listed_together() -> None:
    message = problems_of(
        {
            "experiment": "no good",
            "base": {"model_name_or_path": "m", "lora_rank": 0, "learnig_rate": 1},
            "resources": {"priority": 11},
            "search": {"run_cap": 0, "parameters": {"seed": {"values": []}}},
        }
    )
    lines = message.splitlines()
    assert lines[0] == "7 problems:"
    for start in (
        "experiment:",
        "base.lora_rank:",
        "base.learnig_rate:",
        "base.dataset: is missing",
        "resources.priority:",
        "search.run_cap:",
    ):
        assert any(line.strip().startswith(start) for line in lines), start


def test_a_file_with_thousands_of_problems_gets_a_short_answer() -> None:
    message = problems_of({"experiment": "e", "base": {**BASE, **{f"learning_rate{i}": 1 for i in range(5000)}}})
    assert message.startswith("5000 problems:")
    assert message.endswith("... and 4980 more")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("learning_rate", 0, "must be more than 0, not 0"),
        ("learning_rate", -1e-5, "must be more than 0"),
        ("learning_rate", float("nan"), "must be a finite number"),
        ("learning_rate", float("inf"), "must be a finite number"),
        ("learning_rate", "1e999", "must be a finite number"),
        ("learning_rate", "nan", "must be a number"),
        ("learning_rate", "1_0", "must be a number"),
        ("learning_rate", True, "must be a number, not true"),
        ("learning_rate", [1], "must be a number, not a list"),
        ("learning_rate", 1 << 5000, "is out of range"),
        ("lora_rank", 0, "must be at least 1"),
        ("lora_rank", 8.5, "must be an integer"),
        ("lora_rank", "8.5", "must be an integer"),
        ("lora_rank", True, "must be an integer, not true"),
        ("lora_rank", "9" * 5000, "must be an integer"),
        ("lora_rank", 1 << 5000, "must be at most 4096"),
        ("lora_dropout", 1, "must be less than 1"),
        ("lora_dropout", -0.1, "must be at least 0"),
        ("per_device_train_batch_size", 0, "must be at least 1"),
        ("val_size", -1, "must be at least 0"),
        ("val_size", 1.5, "must be a share below 1 or a whole number of rows"),
        ("cutoff_len", 7, "must be at least 8"),
        ("warmup_ratio", 1.1, "must be at most 1"),
        ("num_train_epochs", 0, "must be more than 0"),
        ("max_steps", 0, "must be at least 1"),
        ("seed", -1, "must be at least 0"),
        ("seed", 2**32, "must be at most 4294967295"),
        ("use_dora", 1, "must be true or false, not 1"),
        ("bf16", "auto", "must be true or false"),
        ("dataset", False, "must be text, not false; put it in quotes"),
        ("dataset", 5, "must be text"),
        ("dataset", " ", "must not be empty"),
        ("dataset", "a\nb", "control characters"),
        ("dataset", "x" * 5000, "longer than 4096"),
        ("lora_target", [], "must not be empty"),
        ("lora_target", [1], "must be text"),
        ("lr_scheduler_type", "cosin", "cosin is not one of linear, cosine"),
        ("lr_scheduler_type", "cosin", "did you mean cosine?"),
        ("use_peft", 3, "must be true or false, not 3; or use finetuning_type"),
        ("warmup_steps", {"a": 1}, "must be an integer, not a mapping"),
    ],
)
def test_values_are_checked(key: str, value: object, says: str) -> None:
    message = base_problem(**{key: value})
    assert message.startswith(f"base.{key}: ")
    assert says in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("learning_rate", "1e-5", 1e-5),
        ("learning_rate", "+.5E-3", 5e-4),
        ("learning_rate", 1, 1.0),
        ("lora_rank", "8", 8),
        ("lora_rank", 8.0, 8),
        ("lora_rank", "1e1", 10),
        ("seed", "4294967295", 4294967295),
        ("bf16", "true", True),
        ("use_dora", "False", False),
        ("max_steps", -1, None),
        ("max_steps", "-1", None),
        ("max_steps", "none", None),
        ("lora_alpha", "null", None),
        ("lora_target", "q_proj,v_proj,q_proj", ("q_proj", "v_proj")),
        ("dataset", ["one"], "one"),
    ],
)
def test_text_that_says_one_value_is_accepted(key: str, text: object, value: object) -> None:
    found = getattr(parse_experiment(experiment({key: text})).base, key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (experiment({"stage": "dpo"}), "base.stage: dpo is not available in this version of gswarm; use sft"),
        ({**BASE, "stage": "pt"}, "stage: pt is not available in this version of gswarm; use sft"),
        (experiment({"finetuning_type": "freeze"}), "use lora or full"),
        (experiment({"finetuning_type": "qlora"}), "use lora with quantization_bit"),
        (experiment({"quantization_bit": 4}), "base.quantization_bit: 4 is not available"),
        (experiment({"load_in_8bit": True}), "base.load_in_8bit: 8 is not available"),
        (experiment({"fp16": True}), "base.fp16: true is not available"),
        (experiment({"fp16": True, "bf16": True}), "use bf16"),
        (experiment({"packing": True}), "base.packing: true is not available"),
        (experiment({"template": "llama3"}), "use auto"),
        (experiment({"dataset": "a,b"}), "2 data sets at once are not available"),
        (experiment({"dataset": ["a", "b"]}), "2 data sets at once are not available"),
        (experiment({"trust_remote_code": True}), "never runs code that comes with a model"),
        ({**BASE, "trust_remote_code": "true"}, "trust_remote_code: true is not available"),
        ({**BASE, "resume_from_checkpoint": "saves/x"}, "interrupted runs go on by themselves"),
        ({**BASE, "deepspeed": "ds_z3_config.json"}, "a run trains on one slot"),
        ({**BASE, "use_rslora": True}, "use_rslora: true is not available"),
        ({**BASE, "do_train": False}, "do_train: false is not available"),
        (experiment(search={"method": "tpe", "parameters": {"seed": {"values": [1]}}}), "use grid or random"),
        (experiment(search={"early_stop": {"method": "asha"}, "parameters": {"seed": {"values": [1]}}}), "search.early_stop.method: asha"),
        (experiment(resources={"gpus_per_run": 2}), "resources.gpus_per_run: 2 is not available"),
        (experiment(checkpoint={"durability": "store"}), "use replicated or local"),
        (experiment(report_to=["wandb"]), "report_to: a list is not available"),
        (experiment(export={"format": "gguf"}), "export.format: gguf is not available"),
        (experiment(code={"reward": "a:b"}), "code: is not available"),
    ],
)
def test_what_this_version_does_not_carry_out_is_refused(data: dict[str, Any], says: str) -> None:
    assert says in problems_of(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "the experiment is empty"),
        ([], "must be a mapping"),
        ("text", "must be a mapping of keys to values, not text"),
        ({}, "model_name_or_path: is missing"),
        ({"experiment": "e"}, "base.model_name_or_path: is missing"),
        ({"base": "x"}, "base: must be a mapping of keys to values, not x"),
        ({1: 2, "model": "m", "dataset": "d"}, "a key must be text, not 1"),
        (experiment(experiment="-x"), "experiment: -x is not a name"),
        (experiment(experiment="x" * 64), "is not a name"),
        (experiment(experiment=5), "experiment: 5 is not a name"),
        (experiment({"warmup_ratio": 0.1, "warmup_steps": 5}), "warmup_ratio and warmup_steps are both set"),
        (experiment({"val_size": 0.1, "eval_dataset": "x"}), "val_size and eval_dataset are both set"),
        (experiment({"finetuning_type": "full", "use_dora": True}), "base.use_dora: needs finetuning_type: lora"),
        (experiment({"lr_scheduler_type": "polynomial", "learning_rate": 1e-7}), "base.learning_rate: must be more than 1e-07"),
        (experiment(chunks={"num_chunks": 2, "steps": 5}), "num_chunks and steps are both set"),
        (experiment(chunks={"num_chunks": 0}), "chunks.num_chunks: must be at least 1"),
        (experiment(chunks="often"), "chunks: must be a mapping"),
        (experiment(resources={"priority": 11}), "resources.priority: must be at most 10"),
        (experiment(resources={"weight": 0}), "resources.weight: must be more than 0"),
        (experiment(resources={"max_skew": 0}), "resources.max_skew: must be at least 1"),
        (experiment(export={"when": "sometimes"}), "sometimes is not one of never, best, all"),
        (experiment(export={"when": "best"}), "export.when: best is not available in this version"),
        (experiment(labels={"a b": "x"}), "a b is not a name"),
        (experiment(labels={f"l{i}": "x" for i in range(40)}), "more than 32"),
        (experiment(search={}), "the search space is empty"),
        (experiment(search={"method": "grid"}), "the search space is empty"),
        (experiment(search={"parameters": {}}), "the search space is empty"),
        (experiment(search=[]), "search: must be a mapping"),
        (experiment(search={"parameters": {"seed": [1, 2]}}), "must be {values: [...]}"),
        (experiment(search={"parameters": {"seed": {"values": 5}}}), "must be a list of one value or more, not 5"),
        (experiment(search={"parameters": {"seed": {"values": []}}}), "must be a list of one value or more"),
        (experiment(search={"parameters": {"seed": {"values": [1, "x"]}}}), "search.parameters.seed.values[1]: must be an integer"),
        (experiment(search={"parameters": {"seed": {"values": [1], "min": 1}}}), "must have either values, or distribution"),
        (experiment(search={"parameters": {"seed": {}}}), "must have either values, or distribution"),
        (experiment(search={"parameters": {"output_dir": {"values": ["a"]}}}), "search.parameters.output_dir: means nothing"),
        (experiment(search={"parameters": {"_": [{"output_dir": "a"}]}}), "output_dir: means nothing"),
        (experiment(search={"parameters": {"_": []}}), "must be a list of mappings"),
        (experiment(search={"parameters": {"_": [5]}}), "search.parameters._[0]: must be a mapping"),
        (experiment(search={"parameters": {"lr": {"values": [1]}, "learning_rate": {"values": [2]}}}), "learning_rate is searched twice"),
        (experiment(search={"parameters": {"seed": {"values": [1]}, "_": [{"seed": 2}]}}), "seed is also searched on its own"),
        (experiment(search={"run_cap": 0, "parameters": {"seed": {"values": [1]}}}), "search.run_cap: must be at least 1"),
        (experiment(search={"run_cap": 10_001, "parameters": {"seed": {"values": [1]}}}), "search.run_cap: must be at most 10000"),
        (experiment(search={"method": "random", "parameters": {"seed": {"values": [1]}}}), "search.run_cap: is missing"),
        (experiment(search={"parameters": {"learning_rate": {"min": 1e-5, "max": 1e-4}}}), "a grid needs values"),
    ],
)
def test_files_that_cannot_be_meant(data: object, says: str) -> None:
    assert says in problems_of(data)


def test_a_wrong_run_cap_is_not_called_missing_as_well() -> None:
    search = {"method": "random", "run_cap": 10**9, "parameters": {"seed": {"values": [1]}}}
    assert problems_of(experiment(search=search)) == "search.run_cap: must be at most 10000, not 1000000000"


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ({"distribution": "normal", "min": 1, "max": 2}, "normal is not one of uniform"),
        ({"distribution": "log_uniform_value", "min": 1, "max": 2}, "did you mean log_uniform_values?"),
        ({"distribution": ["x"], "min": 1, "max": 2}, "a list is not one of"),
        ({"min": 1e-3, "max": 1e-4}, "min must be less than max"),
        ({"min": 1e-3}, "max: is missing"),
        ({"min": 0, "max": 1e-4}, "min: must be more than 0"),
        ({"distribution": "int_uniform", "min": 1, "max": 2}, "int_uniform does not fit learning_rate"),
    ],
)
def test_ranges_are_checked(parameter: dict[str, Any], says: str) -> None:
    search = {"method": "random", "run_cap": 4, "parameters": {"learning_rate": parameter}}
    assert says in problems_of(experiment(search=search))


def test_a_number_too_long_to_print_is_refused_and_not_printed() -> None:
    assert base_problem(lora_rank=10**5000).startswith("base.lora_rank: must be at most 4096, not a number of 16610 bits")
    assert base_problem(dataset=10**5000).startswith("base.dataset: must be text")


def test_a_range_of_a_key_that_is_no_number_is_refused() -> None:
    search = {"method": "random", "run_cap": 4, "parameters": {"lora_target": {"min": 1, "max": 2}}}
    assert "lora_target is no number; give values" in problems_of(experiment(search=search))
    search = {
        "method": "random",
        "run_cap": 4,
        "parameters": {"lora_dropout": {"distribution": "log_uniform_values", "min": 0, "max": 0.5}},
    }
    assert "must be more than 0 for log_uniform_values" in problems_of(experiment(search=search))


def test_changes_of_a_clone_are_validated_like_the_file() -> None:
    changed = run_spec_with(SPEC, {"lr": "2e-4", "lora_target": "q_proj,v_proj", "max_steps": "20", "bf16": "true"})
    assert changed == RunSpec("m", "d", learning_rate=2e-4, lora_target=("q_proj", "v_proj"), max_steps=20, bf16=True)
    assert run_spec_with(changed, {"max_steps": None}).max_steps is None
    assert run_spec_with(SPEC, {}) == SPEC


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learnig_rate": "1"}, "learnig_rate: unknown key; did you mean learning_rate?"),
        ({"learning_rate": "-1"}, "learning_rate: must be more than 0"),
        ({"learning_rate": None}, "learning_rate: must be a number, not null"),
        ({"output_dir": "x"}, "output_dir: means nothing in gswarm; remove it"),
        ({"stage": "dpo"}, "stage: dpo is not available"),
        ({"warmup_steps": "5"}, "warmup_ratio and warmup_steps are both set"),
    ],
)
def test_a_malformed_change_is_refused(changes: dict[str, object], says: str) -> None:
    parent = dataclasses.replace(SPEC, warmup_ratio=0.1)
    with pytest.raises(InvalidInputError) as caught:
        run_spec_with(parent, changes)
    assert says in str(caught.value)


def test_the_canonical_form_has_every_key_in_plain_types() -> None:
    plain = run_spec_to_dict(SPEC)
    assert list(plain) == [item.name for item in dataclasses.fields(RunSpec)]
    assert plain["stage"] == "sft"
    assert type(plain["stage"]) is str
    assert plain["lora_target"] == ["all"]
    assert plain["lora_alpha"] is None


def test_defaults_pass_their_own_validation() -> None:
    assert parse_experiment({"base": run_spec_to_dict(SPEC)}).base == SPEC


def test_every_section_key_is_a_field_of_its_type() -> None:
    for path, owner in (("chunks", Chunks), ("resources", Resources), ("checkpoint", CheckpointPolicy), ("export", Export)):
        assert set(keys.SECTIONS[path]) == {item.name for item in dataclasses.fields(owner)}, path


def test_the_reference_is_fresh_and_complete() -> None:
    page = (ROOT / "docs" / "experiment-file.md").read_text()
    assert page == render(), "run: python -m gswarm.domain.reference > docs/experiment-file.md"
    names = [*keys.RUN_KEYS, *ALIASES, *IGNORED, *keys.TOP_KEYS, *(name for section in keys.SECTIONS.values() for name in section)]
    assert [name for name in names if f"`{name}`" not in page] == []
