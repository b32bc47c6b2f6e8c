"""Tiny models and trainers shared by the tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import tiny
from harness import Case, InProcess, Spawned, make_case

from gswarm.domain.spec import RunSpec

ROWS = 41
"""Less four for evaluation: 37 rows, which neither batches of 2 nor steps of 6 divide."""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    tiny.write_dataset(folder / "chat.jsonl", ROWS)
    return folder


@pytest.fixture(scope="session")
def new_case(root: Path) -> Callable[..., Case]:
    """Makes a case of a model family with the given keys of the spec."""
    made = 0

    def make(family: str = "llama", **keys: object) -> Case:
        nonlocal made
        made += 1
        base = root / f"model-{family}"
        if not base.exists():
            tiny.write_model(base, family)
        defaults: dict[str, object] = {"val_size": 4, "per_device_train_batch_size": 2, "learning_rate": 3e-3, "num_train_epochs": 2.0}
        spec = RunSpec(model_name_or_path=str(base), dataset=str(root / "chat.jsonl"), **(defaults | keys))  # type: ignore[arg-type]
        return make_case(spec, base, root / f"data-{made}")

    return make


@pytest.fixture(scope="session")
def here() -> Iterator[InProcess]:
    trainer = InProcess()
    yield trainer
    trainer.close()


@pytest.fixture(scope="session")
def there() -> Iterator[Spawned]:
    trainer = Spawned()
    yield trainer
    trainer.close()


@pytest.fixture(scope="session")
def whole_model(root: Path) -> Path:
    return tiny.write_model(root / "whole-model")


@pytest.fixture
def folder(whole_model: Path, tmp_path: Path) -> Path:
    """A copy of a model to spoil."""
    return Path(shutil.copytree(whole_model, tmp_path / "model"))


@pytest.fixture(scope="session")
def snapshot(new_case: Callable[..., Case], here: InProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at step 2 of a case with default keys. Not to be changed: copy it."""
    case = new_case()
    here.send(case.range("snapshot", 1, 0, 2, tmp_path_factory.mktemp("snapshot")))
    return Path(here.trained("snapshot", 1).snapshot_dir)
