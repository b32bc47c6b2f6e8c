"""The leaderboard, and what to do with the best run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gswarm.cli.output import Column, Format, Json, column, number, print_json, put, show_rows, text

if TYPE_CHECKING:
    from gswarm.sdk import Host

EVAL_COLUMNS_MAX = 4


def show_results(host: Host, experiment: Json, metric: str | None, output: Format) -> None:
    """Prints the leaderboard; people also read where the best adapter is and how to use it."""
    board = host.leaderboard(experiment["id"], metric)
    rows = board["rows"]
    if output is Format.JSON:
        print_json(board)
        return
    show_rows(output, rows, _columns(board), empty="no runs")
    if output is Format.TABLE and rows and rows[0]["value"] is not None:
        for line in next_steps(rows[0], experiment):
            put(line)


def _columns(board: Json) -> list[Column]:
    name = board["metric"]["name"]
    others = sorted({key for row in board["rows"] for key in row["metrics"] if key.startswith("eval_") and key != name})
    extra = [key for key in others if not key.endswith(("_runtime", "_per_second"))][:EVAL_COLUMNS_MAX]
    return [
        number("#", "rank"),
        column("run", "id"),
        Column(name, lambda row: text(row["value"]), right=True),
        number("at step", "step"),
        *(_metric_column(key) for key in extra),
        Column("steps", lambda row: f"{row['position']}/{row['total_steps']}", right=True),
        column("state", "state"),
        column("changes", "changes"),
    ]


def _metric_column(key: str) -> Column:
    return Column(key, lambda row: text(row["metrics"].get(key)), right=True)


def next_steps(best: Json, experiment: Json) -> list[str]:
    """Where the best adapter is and how to use it."""
    run, base = best["id"], experiment["spec"]["base"]
    model = base["model_name_or_path"]
    lines = ["", f"best run      {run}: {text(best['changes'])}"]
    if best["checkpoint"] is not None:
        holders = ", ".join(best["holders"]) or "its client"
        lines.append(f"its weights   checkpoint {best['checkpoint'][:16]} of step {best['step']}, held by {holders}")
    lines.append(f"export it     gswarm run export {run} --to best-adapter")
    if base.get("finetuning_type") == "lora":
        lines.append(f"with peft     PeftModel.from_pretrained(base, 'best-adapter'), where base is {model}")
    lines.append(f"to chat       gswarm run export {run} --format merged --to best-model")
    lines.append("              then transformers' pipeline('text-generation', 'best-model')")
    lines.append(f"prove it      gswarm run verify {run}")
    return lines
