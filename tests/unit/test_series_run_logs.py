"""Run logs: every line found by its number, in bounded files, clean of what could harm a terminal."""

from __future__ import annotations

import builtins
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gswarm.domain.errors import InvalidInputError, StorageError
from gswarm.domain.ids import RunId
from gswarm.domain.messages import LogLine
from gswarm.profiler.run_logs import LINES_MAX, TEXT_CHARS_MAX, RunLogStore

R1 = RunId("r1")


def line(text: str, run: RunId = R1) -> LogLine:
    return LogLine(run, 1.5, "INFO", text)


def texts(found: list[tuple[int, LogLine]]) -> list[str]:
    return [log.text for _, log in found]


@pytest.fixture
def logs(tmp_path: Path) -> RunLogStore:
    return RunLogStore(tmp_path / "logs")


def test_append_read_and_tail(logs: RunLogStore, tmp_path: Path) -> None:
    logs.append([line("a"), line("b"), line("other", RunId("r2"))])
    logs.append([line("c")])
    assert logs.read(R1) == [(1, line("a")), (2, line("b")), (3, line("c"))]
    assert logs.read(R1, after_line=1, limit=1) == [(2, line("b"))]
    assert logs.read(R1, after_line=3) == logs.read(R1, after_line=99) == logs.read(RunId("r9")) == []
    assert logs.read(R1, limit=0) == logs.tail(R1, 0) == logs.tail(R1, -1) == logs.tail(RunId("r9"), 5) == []
    assert logs.tail(R1, 2) == [(2, line("b")), (3, line("c"))]
    assert logs.tail(R1, 99) == logs.read(R1)
    assert RunLogStore(tmp_path / "logs").read(R1, 2) == [(3, line("c"))]
    logs.delete_run(R1)
    assert logs.read(R1) == []
    assert texts(logs.read(RunId("r2"))) == ["other"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.integers(0, TEXT_CHARS_MAX), min_size=1, max_size=120), st.integers(0, 130), st.integers(1, 60), st.integers(1, 40))
def test_against_a_plain_list(logs: RunLogStore, lengths: list[int], after: int, limit: int, batch: int) -> None:
    logs.delete_run(R1)
    model = [(number, line(f"{number} " + "é" * (length // 2))) for number, length in enumerate(lengths, 1)]
    for start in range(0, len(model), batch):
        logs.append([one for _, one in model[start : start + batch]])
    assert logs.read(R1, after, limit) == [one for one in model if one[0] > after][:limit]
    assert logs.tail(R1, limit) == model[-limit:]


def test_files_are_bounded_and_numbers_go_on(tmp_path: Path) -> None:
    logs = RunLogStore(tmp_path, file_bytes_max=2000)
    for number in range(1, 501):
        logs.append([line(f"line {number}")])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 2100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r1.log", "r1.log.1"]
    assert logs.tail(R1, 3) == [(n, line(f"line {n}")) for n in (498, 499, 500)]
    kept = logs.read(R1)
    assert [number for number, _ in kept] == list(range(kept[0][0], 501)), "the gap is at the beginning only"
    assert logs.read(R1, 490)[0][0] == 491
    (tmp_path / "r1.log").unlink()
    logs.append([line("after a crash between rename and write")])
    numbers = [number for number, _ in logs.read(R1)]
    assert numbers == sorted(set(numbers))


def test_a_torn_line_is_cut_off(logs: RunLogStore, tmp_path: Path) -> None:
    logs.append([line("whole")])
    with (tmp_path / "logs" / "r1.log").open("ab") as file:
        file.write(b'[2,1.5,"INFO","to')
    assert texts(logs.read(R1)) == ["whole"]
    assert texts(logs.tail(R1, 1)) == ["whole"]
    logs.append([line("next")])
    assert logs.read(R1) == [(1, line("whole")), (2, line("next"))]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\x1b[31mred\x1b[0m", ["red"]),
        ("\x1b]0;title\x07text", ["text"]),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", ["link"]),
        ("\x1b[2J\x1b[H\x1bcgone", ["gone"]),
        ("\x1b]unterminated", [""]),
        ("bell\x07 nul\0 tab\t c1\x9b31m", ["bell nul tab\t c131m"]),
        ("one\ntwo\r\nthree", ["one", "two", "three"]),
        ("10%\r50%\r100%\r", ["100%"]),
        ("user \u202eevil\u2066 \u2028line", ["user evil line"]),
        ("lone \ud800 surrogate", ["lone  surrogate"]),
        ("日本語 👩\u200d🔬", ["日本語 👩\u200d🔬"]),
        ("x" * (TEXT_CHARS_MAX + 5), ["x" * TEXT_CHARS_MAX]),
    ],
)
def test_what_could_harm_a_terminal_is_removed(logs: RunLogStore, raw: str, clean: list[str]) -> None:
    logs.append([line(raw)])
    assert texts(logs.read(R1)) == clean


@pytest.mark.parametrize("run", ["", "..", "../x", "a/b", "a\0", "x" * 65, "-x", ".hidden", "r1\n"])
def test_only_ids_become_file_names(logs: RunLogStore, tmp_path: Path, run: str) -> None:
    with pytest.raises(InvalidInputError):
        logs.append([line("fine"), line("bad", RunId(run))])
    for use in (logs.read, logs.delete_run, lambda run: logs.tail(run, 1)):
        with pytest.raises(InvalidInputError):
            use(RunId(run))
    assert list((tmp_path / "logs").iterdir()) == []


def test_tails_and_increments_of_a_large_log_read_little(logs: RunLogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(0, 40_000, 5_000):
        logs.append([line(f"line {number} " + "x" * 100) for number in range(start + 1, start + 5_001)])
    read_bytes = 0
    plain_open = io.open

    class Counting(io.BufferedReader):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal read_bytes
            data = super().read(size)
            read_bytes += len(data)
            return data

    def counting_open(file: str, mode: str = "r", *args: object, **kwargs: object) -> object:
        return Counting(io.FileIO(file)) if mode == "rb" else plain_open(file, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", counting_open)
    monkeypatch.setattr(builtins, "open", counting_open)
    assert [number for number, _ in logs.tail(R1, 3)] == [39_998, 39_999, 40_000]
    assert [number for number, _ in logs.read(R1, 20_000, 2)] == [20_001, 20_002]
    assert 0 < read_bytes < 2_500_000, "not the whole 5 MB, twice"
    monkeypatch.undo()
    assert len(logs.read(R1, 0, 1_000_000)) == LINES_MAX


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        RunLogStore(tmp_path / "file" / "logs")


def test_a_log_that_cannot_be_written(logs: RunLogStore, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "logs" / "r1.log")
    with pytest.raises(StorageError):
        logs.append([line("x")])


def test_texts_of_nothing_but_line_ends_fill_no_disk(logs: RunLogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gswarm.profiler.run_logs.LINES_PER_APPEND_MAX", 10)
    logs.append([line("first"), line("\n" * 10_000), line("last")])
    found = logs.read(R1)
    assert len(found) == 11
    assert (found[0][1].text, found[-1][1].level, found[-1][1].text) == ("first", "warning", "lines behind these 10 are left out")
    logs.append([line(str(number)) for number in range(10)])
    assert texts(logs.read(R1, 11)) == [str(number) for number in range(10)]
