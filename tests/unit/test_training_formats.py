"""Rows of every format, and what is said about rows that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gswarm.domain.errors import InvalidInputError, NotFoundError
from gswarm.training.formats import Chat, Text, parse_row
from gswarm.training.sources import read_rows

ASKED = (("user", "q"), ("assistant", "a"))


@pytest.mark.parametrize(
    ("row", "example"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, Chat(ASKED)),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, Chat(ASKED)),
        (
            {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            Chat((("system", "s"), *ASKED)),
        ),
        ({"instruction": "q", "input": "", "output": "a"}, Chat(ASKED)),
        ({"instruction": "q", "input": "i", "output": "a"}, Chat((("user", "q\ni"), ("assistant", "a")))),
        ({"instruction": "q", "output": "a", "history": [["q", "a"]]}, Chat(ASKED + ASKED)),
        ({"prompt": "p", "completion": "c"}, Text("p", "c")),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}, Chat(ASKED, 1)),
        ({"text": "t", "messages": None}, Text("", "t")),
    ],
)
def test_each_format_is_known_by_its_columns(row: dict[str, Any], example: object) -> None:
    assert parse_row(row, "d", 1) == example


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["a"], "expected an object, found a list of 1"),
        ({"foo": 1}, "found the columns foo"),
        ({"messages": "hello"}, "messages must be a list of turns, found the text 'hello'"),
        ({"messages": [{"role": "user"}]}, "turn 1 of messages must have role and content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({"messages": [{"role": "user", "content": 3}]}, "must be text, found the value 3"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant turn"),
        ({"instruction": "q"}, "output must be text, found nothing"),
        ({"prompt": "p"}, "prompt must be a list of turns"),
    ],
)
def test_a_row_of_the_wrong_shape_is_named_with_its_number(row: object, said: str) -> None:
    with pytest.raises(InvalidInputError, match="dataset sums, row 7: ") as caught:
        parse_row(row, "sums", 7)
    assert said in caught.value.message


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "p1", "completion": "c1"}, {"prompt": "p2", "completion": "c, 2"}]
    table = pa.Table.from_pylist(rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "c.csv").write_text('prompt,completion\np1,c1\np2,"c, 2"\n')
    pq.write_table(table, tmp_path / "d.parquet")
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for path in sorted(tmp_path.iterdir()):
        assert read_rows(str(path), tmp_path) == rows, path
        assert read_rows(str(path), tmp_path, limit=1) == rows[:1], path


def test_an_installed_corpus_is_read_as_conversations(tmp_path: Path) -> None:
    rows = read_rows("pypi:chatterbot-corpus", tmp_path, limit=50)
    assert len(rows) == 50
    for number, row in enumerate(rows, start=1):
        example = parse_row(row, "corpus", number)
        assert isinstance(example, Chat)
        assert [role for role, _ in example.messages] == ["user", "assistant"] * (len(example.messages) // 2)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "t"}\n{oops\n')
    with pytest.raises(InvalidInputError, match="line 2 is not JSON"):
        read_rows(str(tmp_path / "bad.jsonl"), tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_rows(str(tmp_path / "bad.parquet"), tmp_path)
    with pytest.raises(NotFoundError, match="no data set file"):
        read_rows(str(tmp_path / "missing.csv"), tmp_path)


def test_the_hub_is_not_asked_when_it_may_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError, match="HF_HUB_OFFLINE"):
        read_rows("somebody/some-data", tmp_path)
