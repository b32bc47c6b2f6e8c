"""The experiment file under random input: round trips, and no error but the typed one."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import GswarmError, InvalidInputError
from gswarm.domain.keys import RUN_KEYS, TOP_KEYS
from gswarm.domain.parse import experiment_to_dict, parse_experiment, parse_experiment_verbose, run_spec_with
from gswarm.domain.spec import Choice, ExperimentSpec
from gswarm.domain.values import Key, Kind, value_text
from gswarm.search.expand import count, expand
from gswarm.search.yaml_file import load_yaml

WORDS = st.text("abcdefgh/_-.0123456789", min_size=1, max_size=12).filter(
    lambda text: text.strip() and text.lower() not in ("null", "none")
)


def values_for(key: Key) -> st.SearchStrategy[Any]:
    """Values that the key accepts, as a person may write them."""
    if key.available:
        return st.sampled_from([value_text(value) for value in key.available])
    if key.allowed:
        return st.sampled_from(key.allowed)
    match key.kind:
        case Kind.BOOL:
            return st.sampled_from([True, False, "true", "false"])
        case Kind.INT:
            integers = st.integers(int(key.low or 0), int(key.high if key.high is not None else 10**6))
            return integers | integers.map(str)
        case Kind.FLOAT:
            low = key.low if key.low is not None else key.above or 0.0
            high = min(bound for bound in (key.high, key.below, 1e6) if bound is not None)
            numbers = st.floats(low, high, exclude_min=key.above is not None, exclude_max=key.below is not None)
            return numbers | numbers.map(repr)
        case Kind.TEXTS:
            return st.lists(WORDS, min_size=1, max_size=3)
        case _:
            return WORDS


def legal(run: dict[str, Any]) -> dict[str, Any]:
    """Takes out what excludes something else."""
    run = dict(run)
    run.pop("warmup_steps", None)
    run.pop("eval_dataset", None)
    if "val_size" in run and float(run["val_size"]) > 1:
        run["val_size"] = int(float(run["val_size"]))
    if run.get("finetuning_type") == "full":
        run.pop("use_dora", None)
    if run.get("lr_scheduler_type") == "polynomial":
        run.pop("learning_rate", None)
    return run


RUNS = st.fixed_dictionaries(
    {"model_name_or_path": WORDS, "dataset": WORDS},
    optional={name: values_for(key) for name, key in RUN_KEYS.items() if name not in ("model_name_or_path", "dataset")},
).map(legal)
SPACES = st.dictionaries(
    st.sampled_from(["learning_rate", "lora_rank", "seed", "lora_dropout", "lora_target"]), st.integers(1, 4), min_size=1, max_size=4
)
SAMPLES: dict[str, list[Any]] = {
    "learning_rate": [1e-5, "1e-4", 0.5, "0.00001"],
    "lora_rank": [4, "8", 16, 4],
    "seed": [1, 2, "3", 4],
    "lora_dropout": [0, 0.1, "0.2", 0.0],
    "lora_target": ["all", ["q_proj", "v_proj"], "q_proj,v_proj", "k_proj"],
}
PAIRS = st.lists(
    st.sampled_from([{"lora_alpha": 8}, {"lora_alpha": 16, "cutoff_len": 64}, {"cutoff_len": 64, "lora_alpha": 16}]), max_size=3
)


@st.composite
def experiments(draw: st.DrawFn) -> dict[str, Any]:
    data: dict[str, Any] = {"experiment": draw(st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True)), "base": draw(RUNS)}
    if draw(st.booleans()):
        parameters: dict[str, Any] = {name: {"values": SAMPLES[name][:size]} for name, size in draw(SPACES).items()}
        pairs = draw(PAIRS)
        if pairs:
            parameters["_"] = pairs
        search: dict[str, Any] = {"parameters": parameters, "method": draw(st.sampled_from(["grid", "random"]))}
        search["run_cap"] = draw(st.integers(1, 40) if search["method"] == "random" else st.none() | st.integers(1, 40))
        search["seed"] = draw(st.integers(0, 1000))
        if search["method"] == "random" and draw(st.booleans()):
            parameters["weight_decay"] = {"min": 0, "max": draw(st.floats(1e-6, 1))}
        data["search"] = search
    if draw(st.booleans()):
        data["chunks"] = draw(st.sampled_from(["auto", {"num_chunks": 4}, {"steps": "50"}, {"num_chunks": "auto"}]))
        data["resources"] = {"priority": draw(st.integers(0, 10)), "max_skew": draw(st.sampled_from(["auto", 1, 5]))}
        data["labels"] = {"team": "a"}
    return data


@given(experiments())
@settings(max_examples=150, deadline=None)
def test_the_canonical_form_reads_back_to_the_same(data: dict[str, Any]) -> None:
    spec = parse_experiment(data)
    plain = experiment_to_dict(spec)
    again = parse_experiment_verbose(plain)
    assert again.spec == spec
    assert (again.renamed, again.ignored) == ((), ())
    assert parse_experiment(json.loads(json.dumps(plain))) == spec
    assert experiment_to_dict(again.spec) == plain


@given(experiments())
@settings(max_examples=100, deadline=None)
def test_expansion_is_deterministic_free_of_duplicates_and_explained_by_its_changes(data: dict[str, Any]) -> None:
    spec = parse_experiment(data)
    runs = expand(spec)
    assert runs == expand(parse_experiment(experiment_to_dict(spec)))
    assert len({run.spec for run in runs}) == len(runs) >= 1
    if spec.search.run_cap is not None:
        assert len(runs) <= spec.search.run_cap
    for run in runs:
        assert run_spec_with(spec.base, dict(run.changes)) == run.spec
    assert {run.spec for run in runs} <= naive(spec) or count(spec.search) is None


def naive(spec: ExperimentSpec) -> set[Any]:
    """Every combination by nested loops."""
    found = [spec.base]
    for name, values in spec.search.parameters:
        if isinstance(values, Choice):
            found = [run_spec_with(run, {name: value}) for run in found for value in values.values]
    if spec.search.together:
        found = [run_spec_with(run, dict(entry)) for run in found for entry in spec.search.together]
    return set(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*RUN_KEYS, *TOP_KEYS, "lora_r", "model", "parameters", "values", "_", "min", "max", "trust_remote_code"])
CLOSE_TO_REAL = st.recursive(JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=6) | st.lists(inner, max_size=3), max_leaves=15)


@given(CLOSE_TO_REAL)
@settings(max_examples=400, deadline=None)
def test_whatever_is_sent_is_read_or_refused_with_the_typed_error(data: Any) -> None:
    try:
        spec = parse_experiment(data)
        expand(spec)
    except GswarmError:
        return
    assert parse_experiment(experiment_to_dict(spec)) == spec


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_bytes_are_loaded_or_refused_with_the_typed_error(text: str | bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        load_yaml(text)


@given(st.sampled_from(list(RUN_KEYS)), JSON)
@settings(max_examples=300, deadline=None)
def test_a_changed_value_is_read_or_refused(name: str, value: Any) -> None:
    base = parse_experiment({"model": "m", "dataset": "d"}).base
    try:
        changed = run_spec_with(base, {name: value})
    except InvalidInputError:
        return
    assert run_spec_with(base, {name: value_text(getattr(changed, name))}) == changed, "its text says the same value"
