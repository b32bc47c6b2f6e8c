"""Reads the rows of a data set that an experiment names: a file, a folder, ``pypi:PACKAGE`` or a hub id."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import yaml

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.training.packages import PREFIX, package_files
from gswarm.training.presence import DATASET_SUFFIXES, check_dataset_path

HUB_SPLIT = "train"


def read_rows(name: str, work_dir: Path, limit: int | None = None) -> list[object]:
    """The rows of the data set in order, unchecked; at most ``limit``.

    Raises:
        NotFoundError: there is no such file, package or hub data set, or the hub cannot be reached.
        InvalidInputError: the file cannot be read as what its name says.
    """
    return list(islice(_rows(name, work_dir), limit))


def _rows(name: str, work_dir: Path) -> Iterator[object]:
    if name.startswith(PREFIX):
        return _corpus_rows(name, work_dir)
    path = Path(name).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in DATASET_SUFFIXES)
        if not files:
            raise NotFoundError(f"the folder {name} has no {', '.join(DATASET_SUFFIXES)} file", "name a file or another folder")
        return (row for file in files for row in _file_rows(file))
    if path.exists():
        return _file_rows(path)
    check_dataset_path(name)
    return _hub_rows(name)


def _file_rows(path: Path) -> Iterator[object]:
    try:
        match path.suffix:
            case ".json" | ".jsonl":
                yield from _json_rows(path)
            case ".csv":
                with path.open(newline="", encoding="utf-8") as file:
                    yield from csv.DictReader(file)
            case ".parquet" | ".arrow":
                yield from _table_rows(path)
            case _:
                raise InvalidInputError(f"{path} is no data set file", f"use one of {', '.join(DATASET_SUFFIXES)}")
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}", "check the file's format and its name's ending") from error


def _json_rows(path: Path) -> Iterator[object]:
    """A JSON list, or one JSON value a line; the first character tells."""
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start == "[":
            yield from json.load(file)
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} is not JSON ({error})") from error


def _table_rows(path: Path) -> Iterator[object]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        with pa.memory_map(str(path)) as source:
            try:
                table = pa.ipc.open_file(source).read_all()
            except pa.ArrowInvalid:
                source.seek(0)
                table = pa.ipc.open_stream(source).read_all()
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def _corpus_rows(name: str, work_dir: Path) -> Iterator[object]:
    """Conversations of a chatterbot corpus: YAML files with lists of alternating lines. English ones, where there are languages."""
    files = package_files(name.removeprefix(PREFIX), (".yml", ".yaml"), work_dir)
    files = [file for file in files if "english" in file.parts] or files
    for file in files:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        conversations = content.get("conversations") if isinstance(content, dict) else None
        for lines in conversations or ():
            texts = [str(line) for line in lines if isinstance(line, str | int | float) and str(line).strip()]
            texts = texts[: len(texts) // 2 * 2]  # a question without an answer teaches nothing
            if texts:
                turns = [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]
                yield {"messages": turns}


def _hub_rows(name: str) -> Iterator[object]:
    if os.environ.get("HF_HUB_OFFLINE", "") in {"1", "ON", "YES", "TRUE"}:
        raise NotFoundError(
            f"the data set {name} is no file here, and HF_HUB_OFFLINE forbids asking the hub", "give a path, or unset HF_HUB_OFFLINE"
        )
    import datasets

    try:
        rows = datasets.load_dataset(name, split=HUB_SPLIT)
    except Exception as error:  # the hub client raises dozens of types; all mean that the data set is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotFoundError(f"the data set {name} is no file here and not on the hub: {reason}", "check dataset") from error
    return iter(rows)
