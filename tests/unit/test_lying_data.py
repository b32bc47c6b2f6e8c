"""Data files and tensor files that lie about what they hold: a typed error, in bounded time and memory."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lies import Canary

from gswarm.domain.errors import CorruptDataError, InvalidInputError, NotFoundError
from gswarm.training import sources
from gswarm.training.bounds import processor_time
from gswarm.training.data import largest_token, load_data
from gswarm.training.headers import HEADER_BYTES_MAX, check_gguf, check_safetensors
from gswarm.training.sources import read_rows

pytestmark = pytest.mark.timeout(60)


# ---- rows ----------------------------------------------------------------------------------------------------------------


def test_json_that_nests_or_never_ends_a_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LINE_CHARS_MAX", 1000)
    for name, content in (
        ("deep.json", "[" * 200_000),
        ("deep.jsonl", '{"a":' * 200_000),
        ("line.jsonl", '{"text": "' + "x" * 2000),
        ("digits.jsonl", '{"text": ' + "9" * 900 + "e99999}\n{"),
        ("number.json", "[" + "9" * 5000 + "]"),
        ("bytes.jsonl", b'{"text": "\xff"}'),
        ("zeros.csv", b"a,b\n\0,\0\n" * 3 + b'"' + b"x" * 200_000),
        ("empty.parquet", b""),
        ("short.parquet", b"PAR1"),
        ("short.arrow", b"ARROW1\0\0"),
        ("liar.parquet", b"PAR1" + b"\xff" * 40 + b"\xff\xff\xff\x7fPAR1"),
    ):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InvalidInputError):
            read_rows(str(path), tmp_path)


def test_max_samples_bounds_what_a_table_bomb_unpacks(tmp_path: Path) -> None:
    """A few KiB that stand for gigabytes: only the rows that are asked for are made."""
    dictionary = pa.array(["x" * 100_000])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, dtype=np.int32)), dictionary)
    pq.write_table(pa.table({"text": column}), tmp_path / "bomb.parquet", row_group_size=1_000_000)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pa.OSFile(str(tmp_path / "bomb.arrow"), "wb") as sink, pa.ipc.new_stream(sink, pa.schema([("text", column.type)])) as writer:
        writer.write_batch(pa.record_batch([column], names=["text"]))
    for name in ("bomb.parquet", "bomb.arrow"):
        rows = read_rows(str(tmp_path / name), tmp_path, 3)
        assert [len(row["text"]) for row in rows if isinstance(row, dict)] == [100_000] * 3


def test_offsets_that_lead_out_of_a_table_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 1 << 30, 5], dtype=np.int32))
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"hello")])
    batch = pa.RecordBatch.from_arrays([column], ["text"])
    for opener, name in ((pa.ipc.new_stream, "stream.arrow"), (pa.ipc.new_file, "file.arrow")):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, opener(sink, batch.schema) as writer:
            writer.write_batch(batch)
        with pytest.raises(InvalidInputError):
            read_rows(str(tmp_path / name), tmp_path)


def test_pickles_in_a_data_set_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = pickle.dumps(Canary(canary))
    array = np.empty(1, dtype=object)
    array[0] = Canary(canary)
    for name in ("x.pkl", "x.pt", "x.bin", "x.json", "x.jsonl", "x.csv", "x.parquet", "x.arrow"):
        (tmp_path / name).write_bytes(pickled)
        with pytest.raises((InvalidInputError, NotFoundError)):
            read_rows(str(tmp_path / name), tmp_path)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InvalidInputError):
        read_rows(str(tmp_path / "x.npy"), tmp_path)
    # Arrow's own way to carry a pickle: an extension type whose description is one.
    field = pa.field(
        "text", pa.string(), metadata={b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled}
    )
    schema = pa.schema([field], metadata={b"pandas": pickled, b"huggingface": json.dumps({"info": {"features": {}}}).encode()})
    table = pa.table([pa.array(["hello"])], schema=schema)
    pq.write_table(table, tmp_path / "typed.parquet")
    with pa.OSFile(str(tmp_path / "typed.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    for name in ("typed.parquet", "typed.arrow"):
        assert read_rows(str(tmp_path / name), tmp_path) == [{"text": "hello"}]
    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists(), "the canary works"


def test_tags_in_a_corpus_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "evil.yml"
    monkeypatch.setattr(sources, "package_files", lambda *_: [corpus])
    bomb = "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8))
    for content in (
        f"conversations: [!!python/object/apply:os.system ['touch {tmp_path}/canary']]",
        f"conversations:\n- !!python/object/new:open ['{tmp_path}/canary', w]",
        bomb + "conversations: *i\n",
        "conversations: " + "[" * 1000,
    ):
        corpus.write_text(content)
        with pytest.raises(InvalidInputError):
            read_rows("pypi:evil", tmp_path)
    assert not (tmp_path / "canary").exists()


def test_a_hub_data_set_in_an_odd_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from datasets.packaged_modules.pandas.pandas import Pandas

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda _name: Pandas(cache_dir=str(tmp_path)))
    with pytest.raises(InvalidInputError, match="in the format pandas"):
        read_rows("nobody/pickles", tmp_path)


# ---- prepared data -------------------------------------------------------------------------------------------------------

SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
META = {"layout": 1, "train_rows": 1, "eval_rows": 0, "dropped_rows": 0, "truncated_rows": 0, "tokens": 2, "longest_row_tokens": 2}


def prepared(folder: Path, schema: pa.Schema, columns: list[Any]) -> Path:
    (folder / "meta.json").write_text(json.dumps(META))
    with pa.OSFile(str(folder / "train.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return folder


def lists(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.list_(pa.int32()))


def bad_lists() -> pa.Array:
    values = pa.array([1, 2], pa.int32())
    return pa.Array.from_buffers(pa.list_(pa.int32()), 2, [None, pa.py_buffer(np.array([0, 1 << 20, 2], np.int32))], children=[values])


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (SCHEMA, [lists([[1, 2]]), lists([[1]])]),
        (SCHEMA, [lists([[1, None]]), lists([[1, 2]])]),
        (SCHEMA, [lists([None]), lists([None])]),
        (SCHEMA, [bad_lists(), bad_lists()]),
        (SCHEMA.append(pa.field("image", pa.string())), [lists([[1]]), lists([[1]]), pa.array(["/etc/passwd"])]),
        (
            SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": {"input_ids": {"_type": "Image"}}}})}),
            [lists([[1]]), lists([[1]])],
        ),
        (pa.schema([("input_ids", pa.string()), ("labels", pa.string())]), [pa.array(["/etc/passwd"])] * 2),
    ],
    ids=["ragged", "null token", "null row", "offsets", "third column", "decoder", "types"],
)
def test_prepared_data_of_another_form_is_refused(schema: pa.Schema, columns: list[Any], tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError):
        load_data(prepared(tmp_path, schema, columns))


def test_prepared_data_that_is_whole_is_read(tmp_path: Path) -> None:
    folder = prepared(tmp_path, SCHEMA, [lists([[1, 7]]), lists([[-100, 7]])])
    train, held_out = load_data(folder)
    assert (train[0], held_out) == ({"input_ids": [1, 7], "labels": [-100, 7]}, None)
    assert largest_token(folder) == 7
    data = (folder / "train.arrow").read_bytes()
    for size in (0, 1, 8, len(data) // 2):
        (folder / "train.arrow").write_bytes(data[:size])
        with pytest.raises(CorruptDataError):
            load_data(folder)
    for meta in ("", "[]", "{}", "null", json.dumps(META | {"layout": 2}), json.dumps(META | {"more": 1})):
        (folder / "meta.json").write_text(meta)
        with pytest.raises(CorruptDataError):
            load_data(folder)


# ---- tensor files --------------------------------------------------------------------------------------------------------


def tensors(path: Path, header: bytes, data: bytes = b"", size_bytes: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if size_bytes is None else size_bytes) + header + data)
    return path


@pytest.mark.parametrize(
    ("header", "size_bytes"),
    [
        (b"{}", 1 << 63),
        (b"{}", 1 << 40),
        (b"{}", HEADER_BYTES_MAX + 1),
        (b"{}", 3),
        (b"", 8),
        (b"[]", None),
        (b"[" * 1_000_000, None),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', None),
        (b'{"a":{"dtype":"F32","dtype":"I64","shape":[2],"data_offsets":[0,8]}}', None),
        (b'{"a":\xff}', None),
        (b"{" + b",".join(b'"%d":0' % number for number in range(100_001)) + b"}", None),
    ],
    ids=["2**63", "2**40", "too large", "longer than the file", "no header", "list", "nested", "name twice", "key twice", "bytes", "many"],
)
def test_safetensors_headers_that_lie_are_refused(header: bytes, size_bytes: int | None, tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError):
        check_safetensors(tensors(tmp_path / "x.safetensors", header, b"\0" * 8 if size_bytes is None else b"", size_bytes))


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def gguf(keys: list[bytes], infos: list[bytes], counts: tuple[int, int] | None = None, version: int = 3) -> bytes:
    tensor_count, key_count = counts or (len(infos), len(keys))
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count) + b"".join(keys) + b"".join(infos)


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: list[int], offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)


GOOD = gguf([key(b"a", 4, b"\0" * 4), key(b"b", 9, struct.pack("<IQ", 8, 2) + text(b"x") + text(b"yz"))], [tensor(b"w", [4])]) + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGUX" + GOOD[4:],
        gguf([], [], version=99) + bytes(64),
        gguf([], [], (1 << 60, 0)) + bytes(64),
        gguf([], [], (0, 1 << 60)) + bytes(64),
        gguf([], [], (0, 5000)) + bytes(64),
        gguf([text(b"x" * 5000) + bytes(8)], []) + bytes(64),
        gguf([key(b"a", 8, struct.pack("<Q", 1 << 62))], []) + bytes(64),
        gguf([key(b"a", 9, struct.pack("<IQ", 4, 1 << 61))], []) + bytes(64),
        gguf([key(b"a", 9, struct.pack("<IQ", 8, 1 << 61))], []) + bytes(64),
        gguf([key(b"a", 9, struct.pack("<IQ", 9, 1 << 61) * 1000)], []) + bytes(64),
        gguf([key(b"a", 77, b"")], []) + bytes(64),
        gguf([key(b"a", 4, bytes(4))] * 2, []) + bytes(64),
        gguf([], [tensor(b"w", [4])] * 2) + bytes(64),
        gguf([], [tensor(b"w", [1 << 62, 4])]) + bytes(64),
        gguf([], [tensor(b"w", [1 << 40])]) + bytes(64),
        gguf([], [tensor(b"w", [1] * 9)]) + bytes(64),
        gguf([], [tensor(b"w", [4], offset=1 << 50)]) + bytes(64),
    ],
    ids=lambda content: f"{len(content)}-{zlib.crc32(content):08x}",
)
def test_gguf_files_that_lie_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(CorruptDataError):
        check_gguf(tmp_path / "x.gguf")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_gguf_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(GOOD)
    check_gguf(path)
    content = bytearray(GOOD)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        check_gguf(path)
    except CorruptDataError:
        return


# ---- bounds --------------------------------------------------------------------------------------------------------------


def test_memory_beyond_the_share_is_refused_and_the_process_lives() -> None:
    code = """
from gswarm.training.bounds import limit_memory, machine_memory_bytes
limit = limit_memory(0.05)
assert limit == int(machine_memory_bytes() * 0.05)
try:
    bytearray(2 * limit)
except MemoryError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "refused\n"


def forever() -> None:
    while True:
        pass


def power() -> None:
    """One operation of a few opcodes."""
    9**9**9


@pytest.mark.parametrize("compute", [forever, power], ids=lambda compute: compute.__name__)
def test_what_computes_for_too_long_is_ended(compute: Callable[[], None]) -> None:
    with pytest.raises(InvalidInputError, match="something computes for more than"), processor_time(0.05, "something"):
        compute()
    with processor_time(0.05, "something else"):
        pass
