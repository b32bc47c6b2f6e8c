"""Tokenizes a data set once: rows in, a folder of token ids and labels out, the same bytes for the same input.

What is learned: of a chat every assistant turn with its end-of-turn tokens; of prompt-completion rows the completion; of text all of it.
``train_on_prompt`` learns every token. The mask is computed from the rendered text: the template is applied to the turns before an
assistant turn (with the generation prompt) and up to it, and the tokens between both ends are the turn. A template that renders turns
differently once they are past (some drop the reasoning) has only the last turn learned, from where rendered prompt and whole differ.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, assert_never

from gswarm.datapool.layout import open_regular
from gswarm.domain.errors import CorruptDataError, InvalidInputError
from gswarm.domain.spec import RunSpec
from gswarm.training.formats import Chat, Example, Text, parse_row
from gswarm.training.sources import read_rows
from gswarm.training.templates import render

LAYOUT_VERSION = 1
IGNORED = -100
"""The label of a token that is not learned."""
BATCH_ROWS = 1000

TokenRow = tuple[list[int], list[int]]
"""(input ids, labels) of one row, equally long."""


@dataclass(frozen=True, slots=True)
class DataMeta:
    """``meta.json`` of a prepared data set. It names no source: equal rows have equal bytes wherever they came from."""

    layout: int
    train_rows: int
    eval_rows: int
    dropped_rows: int
    """Rows of which ``cutoff_len`` left nothing to learn."""
    truncated_rows: int
    tokens: int
    """Of the training rows."""
    longest_row_tokens: int


def data_key(spec: RunSpec) -> tuple[object, ...]:
    """Specs with equal keys and equal tokenizers have the same prepared data."""
    seed = spec.seed if spec.eval_dataset is None and spec.val_size > 0 else None
    where = (spec.dataset, spec.eval_dataset, spec.val_size, spec.max_samples, seed)
    return (*where, spec.template, spec.cutoff_len, spec.train_on_prompt)


def prepare_data(spec: RunSpec, tokenizer: Any, out_dir: Path, work_dir: Path) -> DataMeta:
    """Reads, checks, splits and tokenizes the spec's data set into ``out_dir``.

    Raises:
        NotFoundError: the data set is not there.
        InvalidInputError: a row has the wrong shape (with its number), the tokenizer has no chat template, nothing is left to train on.
    """
    if spec.template != "auto":
        raise InvalidInputError(f"the template {spec.template!r} is not known", "use template: auto (the tokenizer's own)")
    train, held_out = _split(spec, work_dir)
    train_tokens, train_dropped, train_cut = _tokenize_all(train, tokenizer, spec)
    eval_tokens, eval_dropped, eval_cut = _tokenize_all(held_out, tokenizer, spec)
    if not train_tokens:
        raise InvalidInputError(
            f"dataset {spec.dataset}: none of {len(train)} training rows has anything to learn within {spec.cutoff_len} tokens",
            "raise cutoff_len, or check the data",
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    _write_rows(out_dir / "train.arrow", train_tokens)
    if eval_tokens:
        _write_rows(out_dir / "eval.arrow", eval_tokens)
    meta = DataMeta(
        layout=LAYOUT_VERSION,
        train_rows=len(train_tokens),
        eval_rows=len(eval_tokens),
        dropped_rows=train_dropped + eval_dropped,
        truncated_rows=train_cut + eval_cut,
        tokens=sum(len(ids) for ids, _ in train_tokens),
        longest_row_tokens=max(len(ids) for ids, _ in (*train_tokens, *eval_tokens)),
    )
    (out_dir / "meta.json").write_text(json.dumps(asdict(meta), sort_keys=True, indent=1) + "\n")
    return meta


def read_meta(data_dir: Path) -> DataMeta:
    """Raises CorruptDataError when the folder is no prepared data set of this layout."""
    try:
        meta = DataMeta(**json.loads((data_dir / "meta.json").read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CorruptDataError(f"{data_dir} is no prepared data set: {error}") from error
    if meta.layout != LAYOUT_VERSION:
        raise CorruptDataError(f"the prepared data set has layout {meta.layout}, this version reads {LAYOUT_VERSION}", "prepare it again")
    return meta


def load_data(data_dir: Path) -> tuple[Any, Any | None]:
    """The training rows and the evaluation rows (or None) as memory-mapped ``datasets.Dataset`` with input_ids and labels.

    Raises:
        CorruptDataError: the folder is no prepared data set.
    """
    from datasets import Dataset

    read_meta(data_dir)
    train, held_out = data_dir / "train.arrow", data_dir / "eval.arrow"
    files = [train, held_out] if held_out.exists() else [train]
    for file in files:
        for _ in _batches(file):
            pass
    rows = [Dataset.from_file(str(file)) for file in files]
    return rows[0], rows[1] if len(rows) > 1 else None


def largest_token(data_dir: Path) -> int:
    """The largest token id in the prepared data."""
    import pyarrow.compute as pc

    return max(
        (pc.max(batch.column("input_ids").flatten()).as_py() or 0 for file in data_dir.glob("*.arrow") for batch in _batches(file)),
        default=0,
    )


def _batches(path: Path) -> Iterator[Any]:
    """Checks on the way that there are exactly the columns that ``prepare_data`` writes, and that no offset leads out of them.

    Other schemas make libraries decode what they name: files, addresses.

    Raises:
        CorruptDataError: it is something else.
    """
    import pyarrow as pa

    try:
        open_regular(path).close()
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            if not reader.schema.equals(_schema(), check_metadata=True):
                raise CorruptDataError(f"{path.name} of the prepared data has other columns", "prepare it again")
            for batch in reader:
                batch.validate(full=True)
                ids, labels = batch.columns
                if any(column.null_count or column.values.null_count for column in (ids, labels)) or not ids.offsets.equals(labels.offsets):
                    raise CorruptDataError(f"{path.name} of the prepared data has rows that are none", "prepare it again")
                yield batch
    except (pa.ArrowException, OSError, InvalidInputError) as error:
        raise CorruptDataError(f"{path.name} of the prepared data cannot be read: {error}", "prepare it again") from error


def tokenize(example: Example, tokenizer: Any, *, train_on_prompt: bool) -> TokenRow:
    """Token ids and labels of an example, not cut.

    Raises:
        InvalidInputError: a chat, and the tokenizer has no chat template.
    """
    match example:
        case Chat():
            text, spans = _render(example, tokenizer)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        case Text():
            completion = example.completion
            if tokenizer.eos_token and not completion.endswith(tokenizer.eos_token):
                completion += tokenizer.eos_token
            text = example.prompt + completion
            spans = [(len(example.prompt), len(text))]
            encoded = tokenizer(text, return_offsets_mapping=True)
        case _:
            assert_never(example)
    ids = list(encoded["input_ids"])
    if train_on_prompt:
        return ids, list(ids)
    return ids, [
        token if _learned(start, end, spans) else IGNORED for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]


def _learned(start: int, end: int, spans: Sequence[tuple[int, int]]) -> bool:
    """A token that reaches over a border (" 3" after a prompt that ends in a space) belongs to what is learned."""
    return end > start and any(start < last and end > first for first, last in spans)


def _render(chat: Chat, tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """The conversation by the tokenizer's template, and the parts of it (character ranges) that are learned."""
    messages = [{"role": role, "content": content} for role, content in chat.messages]
    whole = render(tokenizer, messages, prompt=False)
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant" and place >= chat.learn_from]
    spans: list[tuple[int, int]] = []
    for place in turns:
        before, through = render(tokenizer, messages[:place], prompt=True), render(tokenizer, messages[: place + 1], prompt=False)
        if not (whole.startswith(before) and whole.startswith(through)):
            last = render(tokenizer, messages[: turns[-1]], prompt=True)
            return whole, [(_common_length(last, whole), len(whole))]
        spans.append((len(before), len(through)))
    return whole, spans


def _common_length(first: str, second: str) -> int:
    """Characters that both texts begin with."""
    return next((place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def _split(spec: RunSpec, work_dir: Path) -> tuple[list[Example], list[Example]]:
    rows = _examples(spec.dataset, work_dir, spec.max_samples)
    if not rows:
        raise InvalidInputError(f"dataset {spec.dataset} has no rows", "check dataset")
    if spec.eval_dataset is not None:
        return rows, _examples(spec.eval_dataset, work_dir, spec.max_samples)
    if spec.val_size <= 0:
        return rows, []
    count = max(1, round(len(rows) * spec.val_size)) if spec.val_size < 1 else int(spec.val_size)
    if count >= len(rows):
        raise InvalidInputError(f"val_size takes {count} of {len(rows)} rows and leaves none to train on", "lower val_size")
    order = list(range(len(rows)))
    random.Random(spec.seed).shuffle(order)  # noqa: S311 - a reproducible split, no secret
    held_out = set(order[:count])
    train = [row for place, row in enumerate(rows) if place not in held_out]
    return train, [row for place, row in enumerate(rows) if place in held_out]


def _examples(name: str, work_dir: Path, limit: int | None) -> list[Example]:
    return [parse_row(row, name, number) for number, row in enumerate(read_rows(name, work_dir, limit), start=1)]


def _tokenize_all(examples: Iterable[Example], tokenizer: Any, spec: RunSpec) -> tuple[list[TokenRow], int, int]:
    """The rows that have something to learn, and how many were dropped and cut."""
    kept: list[TokenRow] = []
    dropped = cut = 0
    for example in examples:
        ids, labels = tokenize(example, tokenizer, train_on_prompt=spec.train_on_prompt)
        cut += len(ids) > spec.cutoff_len
        ids, labels = ids[: spec.cutoff_len], labels[: spec.cutoff_len]
        if any(label != IGNORED for label in labels[1:]):  # the first token has nothing to be predicted from
            kept.append((ids, labels))
        else:
            dropped += 1
    return kept, dropped, cut


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])


def _write_rows(path: Path, rows: Sequence[TokenRow]) -> None:
    import pyarrow as pa

    schema = _schema()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, len(rows), BATCH_ROWS):
            part = rows[start : start + BATCH_ROWS]
            columns = [pa.array([row[side] for row in part], type=schema.field(side).type) for side in (0, 1)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
