"""Small state files that were damaged or made by somebody else: a typed error, or as if there were none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gswarm.cli.reach import Contexts, read_contexts
from gswarm.client import enroll
from gswarm.client.daemon import _local_pool_port
from gswarm.domain.config import HostConfig
from gswarm.domain.errors import CorruptDataError, GswarmError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import LogLine
from gswarm.host.last_words import read_last_words
from gswarm.profiler.run_logs import RunLogStore
from gswarm.sdk import read_endpoint

WRONG = [
    b"",
    b"\xff\xfe",
    b"null",
    b"5",
    b"[]",
    b'"text"',
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1e999",
    *(json.dumps(dict.fromkeys(("current", "known", "pool_port", "pid", "http_url", "at_s", "error", "ca_path"), value)).encode()
      for value in (None, [], {}, "x", float("inf"), {"a": 1})),
]  # fmt: skip


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:20]))
def test_state_of_wrong_types_never_does_worse_than_a_typed_error(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(enroll.ClientTls, "load", lambda _directory: None)
    (tmp_path / "host").mkdir()
    readers: dict[str, Callable[[], Any]] = {
        "contexts.json": read_contexts,
        "host/endpoint.json": lambda: read_endpoint(tmp_path),
        "cluster.json": lambda: enroll._load(tmp_path),
        "host/last_words.json": lambda: read_last_words(tmp_path),
    }
    for name, read in readers.items():
        (tmp_path / name).write_bytes(content)
        try:
            answer = read()
        except GswarmError:
            continue
        assert name != "host/endpoint.json" or answer.pid
    (tmp_path / "host" / "endpoint.json").write_bytes(content)
    assert _local_pool_port(str(tmp_path)) == HostConfig().pool_port


def test_contexts_hold_texts_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSWARM_DATA_DIR", str(tmp_path))
    for current, entry in (
        (5, {}),
        ("a", {"a": {"url": 5, "token": "t"}}),
        ("a", {"a": {"url": "u", "token": []}}),
        ("a", {"a": {"x": 1}}),
    ):
        (tmp_path / "contexts.json").write_text(json.dumps({"current": current, "known": entry}))
        with pytest.raises(GswarmError):
            read_contexts()
    (tmp_path / "contexts.json").write_text(json.dumps({"current": "local", "known": {}}))
    assert read_contexts() == Contexts("local", {})


def test_lines_of_a_log_that_are_none_are_passed_over(tmp_path: Path) -> None:
    logs = RunLogStore(tmp_path)
    run = RunId("r1")
    logs.append([LogLine(run, 1.0, "info", "first")])
    with (tmp_path / "r1.log").open("a") as file:
        file.write('5\nnull\n"abcd"\n[1,2,3,4]\n{"a":1,"b":2,"c":3,"d":4}\n[[[[\n' + "[" * 5000 + '\n["x",1.0,"info","text"]\n')
        file.write('[9,"x","info","text"]\n[9,1.0,"info",7]\n[10,2.0,"info","last"]\n')
    assert [line.text for _, line in logs.read(run)] == ["first", "last"]


def test_a_host_without_an_address_is_no_host(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "endpoint.json").write_text(json.dumps({"pid": 1}))
    with pytest.raises(CorruptDataError):
        read_endpoint(tmp_path)
