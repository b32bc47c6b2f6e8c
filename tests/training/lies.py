"""What tests about files from outside share: a pickle that shows when it runs, and models to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gswarm.domain.spec import RunSpec


class Canary:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def change(path: Path, **values: object) -> None:
    """Sets keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spec_of(folder: Path, root: Path, **keys: Any) -> RunSpec:
    return RunSpec(model_name_or_path=str(folder), dataset=str(root / "chat.jsonl"), per_device_train_batch_size=2, **keys)
