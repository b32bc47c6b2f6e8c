"""Grid and random expansion: order, caps, seeds, and spaces too large to enumerate."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gswarm.domain.errors import InvalidInputError, LimitError
from gswarm.domain.parse import parse_experiment
from gswarm.domain.spec import Choice, ExperimentSpec, RunSpec, Search
from gswarm.search.expand import count, expand, expansion_notes


def experiment(parameters: dict[str, Any] | None = None, base: dict[str, Any] | None = None, **search: Any) -> ExperimentSpec:
    data: dict[str, Any] = {"experiment": "e", "base": {"model_name_or_path": "m", "dataset": "d", "val_size": 0.1, **(base or {})}}
    if parameters is not None:
        data["search"] = {"parameters": parameters, **search}
    return parse_experiment(data)


def values_of(spec: ExperimentSpec, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(run.spec, name) for name in names) for run in expand(spec)]


def test_no_search_is_one_run() -> None:
    spec = experiment()
    (run,) = expand(spec)
    assert run.spec == spec.base
    assert run.changes == ()


def test_a_grid_is_the_product_in_file_order_with_paired_values_last() -> None:
    spec = experiment(
        {
            "_": [{"lora_rank": 8, "lora_alpha": 16}, {"lora_rank": 32, "lora_alpha": 64}],
            "learning_rate": {"values": [1e-5, "1e-4"]},
            "lora_dropout": {"values": [0, 0.1]},
        }
    )
    assert values_of(spec, "learning_rate", "lora_dropout", "lora_rank", "lora_alpha") == [
        (1e-5, 0.0, 8, 16),
        (1e-5, 0.0, 32, 64),
        (1e-5, 0.1, 8, 16),
        (1e-5, 0.1, 32, 64),
        (1e-4, 0.0, 8, 16),
        (1e-4, 0.0, 32, 64),
        (1e-4, 0.1, 8, 16),
        (1e-4, 0.1, 32, 64),
    ]
    assert expand(spec)[0].changes == (("learning_rate", "1e-05"), ("lora_dropout", "0.0"), ("lora_rank", "8"), ("lora_alpha", "16"))
    assert expansion_notes(spec, expand(spec)) == ()


def test_paired_values_alone_are_a_grid() -> None:
    assert values_of(experiment({"_": [{"seed": 1}, {"seed": 2}, {"seed": 1}]}), "seed") == [(1,), (2,)]


def test_run_cap_keeps_the_first_of_a_grid_and_says_so() -> None:
    spec = experiment({"seed": {"values": list(range(100))}}, run_cap=3)
    assert values_of(spec, "seed") == [(0,), (1,), (2,)]
    assert expansion_notes(spec, expand(spec)) == ("The space has 100 combinations; run_cap keeps the first 3.",)


def test_a_grid_with_run_cap_above_its_size_is_whole() -> None:
    spec = experiment({"seed": {"values": [1, 2]}}, run_cap=10)
    assert len(expand(spec)) == 2
    assert expansion_notes(spec, expand(spec)) == ()


def test_equal_combinations_are_one_run() -> None:
    spec = experiment({"_": [{"lora_rank": 8}, {"lora_rank": 8, "lora_alpha": 32}]}, base={"lora_alpha": 32})
    assert len(expand(spec)) == 1
    assert "left out because they equal another one" in expansion_notes(spec, expand(spec))[0]


def test_a_search_may_change_the_model_and_the_data() -> None:
    spec = experiment({"model": {"values": ["a", "b"]}, "dataset": {"values": ["x"]}, "lora_target": {"values": ["all", ["q", "v"]]}})
    assert values_of(spec, "model_name_or_path", "dataset", "lora_target") == [
        ("a", "x", ("all",)),
        ("a", "x", ("q", "v")),
        ("b", "x", ("all",)),
        ("b", "x", ("q", "v")),
    ]
    assert expand(spec)[1].changes[2] == ("lora_target", "q,v")


def test_a_huge_grid_is_refused_with_its_count_at_once() -> None:
    names = ("seed", "data_seed", "lora_rank")
    spec = experiment({name: {"values": list(range(1, 1001))} for name in names})
    began = time.process_time()
    with pytest.raises(LimitError, match=r"1,000,000,000 combinations, but .* at most 10,000 runs; set search.run_cap"):
        expand(spec)
    assert time.process_time() - began < 0.2


def test_an_astronomical_grid_is_refused_and_can_be_capped() -> None:
    names = ("seed", "data_seed", "lora_rank", "lora_alpha", "max_samples", "max_steps", "warmup_steps", "cutoff_len")
    space = {name: {"values": list(range(8, 508))} for name in names}
    with pytest.raises(LimitError, match=r"about 10\^21 combinations"):
        expand(experiment(space))
    assert len(expand(experiment(space, run_cap=5))) == 5
    assert len(expand(experiment(space, method="random", run_cap=5))) == 5


def test_zero_combinations_are_refused() -> None:
    spec = ExperimentSpec("e", RunSpec("m", "d"), Search(parameters=(("seed", Choice(())),)))
    assert count(spec.search) == 0
    with pytest.raises(InvalidInputError, match="0 combinations"):
        expand(spec)


def test_the_limit_itself_is_allowed() -> None:
    spec = experiment({"seed": {"values": list(range(100))}, "data_seed": {"values": list(range(100))}})
    assert len(expand(spec)) == 10_000


def test_random_is_reproducible_and_its_seed_matters() -> None:
    space = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2}, "lora_rank": {"values": [4, 8, 16]}}
    first = experiment(space, method="random", run_cap=20, seed=1)
    assert expand(first) == expand(first)
    assert expand(first) != expand(experiment(space, method="random", run_cap=20, seed=2))
    rates = [run.spec.learning_rate for run in expand(first)]
    assert len(set(rates)) == 20
    assert all(1e-6 <= rate <= 1e-2 for rate in rates)
    assert min(rates) < 1e-4 < max(rates), "log-uniform samples spread over the decades"


def test_random_over_a_finite_space_never_repeats_and_may_take_all_of_it() -> None:
    space = {"lora_rank": {"values": [4, 8, 16]}, "_": [{"seed": 1}, {"seed": 2}]}
    spec = experiment(space, method="random", run_cap=100)
    assert len(set(values_of(spec, "lora_rank", "seed"))) == len(expand(spec)) == 6
    part = experiment(space, method="random", run_cap=4)
    assert len(set(values_of(part, "lora_rank", "seed"))) == 4
    assert expansion_notes(part, expand(part)) == ("The space has 6 combinations; run_cap keeps 4 of them at random.",)


def test_a_narrow_range_ends_with_a_note() -> None:
    spec = experiment({"lora_rank": {"distribution": "int_uniform", "min": 4, "max": 6}}, method="random", run_cap=50)
    assert sorted(values_of(spec, "lora_rank")) == [(4,), (5,), (6,)]
    assert expansion_notes(spec, expand(spec)) == ("The space has only 3 different configurations, fewer than run_cap (50).",)


def test_a_metric_that_nothing_will_report_is_noted() -> None:
    spec = experiment({"seed": {"values": [1, 2]}}, base={"val_size": 0})
    assert expansion_notes(spec, expand(spec)) == (
        "Runs are compared by eval_loss, but there is no validation data; set val_size or eval_dataset.",
    )
    assert expansion_notes(experiment({"val_size": {"values": [0, 0.1]}}), expand(experiment({"val_size": {"values": [0, 0.1]}}))) == ()


def test_a_combination_that_cannot_be_is_named() -> None:
    spec = experiment({"warmup_steps": {"values": [0, 10]}}, base={"warmup_ratio": 0.1})
    with pytest.raises(InvalidInputError, match="the combination warmup_steps=10 is not possible: warmup_ratio: warmup_ratio and"):
        expand(spec)
