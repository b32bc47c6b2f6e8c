"""Prepare, verify and export as the client asks for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from harness import TIMEOUT_S, Case, InProcess, trainer_env

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.domain.plan import Failure
from gswarm.domain.spec import FinetuningType, RunSpec
from gswarm.training.job_types import (
    ExportRequest,
    PrepareRequest,
    PrepareResult,
    VerifyRequest,
    decode_response,
    encode_request,
)

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def spec(root: Path) -> RunSpec:
    model = root / "jobs-model"
    tiny.write_model(model)
    return RunSpec(model_name_or_path=str(model), dataset=str(root / "chat.jsonl"), val_size=0.1, per_device_train_batch_size=2)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_prepare_does_equal_work_once_and_gives_the_same_bytes_again(spec: RunSpec, tmp_path: Path) -> None:
    from gswarm.training.jobs import prepare

    runs = (spec, replace(spec, learning_rate=1e-3, lora_rank=4), replace(spec, cutoff_len=24))
    first = prepare(PrepareRequest(runs, str(tmp_path / "a"))).runs
    assert first[0].data_dir == first[1].data_dir != first[2].data_dir
    assert len({run.base_dir for run in first}) == 1
    assert (first[0].train_rows, first[0].eval_rows, first[0].steps_per_epoch, first[0].total_steps) == (37, 4, 19, 57)
    assert first[2].dropped_rows + first[2].train_rows + first[2].eval_rows == 41
    second = prepare(PrepareRequest(runs, str(tmp_path / "b"))).runs
    assert bytes_of(Path(first[0].data_dir)) == bytes_of(Path(second[0].data_dir))
    assert bytes_of(Path(first[0].base_dir)) == bytes_of(Path(second[0].base_dir))


def test_rows_beyond_learned_positions_are_refused_before_they_break_a_device(root: Path, tmp_path: Path) -> None:
    from gswarm.training.jobs import prepare

    rows = [{"prompt": "count: ", "completion": " ".join(map(str, range(500)))}, {"prompt": "a ", "completion": "b"}]
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for family in ("gpt2", "llama"):
        tiny.write_model(tmp_path / family, family)
    spec = RunSpec(model_name_or_path=str(tmp_path / "gpt2"), dataset=str(tmp_path / "long.jsonl"))
    with pytest.raises(InvalidInputError, match="set cutoff_len: 256"):
        prepare(PrepareRequest((spec,), str(tmp_path / "a")))
    cut, computed = replace(spec, cutoff_len=256), replace(spec, model_name_or_path=str(tmp_path / "llama"))
    assert len(prepare(PrepareRequest((cut, computed), str(tmp_path / "b"))).runs) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_name_or_path": "/nowhere/model"}, "/nowhere/model"),
        ({"model_name_or_path": "nobody/no-such-model"}, "nobody/no-such-model"),
        ({"model_name_or_path": "pypi:chatterbot-corpus"}, "chatterbot-corpus"),
        ({"dataset": "/nowhere/data.jsonl"}, "/nowhere/data.jsonl"),
        ({"dataset": "nobody/no-such-data"}, "nobody/no-such-data"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_not_there_is_named(change: dict[str, str], said: str, spec: RunSpec, tmp_path: Path) -> None:
    from gswarm.training.jobs import prepare

    with pytest.raises(NotFoundError, match=said):
        prepare(PrepareRequest((replace(spec, **change),), str(tmp_path)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_target": ("no_such_proj",)}, "no_such_proj"),
        ({"lora_target": ("q_proj", "no_such_proj")}, "lora_target no_such_proj names no module"),
        ({"lora_target": ("all", "no_such_proj")}, "lora_target no_such_proj names no module"),
        ({"lora_target": ("lm_head",)}, "output layer"),
        ({"finetuning_type": FinetuningType.FREEZE}, "freeze"),
        ({"quantization_bit": 4}, "quantization_bit"),
        ({"packing": True}, "packing"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "reduce_lr_on_plateau"),
        ({"template": "nonsense"}, "nonsense"),
        ({"cutoff_len": 4}, "nothing|anything to learn"),
        ({"val_size": 41.0}, "leaves none"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_trained_is_refused_before_it_is_queued(change: dict[str, object], said: str, spec: RunSpec, tmp_path: Path) -> None:
    from gswarm.training.jobs import prepare

    with pytest.raises(InvalidInputError, match=said):
        prepare(PrepareRequest((replace(spec, **change),), str(tmp_path)))  # type: ignore[arg-type]


def test_models_that_are_no_clean_base_are_refused(spec: RunSpec, tmp_path: Path) -> None:
    from gswarm.training.base import resolve_base

    good = Path(spec.model_name_or_path)
    for number, (remove, add, said) in enumerate(
        [
            ("model.safetensors", ("pytorch_model.bin", "x"), "pytorch_model.bin"),
            ("config.json", ("adapter_config.json", "{}"), "adapter"),
            ("config.json", ("config.json", json.dumps({"auto_map": {}})), "auto_map"),
        ]
    ):
        folder = tmp_path / f"model-{number}"
        folder.mkdir()
        for path in good.iterdir():
            if path.name != remove:
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / add[0]).write_text(add[1])
        with pytest.raises(InvalidInputError, match=said):
            resolve_base(str(folder), tmp_path / f"out-{number}", tmp_path)


@pytest.fixture(scope="module")
def trained(new_case: Callable[..., Case], here: InProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, str, str]:
    """A case, its checkpoint at step 5 and the digest of the weights there."""
    case = new_case(lora_dropout=0.1, gradient_accumulation_steps=3)
    here.send(case.range("job", 1, 0, 5, tmp_path_factory.mktemp("job")))
    report = here.trained("job", 1)
    return case, report.snapshot_dir, report.weights_digest


def verify_request(case: Case, checkpoint: str, digest: str) -> VerifyRequest:
    return VerifyRequest(
        spec=case.spec,
        base_dir=str(case.base_dir),
        data_dir=str(case.data_dir),
        total_steps=case.total_steps,
        steps_per_epoch=case.steps_per_epoch,
        until_step=5,
        expected_weights_digest=digest,
        checkpoint_dir=checkpoint,
    )


def test_verify_says_identical_and_how_far_off_another_run_is(trained: tuple[Case, str, str]) -> None:
    from gswarm.training.jobs import verify

    case, checkpoint, digest = trained
    same = verify(verify_request(case, checkpoint, digest), "cpu")
    assert (same.identical, same.digest, same.max_abs_difference, same.steps) == (True, digest, 0.0, 5)
    other = replace(case, spec=replace(case.spec, learning_rate=1e-4))
    differs = verify(verify_request(other, checkpoint, digest), "cpu")
    assert not differs.identical
    assert differs.max_abs_difference > 1e-4


def test_an_exported_adapter_and_the_merged_model_answer_alike(trained: tuple[Case, str, str], tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gswarm.training.jobs import export

    case, checkpoint, _ = trained
    request = ExportRequest(case.spec, str(case.base_dir), checkpoint, "adapter", str(tmp_path / "adapter"))
    result = export(request)
    assert {"adapter_model.safetensors", "adapter_config.json"} <= set(result.files)
    export(replace(request, format="merged", out_dir=str(tmp_path / "merged")))
    base = AutoModelForCausalLM.from_pretrained(case.base_dir)
    ids = torch.tensor([[1, 20, 30, 40]])
    untrained = base(ids).logits
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
    assert torch.allclose(adapted, merged, atol=1e-5)
    assert not torch.allclose(adapted, untrained, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "adapter").chat_template
    with pytest.raises(InvalidInputError, match="gguf"):
        export(replace(request, format="gguf", out_dir=str(tmp_path / "gguf")))


def test_a_fully_trained_model_is_exported_whole(new_case: Callable[..., Case], here: InProcess, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from gswarm.training.build import trainable
    from gswarm.training.digest import weights_digest
    from gswarm.training.jobs import export

    case = new_case("qwen2", finetuning_type=FinetuningType.FULL)
    here.send(case.range("whole", 1, 0, 2, tmp_path / "snapshot"))
    report = here.trained("whole", 1)
    export(ExportRequest(case.spec, str(case.base_dir), report.snapshot_dir, "merged", str(tmp_path / "out")))
    assert weights_digest(trainable(AutoModelForCausalLM.from_pretrained(tmp_path / "out"))) == report.weights_digest
    assert load_file(tmp_path / "out" / "model.safetensors")


def test_the_job_process_answers_on_its_descriptor_whatever_happens(spec: RunSpec, tmp_path: Path) -> None:
    def ask(request: str) -> object:
        command = [sys.executable, "-m", "gswarm.training.jobs"]
        done = subprocess.run(command, input=request.encode(), capture_output=True, env=trainer_env(), timeout=TIMEOUT_S, check=True)
        assert ("MiB of memory" in done.stderr.decode()) == ("prepare" in request), "the job that reads what people name is bounded"
        return decode_response(done.stdout)

    answer = ask(encode_request(PrepareRequest((spec,), str(tmp_path / "out"))))
    assert isinstance(answer, PrepareResult)
    assert answer.runs[0].train_rows == 37
    refused = ask("{}")
    assert isinstance(refused, Failure)
    assert refused.code == "corrupt_data"
