"""Whether the models and data sets that runs name as paths are there at all: what can be told before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gswarm.domain.errors import NotFoundError
from gswarm.domain.spec import RunSpec
from gswarm.training.packages import PREFIX

MODEL_SUFFIXES = (".gguf",)
DATASET_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet", ".arrow")


def check_present(specs: Iterable[RunSpec]) -> None:
    """Raises NotFoundError for the first path that is not there. Hub ids and packages are asked for later."""
    named = ((spec.model_name_or_path, spec.dataset, spec.eval_dataset) for spec in specs)
    for model, dataset, eval_dataset in dict.fromkeys(named):
        check_model_path(model)
        for name in (dataset, eval_dataset):
            if name is not None:
                check_dataset_path(name)


def check_model_path(name: str) -> None:
    if _is_missing(name, MODEL_SUFFIXES):
        raise NotFoundError(f"there is no model folder {name}", "check model_name_or_path; it is looked for on that client")


def check_dataset_path(name: str) -> None:
    if _is_missing(name, DATASET_SUFFIXES):
        raise NotFoundError(f"there is no data set file {name}", "check dataset; it is looked for on that client")


def _is_missing(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether ``name`` can only be a path, and nothing is there. ``user/name`` may be a hub id."""
    if name.startswith(PREFIX):
        return False
    path = Path(name).expanduser()
    is_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.suffix in suffixes
    return is_path and not path.exists()
