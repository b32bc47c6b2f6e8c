"""Models, tokenizers and checkpoints that lie about what they hold: refused with a typed error, in bounded time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from harness import Case
from lies import change, spec_of

from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.training.job_types import PrepareRequest

pytestmark = pytest.mark.train

# ---- settings and weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[]"),
        ("config.json", '{"model_type": "llama", "vocab_size": '),
        ("config.json", "[" * 100_000),
        ("generation_config.json", "null"),
        ("tokenizer_config.json", '"text"'),
        ("model.safetensors", ""),
        ("model.safetensors", "\x00" * 64),
        ("model.safetensors", "\xff" * 64),
        ("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": {"w": "pytorch_model.bin"}})),
        ("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": {"w": "../outside.safetensors"}})),
        ("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": ["model.safetensors"]})),
        ("config.json", json.dumps({"model_type": "llama", "_attn_implementation": "evil/kernel"})),
        ("config.json", json.dumps({"model_type": "llama", "text_config": {"attn_implementation": "evil/kernel:x"}})),
    ],
)
def test_settings_and_weights_that_lie_are_refused_where_a_base_is_made(file: str, content: str, folder: Path, tmp_path: Path) -> None:
    from gswarm.training.base import resolve_base

    (folder / file).write_bytes(content.encode("latin-1"))
    with pytest.raises((CorruptDataError, InvalidInputError)):
        resolve_base(str(folder), tmp_path / "out", tmp_path / "work")


# The limit is raised wherever Python is just then; in a callback of a weak reference it is only told, and raised again a moment later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": -1},
        {"vocab_size": 1 << 62, "hidden_size": 1 << 20},
        {"hidden_size": "large"},
        {"num_attention_heads": 0},
        {"num_hidden_layers": 10**9},
        {"model_type": "no-such-model"},
        {"model_type": ["llama"]},
        {"rope_scaling": {"rope_type": "evil", "factor": "x"}},
    ],
    ids=str,
)
def test_a_configuration_that_lies_is_refused_in_bounded_time(
    values: dict[str, object], folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gswarm.training import build

    monkeypatch.setattr(build, "META_TIME_MAX_S", 0.5)
    change(folder / "config.json", **values)
    with pytest.raises((CorruptDataError, InvalidInputError)):
        build.check_buildable(spec_of(folder, root), folder)


def test_weights_of_another_shape_or_none_are_never_made_up(folder: Path, root: Path) -> None:
    from safetensors.torch import load_file, save_file

    from gswarm.training.build import Workshop

    whole = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    for wrong, said in (
        ({key: value for key, value in whole.items() if key != name}, name),
        (whole | {name: whole[name][:1].clone()}, "cannot be loaded"),
    ):
        save_file(wrong, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CorruptDataError, match=said):
            Workshop("cpu").fresh_base(spec_of(folder, root), folder)


def test_a_tokenizer_that_knows_more_than_its_model_is_refused(root: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    from gswarm.training.jobs import prepare

    small = LlamaConfig(
        vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2
    )
    AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path / "model")
    tiny.make_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(InvalidInputError, match="the model knows 100"):
        prepare(PrepareRequest((spec_of(tmp_path / "model", root),), str(tmp_path / "out")))


# ---- tokenizers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "{}",
        lambda text: "[" * 100_000,
        lambda text: json.dumps(json.loads(text) | {"model": {"type": "Evil"}}),
        lambda text: json.dumps(json.loads(text) | {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}),
        lambda text: json.dumps(json.loads(text) | {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "zz"]]}}),
        lambda text: json.dumps(json.loads(text) | {"added_tokens": [{"id": 1 << 40, "content": "x"}]}),
        lambda text: json.dumps(json.loads(text) | {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}}),
        lambda text: json.dumps(json.loads(text) | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
    ],
    ids=["empty", "torn", "no model", "nested", "kind", "negative", "merge", "id", "regex", "charsmap"],
)
def test_tokenizers_that_lie_are_refused(spoil: Callable[[str], str], folder: Path) -> None:
    from gswarm.training.build import Workshop

    path = folder / "tokenizer.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(CorruptDataError):
        Workshop("cpu").tokenizer(folder)


def test_a_tokenizers_memories_of_other_paths_are_dropped_when_a_base_is_made_and_refused_when_it_is_loaded(
    folder: Path, tmp_path: Path
) -> None:
    from gswarm.training.base import resolve_base
    from gswarm.training.base_files import check_base

    change(
        folder / "tokenizer_config.json",
        special_tokens_map_file="/root/.cache/x.json",
        tokenizer_file="../../tokenizer.json",
        vocab_file=None,
    )
    resolve_base(str(folder), tmp_path / "out", tmp_path / "work")
    made = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert not {"special_tokens_map_file", "tokenizer_file"} & made.keys()
    assert "tokenizer_file" in json.loads((folder / "tokenizer_config.json").read_text()), "the model's own file stays as it was"
    with pytest.raises(CorruptDataError, match="outside its folder"):
        check_base(folder)


# ---- checkpoints ---------------------------------------------------------------------------------------------------------


STATE_LIES: list[tuple[str, Any]] = [
    ("step", "2"),
    ("step", -1),
    ("step", True),
    ("step", 2.5),
    ("step", None),
    ("layout", 99),
    ("layout", "1" * 10_000),
    ("groups", {}),
    ("groups", [[]]),
    ("groups", [{}]),
    ("groups", [{"betas": 3, "params": []}]),
    ("groups", [{"betas": ["a", "b"], "params": []}]),
    ("groups", [{"betas": [0.9, 0.9], "params": [1]}]),
    ("scheduler", []),
    ("scheduler", "cosine"),
    ("scaler", 3),
    ("rng", None),
    ("rng", {"python": {}, "numpy": {}}),
    ("trainer_state", []),
    ("trainer_state", {"__class__": "os.system"}),
    ("metrics", {"tokens": "many"}),
    ("metrics", {"tokens": -1}),
    ("metrics", {"more": 1}),
    ("more", 1),
]


@pytest.mark.parametrize(("key", "value"), STATE_LIES, ids=lambda value: str(value)[:30])
def test_a_checkpoints_state_of_wrong_types_is_refused(key: str, value: Any, snapshot: Path, tmp_path: Path) -> None:
    from gswarm.training import codec

    spoiled = Path(shutil.copytree(snapshot, tmp_path / "checkpoint"))
    change(spoiled / codec.STATE_FILE, **{key: value})
    with pytest.raises(CorruptDataError):
        codec.read(spoiled)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"layout": NaN}', '{"layout": 1, "step": Infinity}', "[" * 100_000, "\udcff"], ids=ascii
)
def test_a_checkpoints_state_that_is_none_is_refused(text: str, snapshot: Path, tmp_path: Path) -> None:
    from gswarm.training import codec

    spoiled = Path(shutil.copytree(snapshot, tmp_path / "checkpoint"))
    (spoiled / codec.STATE_FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptDataError):
        codec.read(spoiled)


def test_infinite_numbers_in_a_checkpoints_state_are_refused(snapshot: Path, tmp_path: Path) -> None:
    from gswarm.training import codec

    spoiled = Path(shutil.copytree(snapshot, tmp_path / "checkpoint"))
    state = json.loads((spoiled / codec.STATE_FILE).read_text())
    state["groups"][0]["lr"] = float("nan")
    (spoiled / codec.STATE_FILE).write_text(json.dumps(state))
    with pytest.raises(CorruptDataError, match="NaN"):
        codec.read(spoiled)


def test_a_checkpoints_tensors_that_lie_are_refused(snapshot: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from gswarm.training import codec

    def refused(change_files: Callable[[Path], None]) -> None:
        shutil.rmtree(tmp_path / "checkpoint", ignore_errors=True)
        spoiled = Path(shutil.copytree(snapshot, tmp_path / "checkpoint"))
        change_files(spoiled)
        with pytest.raises(CorruptDataError):
            codec.read(spoiled)

    def torn(spoiled: Path) -> None:
        os.truncate(spoiled / codec.WEIGHTS_FILE, (spoiled / codec.WEIGHTS_FILE).stat().st_size - 1)

    def overlapping(spoiled: Path) -> None:
        data = (spoiled / codec.OPTIMIZER_FILE).read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        first, second, *_ = (entry for name, entry in header.items() if name != "__metadata__" and entry["shape"])
        second["data_offsets"] = first["data_offsets"]
        text = json.dumps(header).encode()
        (spoiled / codec.OPTIMIZER_FILE).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

    def random_state(**tensors: torch.Tensor) -> Callable[[Path], None]:
        return lambda spoiled: save_file(load_file(spoiled / codec.RNG_FILE) | tensors, spoiled / codec.RNG_FILE)

    refused(torn)
    refused(overlapping)
    refused(lambda spoiled: (spoiled / codec.RNG_FILE).unlink())
    refused(lambda spoiled: (spoiled / codec.WEIGHTS_FILE).unlink() or os.mkfifo(spoiled / codec.WEIGHTS_FILE))  # type: ignore[func-returns-value]
    refused(random_state(python=torch.zeros(3, dtype=torch.int64)))
    refused(random_state(python=torch.full((625,), -1)))
    refused(random_state(numpy=torch.zeros(624, dtype=torch.float32)))
    refused(random_state(torch_cpu=torch.zeros(5, dtype=torch.uint8)))


def test_weights_of_another_type_or_shape_are_refused_when_a_run_continues(
    new_case: Callable[..., Case], snapshot: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from gswarm.training import codec
    from gswarm.training.build import Workshop

    case = new_case()
    trainer = Workshop("cpu").build(
        case.spec, base_dir=case.base_dir, data_dir=case.data_dir, total_steps=case.total_steps, output_dir=tmp_path / "trainer"
    )
    checkpoint = codec.read(snapshot)
    codec.check_fits(checkpoint, trainer)
    name, weight = next(iter(checkpoint.weights.items()))
    for wrong in ({name: weight.double()}, {name: weight[:1]}, {"more": weight}):
        with pytest.raises(InvalidInputError):
            codec.check_fits(replace(checkpoint, weights=checkpoint.weights | wrong), trainer)
    key, moment = next((key, moment) for key, moment in checkpoint.optimizer.items() if moment.dim())
    with pytest.raises(CorruptDataError):
        codec.check_fits(replace(checkpoint, optimizer={key: moment[:1]}), trainer)
