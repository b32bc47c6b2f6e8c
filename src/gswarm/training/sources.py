"""Reads the rows of a data set that an experiment names: a file, a folder, ``pypi:PACKAGE`` or a hub id."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gswarm.datapool.layout import open_regular, within
from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.search.yaml_file import load_yaml
from gswarm.training.packages import PREFIX, package_files
from gswarm.training.presence import DATASET_SUFFIXES, check_dataset_path

HUB_SPLIT = "train"
HUB_FORMATS = ("parquet", "json", "csv", "text", "arrow")
"""Of hub data sets; the others need decoders of their own."""
LINE_CHARS_MAX = 64 * 1024 * 1024
"""Of a row in a JSON-lines file."""
BATCH_ROWS = 1000


def read_rows(name: str, work_dir: Path, limit: int | None = None) -> list[object]:
    """The rows of the data set in order, unchecked; at most ``limit``.

    Raises:
        NotFoundError: there is no such file, package or hub data set, or the hub cannot be reached.
        InvalidInputError: the file cannot be read as what its name says, is a pipe or device, or a link out of the folder that was named.
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
        return (row for file in files for row in _file_rows(within(file, path)))
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
                with _text(path, newline="") as file:
                    yield from csv.DictReader(file)
            case ".parquet" | ".arrow":
                yield from _table_rows(path)
            case _:
                raise InvalidInputError(f"{path} is no data set file", f"use one of {', '.join(DATASET_SUFFIXES)}")
    except (ValueError, csv.Error, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}", "check the file's format and its name's ending") from error
    except OSError as error:  # a link that leads nowhere, no right to read
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", "check the path and the rights of the client's account"
        ) from error


def _json_rows(path: Path) -> Iterator[object]:
    """A JSON list, or one JSON value a line; the first character tells."""
    with _text(path, encoding="utf-8-sig") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start == "[":
            yield from json.load(file)
            return
        for number, line in enumerate(iter(lambda: file.readline(LINE_CHARS_MAX + 1), ""), start=1):
            if len(line) > LINE_CHARS_MAX:
                raise ValueError(f"line {number} has more than {LINE_CHARS_MAX} characters")
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} is not JSON ({error})") from error


def _table_rows(path: Path) -> Iterator[object]:
    """Batch by batch, so that ``max_samples`` also bounds what is unpacked. Offsets are checked before a value is looked at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    open_regular(path).close()
    try:
        with pa.memory_map(str(path)) as source:
            for batch in pq.ParquetFile(source).iter_batches(BATCH_ROWS) if path.suffix == ".parquet" else _arrow_batches(source):
                batch.validate(full=True)
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield from batch.slice(start, BATCH_ROWS).to_pylist()
    except pa.ArrowException as error:
        if isinstance(error, MemoryError):
            raise
        raise ValueError(" ".join(str(error).split())[:300]) from error


def _arrow_batches(source: Any) -> Iterator[Any]:
    """Of an IPC file or stream. Values of extension types stay what they are stored as: no code makes objects of them."""
    import pyarrow as pa

    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        yield from pa.ipc.open_stream(source)
        return
    yield from (file.get_batch(number) for number in range(file.num_record_batches))


def _text(path: Path, *, newline: str | None = None, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(path), encoding=encoding, newline=newline)


def _corpus_rows(name: str, work_dir: Path) -> Iterator[object]:
    """Conversations of a chatterbot corpus: YAML files with lists of alternating lines. English ones, where there are languages."""
    files = package_files(name.removeprefix(PREFIX), (".yml", ".yaml"), work_dir)
    files = [file for file in files if "english" in file.parts] or files
    for file in files:
        content = load_yaml(file.read_bytes())
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
        builder = datasets.load_dataset_builder(name)
        kind = type(builder).__module__.rpartition(".")[2]
        if kind in HUB_FORMATS:
            builder.download_and_prepare()
            return iter(builder.as_dataset(split=HUB_SPLIT))
    except Exception as error:  # the hub client raises dozens of types; all mean that the data set is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotFoundError(f"the data set {name} is no file here and not on the hub: {reason}", "check dataset") from error
    raise InvalidInputError(f"the data set {name} is in the format {kind}", f"use one in {', '.join(HUB_FORMATS)}")
