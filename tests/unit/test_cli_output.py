"""How the command line prints, selects and watches, without a host."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from gswarm.cli.host import load_config
from gswarm.cli.output import Column, Format, column, duration, number, one_line, show_item, show_rows, size, text
from gswarm.cli.run import parse_changes
from gswarm.cli.run_data import sparkline, summary
from gswarm.cli.select import matching, parse_where, require_choice
from gswarm.cli.token import parse_duration, token_state
from gswarm.cli.watch import Look, changes
from gswarm.cli.watch_view import bar, draw, grid
from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError

ROWS: list[dict[str, Any]] = [{"id": "r1", "loss": 1.23456}, {"id": "r10", "loss": None}]
COLUMNS = (column("id", "id"), number("loss", "loss"))


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(Format.TABLE, ROWS, COLUMNS)
    assert capsys.readouterr().out == "ID    LOSS\nr1   1.235\nr10      -\n"


def test_json_is_one_document_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(Format.JSON, ROWS, COLUMNS)
    assert json.loads(capsys.readouterr().out) == ROWS
    show_item(Format.JSON, ROWS[0], [])
    assert json.loads(capsys.readouterr().out) == ROWS[0]


def test_quiet_is_ids(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(Format.QUIET, ROWS, COLUMNS)
    show_item(Format.QUIET, ROWS[0], [])
    assert capsys.readouterr().out == "r1\nr10\nr1\n"


def test_an_empty_table_says_so_and_empty_json_is_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(Format.TABLE, [], COLUMNS, empty="nothing yet")
    show_rows(Format.JSON, [], COLUMNS)
    assert capsys.readouterr().out == "nothing yet\n[]\n"


def test_items_keep_their_lines_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_item(Format.TABLE, {"id": "x"}, [("id", "x"), ("spec", "a: 1\nb: 2"), ("empty", "")])
    assert capsys.readouterr().out == "id     x\nspec   a: 1\n       b: 2\nempty  -\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ({}, "-"),
        ([], "-"),
        (0, "0"),
        (0.0, "0"),
        (False, "no"),
        (1.23456e-7, "1.235e-07"),
        ({"a": 1, "b": 0.5}, "a=1 b=0.5"),
        (["x", 2], "x, 2"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert text(value) == shown


def test_durations_and_sizes() -> None:
    assert [duration(value) for value in (None, 0.04, 9.99, 59.6, 61, 3599.7, 7325)] == [
        "-",
        "0.0s",
        "10s",
        "1m 00s",
        "1m 01s",
        "1h 00m",
        "2h 02m",
    ]
    assert [size(value) for value in (0, 1023, 1024, 5 * 1024**3)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert [parse_duration(value) for value in ("90", "90s", "1.5m", "1h", "7d")] == [90.0, 90.0, 90.0, 3600.0, 604800.0]
    for bad in ("", "h", "-1h", "1w", "1h30m", "0s", "0.0h"):
        with pytest.raises(InvalidInputError):
            parse_duration(bad)


def test_an_ended_token_is_not_called_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 100.0)
    row: dict[str, Any] = {"revoked_at": None, "uses_left": None, "expires_at": None}
    assert token_state(row) == "valid"
    assert token_state({**row, "expires_at": 100.5, "uses_left": 1}) == "valid"
    assert token_state({**row, "expires_at": 100.0}) == "expired"
    assert token_state({**row, "expires_at": 100.0, "uses_left": 0}) == "used"
    assert token_state({**row, "expires_at": 100.0, "revoked_at": 1.0}) == "revoked"


def test_an_error_is_one_line_with_what_to_do() -> None:
    assert one_line(GswarmError("it\nbroke", "mend it")) == "it broke; mend it"
    assert one_line(GswarmError("2 problems:\n  a: is bad\n  b: is worse")) == "2 problems: a: is bad; b: is worse"
    assert one_line(ConflictError("no", "", ("stop", "clone"))) == "no; possible now: stop, clone"
    assert one_line(ConflictError("no", "possible now: stop", ("stop",))) == "no; possible now: stop"


# ---- choosing runs -----------------------------------------------------------------------------------------------------------


def run(**values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": "r1", "name": "tiny-1", "metrics": {}, "spec": {}, "position": 0, "state": "running"}
    return {**base, **values}


def test_conditions_look_at_metrics_then_fields_then_the_spec() -> None:
    runs = [
        run(id="a", metrics={"eval_loss": 2.5, "eval/acc.top-1": 0.9}, position=40, spec={"lora_rank": 8}),
        run(id="b", metrics={"eval_loss": 1.5}, position=80, spec={"lora_rank": 32}),
        run(id="c", position=10, spec={"lora_rank": 32, "bf16": True}),
    ]
    found = {
        "eval_loss > 2": ["a"],
        "eval_loss>=1.5 and position<80": ["a"],
        "lora_rank == 32": ["b", "c"],
        "lora_rank = 32 and eval_loss < 2e0": ["b"],
        "position != 40": ["b", "c"],
        "eval/acc.top-1 > 0.5": ["a"],
    }
    for expression, ids in found.items():
        assert [one["id"] for one in matching(runs, expression)] == ids, expression
    assert matching(runs, None) == runs
    for unknown in ("nothing > 1", "state > 1", "bf16 > 0"):
        with pytest.raises(InvalidInputError, match="no run has a number"):
            matching(runs, unknown)


@pytest.mark.parametrize(
    "bad", ["", "eval_loss", "eval_loss >", "> 2", "a > b", "a > 1 or b > 2", "__import__('os') > 1", "a > 1 and", "a >> 1"]
)
def test_other_expressions_are_refused(bad: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_where(bad)


def test_runs_or_a_condition_must_be_given() -> None:
    require_choice(["r1"], None)
    require_choice(None, "loss > 1")
    for refs, where in ((None, None), (["r1"], "loss > 1"), ([], None)):
        with pytest.raises(typer.BadParameter):
            require_choice(refs, where)


def test_changes_are_key_value_pairs() -> None:
    assert parse_changes(["learning_rate=1e-4", "lora_target=q_proj,v_proj", "template=a=b"]) == {
        "learning_rate": "1e-4",
        "lora_target": "q_proj,v_proj",
        "template": "a=b",
    }
    for bad in (["learning_rate"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InvalidInputError):
            parse_changes(bad)


def test_metrics_are_summed_up_over_finite_values() -> None:
    row = summary({"metric": "loss", "points": [[1, 4.0, 0.0], [2, None, 0.0], [5, 1.0, 0.0]]})
    assert (row["points"], row["step"], row["first"], row["last"], row["min"], row["max"]) == (3, 5, 4.0, 1.0, 1.0, 4.0)
    assert row["spark"] == "█▁"
    assert sparkline([]) == ""
    assert sparkline([1.0]) == sparkline([1.0, 1.0])[:1] == "▁"
    assert len(sparkline([float(value) for value in range(1000)])) == 24


def test_flags_go_before_the_file(tmp_path: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("host: {port: 1234, http_port: 4321}\n")
    loaded = load_config(file, {"host.port": 5678, "host.bind": None})
    assert (loaded.host.port, loaded.host.http_port, loaded.host.bind) == (5678, 4321, "127.0.0.1")
    file.write_text("host: {prot: 1}\n")
    with pytest.raises(InvalidInputError, match="prot"):
        load_config(file, {})


# ---- watching ----------------------------------------------------------------------------------------------------------------


def look(state: str = "active", **values: Any) -> Look:
    one = {
        "id": "r1",
        "state": "running",
        "position": 4,
        "current_step": 6,
        "total_steps": 16,
        "chunks_done": 1,
        "chunks_total": 4,
        "metrics": {"loss": 1.5, "eval_loss": 2.25},
        "slot": "left/0",
        "failure": None,
        "changes": {"learning_rate": "1e-05"},
        **values,
    }
    experiment = {
        "id": "e1",
        "name": "tiny",
        "state": state,
        "metric": {"name": "eval_loss"},
        "eta_s": 5.0,
        "best": {"value": 2.25},
        "best_run": "r1",
    }
    clients = [{"name": "left", "state": "ready", "slots": [{"runs": ["r1"]}, {"runs": []}]}]
    return Look(experiment, [one], clients, 61.0)


def test_a_watch_in_lines_prints_changes_only() -> None:
    seen: dict[str, tuple[str, ...]] = {}
    first = [line for _, line in changes(look(), seen)]
    assert first == [
        "[1m 01s] e1 tiny: active",
        "[1m 01s] r1 running on left/0, step 4/16, loss 1.5, eval_loss 2.25 (learning_rate=1e-05)",
    ]
    assert list(changes(look(), seen)) == []
    assert len(list(changes(look(position=8), seen))) == 1
    failed = [line for _, line in changes(look(state="idle", state_of="x", failure={"message": "the loss is NaN"}, slot=None), seen)]
    assert failed[0].endswith("tiny: idle")
    assert "the loss is NaN" in failed[1]


def render(found: Look, width: int = 140) -> str:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    Console(file=out, width=width, color_system=None).print(draw(found, 20, width))
    return out.getvalue()


def test_the_live_view_shows_bars_chunks_numbers_and_the_header() -> None:
    shown = render(look())
    assert "tiny (e1) active   1 client, 1 of 2 slots busy   elapsed 1m 01s   left 5.0s   best 2.25 (r1)" in shown
    assert "6/16" in shown
    assert "■▣□□" in shown
    assert "left/0" in shown
    assert "learning_rate=1e-05" in shown


def test_a_narrow_live_view_keeps_its_numbers_and_leaves_deleted_runs_out() -> None:
    for width in (80, 100, 120):
        shown = render(look(), width)
        assert all(word in shown for word in ("6/16", "running", "left/0", "eval_loss")), shown
        assert max(map(len, shown.splitlines())) <= width
    assert "learning_rate=1e-05" in render(look(), 100)
    deleted = look()
    deleted.runs[0]["state"] = "deleted"
    assert "6/16" not in render(deleted)


@pytest.mark.parametrize("strange", ["[/0]", "[bold]a", "a/[red]7"])
def test_names_from_elsewhere_are_no_markup(strange: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(id=strange, slot=strange, changes={"key": strange}, state=strange, metrics={strange: 0.5})
    found.experiment.update(name=strange, metric={"name": strange}, best_run=strange)
    assert render(found, width=200).count(strange) == 7
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_rows(Format.TABLE, [{"id": strange}], [column(strange, "id")])
    assert capsys.readouterr().out.count(strange) == 2


def test_names_from_elsewhere_do_not_command_the_terminal() -> None:
    found = look(slot="a/\x1b[2J")
    found.experiment.update(name="\x1b[2J", metric={"name": "\x1b[2J"})
    assert "\x1b" not in render(found)


def test_many_runs_are_cut_to_the_screen() -> None:
    many = look()
    runs = [{**many.runs[0], "id": f"r{index}"} for index in range(40)]
    shown = render(Look(many.experiment, runs, many.clients, 1.0))
    assert "and 27 more" in shown
    assert len(shown.splitlines()) <= 20


def test_bars_and_grids_are_bounded() -> None:
    assert bar(0, 0, False).plain == bar(16, 16, True).plain
    for done in range(0, 101, 10):
        cells = grid({"chunks_total": 100, "chunks_done": done, "slot": "left/0"}).plain
        assert len(cells) == 32
    assert grid({"chunks_total": 4, "chunks_done": 4, "slot": None}).plain == "■■■■"


def test_columns_can_compute() -> None:
    assert Column("x", lambda row: row["a"] + "!").cell({"a": "b"}) == "b!"
