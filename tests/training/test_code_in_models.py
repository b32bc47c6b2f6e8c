"""Code that travels with files, as pickles or as a model's own Python: the one never runs, the other only with consent."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Case, InProcess
from lies import Canary, change, spec_of

from gswarm.domain.errors import CorruptDataError, GswarmError, InvalidInputError
from gswarm.domain.spec import FinetuningType
from gswarm.training.job_types import ExportRequest, PrepareRequest
from gswarm.training.protocol import RangeFailed

pytestmark = pytest.mark.train

# ---- pickles -------------------------------------------------------------------------------------------------------------

PICKLED_NAMES = (
    *("pytorch_model.bin", "pytorch_model-00001-of-00001.bin", "model.pt", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth"),
    *(
        "training_args.bin",
        "adapter_model.bin",
        "tokenizer.pkl",
        "vocab.pkl",
        "model.ckpt",
        "consolidated.00.pth",
        "data.npy",
        "tf_model.h5",
    ),
)


def test_pickles_beside_a_model_stay_behind_and_never_run(
    folder: Path, root: Path, tmp_path: Path, new_case: Callable[..., Case], here: InProcess
) -> None:
    """Prepared, trained and exported from a folder that is full of them."""
    import torch

    from gswarm.training.base_files import check_base
    from gswarm.training.jobs import export, prepare

    canary = tmp_path / "canary"
    for name in PICKLED_NAMES:
        torch.save({"state": Canary(canary)}, folder / name)
    change_or_write = {
        "base_model_name_or_path": "/",
        "peft_type": "LORA",
        "auto_mapping": {"base_model_class": "X", "parent_library": "os"},
    }
    (folder / "adapter_config.json").write_text(json.dumps(change_or_write))
    (folder / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')")
    spec = spec_of(folder, root, num_train_epochs=1.0)
    run = prepare(PrepareRequest((spec,), str(tmp_path / "out"))).runs[0]
    assert not {path.name for path in Path(run.base_dir).iterdir()} & {*PICKLED_NAMES, "adapter_config.json", "modeling_evil.py"}
    case = Case(spec, Path(run.base_dir), Path(run.data_dir), run.total_steps, run.steps_per_epoch)
    here.send(case.range("pickles", 1, 0, 2, tmp_path / "snapshot"))
    snapshot = Path(here.trained("pickles", 1).snapshot_dir)
    torch.save(Canary(canary), snapshot / "optimizer.pt")
    torch.save(Canary(canary), snapshot / "rng_state.pth")
    export(ExportRequest(spec, run.base_dir, str(snapshot), "merged", str(tmp_path / "merged")))
    with pytest.raises(CorruptDataError, match="that none needs"):
        check_base(folder)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists(), "the canary works"


def test_pickles_under_the_names_of_other_files_never_run(folder: Path, root: Path, tmp_path: Path, snapshot: Path) -> None:
    import torch

    from gswarm.training import codec
    from gswarm.training.base import resolve_base
    from gswarm.training.jobs import prepare

    canary = tmp_path / "canary"
    plain = pickle.dumps(Canary(canary))
    torch.save(Canary(canary), tmp_path / "saved")
    for content in (plain, (tmp_path / "saved").read_bytes()):
        for file in sorted(path.name for path in folder.iterdir()):
            spoiled = Path(shutil.copytree(folder, tmp_path / "spoiled", dirs_exist_ok=True))
            (spoiled / file).write_bytes(content)
            if file in ("chat_template.jinja", "generation_config.json"):
                with contextlib.suppress(GswarmError):
                    prepare(PrepareRequest((spec_of(spoiled, root),), str(tmp_path / "out")))
            else:
                with pytest.raises(GswarmError):
                    prepare(PrepareRequest((spec_of(spoiled, root),), str(tmp_path / "out")))
            shutil.rmtree(tmp_path / "out")
        for file in sorted(path.name for path in snapshot.iterdir()):
            spoiled = Path(shutil.copytree(snapshot, tmp_path / "checkpoint", dirs_exist_ok=True))
            (spoiled / file).write_bytes(content)
            with pytest.raises(CorruptDataError):
                codec.read(spoiled)
        (tmp_path / "evil.gguf").write_bytes(content)
        with pytest.raises(CorruptDataError):
            resolve_base(str(tmp_path / "evil.gguf"), tmp_path / "out", tmp_path / "work")
        shutil.rmtree(tmp_path / "out")
    assert not canary.exists()


# ---- code that comes with a model ----------------------------------------------------------------------------------------

CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

Path({canary!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that needs its own code, which leaves a trace when it runs."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    (folder / "modeling_own.py").write_text(CODE.format(canary=str(tmp_path / "canary")))
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    change(folder / "config.json", model_type="own-llama", architectures=["OwnForCausalLM"], auto_map=auto_map)
    return folder


def test_a_models_own_code_runs_only_with_consent_to_exactly_this_code(own: Path, root: Path, tmp_path: Path, here: InProcess) -> None:
    from gswarm.training.base_files import check_base, code_digest
    from gswarm.training.build import Workshop
    from gswarm.training.jobs import export, prepare

    digest = code_digest(own)
    spec = spec_of(own, root, finetuning_type=FinetuningType.FULL)
    for consent in ((), ("0" * 64,)):
        with pytest.raises(InvalidInputError, match=f"no admin has consented to it: {digest}.*host.trusted_code"):
            prepare(PrepareRequest((spec,), str(tmp_path / f"out-{len(consent)}"), consent))
    assert not (tmp_path / "canary").exists()

    run = prepare(PrepareRequest((spec,), str(tmp_path / "out"), (digest,))).runs[0]
    assert (tmp_path / "canary").exists()
    base = Path(run.base_dir)
    with pytest.raises(InvalidInputError, match="no admin has consented"):
        Workshop("cpu").fresh_base(spec, base)
    with pytest.raises(InvalidInputError, match="no admin has consented"):
        Workshop("cpu").tokenizer(base)
    case = Case(spec, base, Path(run.data_dir), run.total_steps, run.steps_per_epoch)
    here.send(case.range("own", 1, 0, 1, tmp_path / "refused"))
    assert "no admin has consented" in here.wait(RangeFailed).failure.message
    here.send(case.range("own", 2, 0, 2, tmp_path / "snapshot", trusted_code=(digest,)))
    trained = here.trained("own", 2)
    result = export(ExportRequest(spec, str(base), trained.snapshot_dir, "merged", str(tmp_path / "merged"), (digest,)))
    assert "modeling_own.py" in result.files
    assert check_base(tmp_path / "merged", (digest,))

    (own / "modeling_own.py").write_text((own / "modeling_own.py").read_text() + "\n")
    with pytest.raises(InvalidInputError, match="no admin has consented"):
        check_base(own, (digest,))


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "evil/repository--modeling_own.OwnConfig"}),
        ("config.json", {"AutoConfig": "../modeling_own.OwnConfig"}),
        ("config.json", {"AutoConfig": "missing.OwnConfig"}),
        ("config.json", {}),
        ("config.json", "modeling_own"),
        ("config.json", 3),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "evil/repository--tokenization_own.Own"]}),
        ("tokenizer_config.json", ["missing.Own", None]),
        ("generation_config.json", {"x": {"y": 1}}),
    ],
    ids=str,
)
def test_code_from_elsewhere_is_refused_whatever_was_consented_to(file: str, auto_map: Any, own: Path, tmp_path: Path) -> None:
    from gswarm.training.base import resolve_base
    from gswarm.training.base_files import code_digest

    change(own / file, auto_map=auto_map)
    with pytest.raises(InvalidInputError, match="auto_map"):
        resolve_base(str(own), tmp_path / "out", tmp_path / "work", (code_digest(own),))
    assert not (tmp_path / "canary").exists()


def test_code_in_a_tokenizer_needs_consent_as_well(folder: Path, tmp_path: Path) -> None:
    from gswarm.training.build import Workshop

    (folder / "tokenization_own.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    change(folder / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": [None, "tokenization_own.Own"]})
    with pytest.raises(InvalidInputError, match="no admin has consented"):
        Workshop("cpu").tokenizer(folder)
    assert not (tmp_path / "canary").exists()
