"""``docs/experiment-file.md``, made from the tables that validation uses: ``python -m gswarm.domain.reference``."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from gswarm.domain import keys as table
from gswarm.domain.aliases import ALIASES, IGNORED
from gswarm.domain.spec import CheckpointPolicy, Chunks, EarlyStop, Export, Metric, Resources, RunSpec, Search
from gswarm.domain.values import Key, value_text

_INTRODUCTION = """\
# The experiment file

An experiment is one YAML file: a base configuration, a search over some of its keys, and how the runs are trained.
Keys are [LLaMA-Factory's](https://github.com/hiyouga/LLaMA-Factory) where it has one.

```yaml
experiment: support-sft
base:
  model_name_or_path: Qwen/Qwen3-0.6B
  dataset: my_chat.jsonl
  lora_rank: 8
  val_size: 0.1
  learning_rate: 1.0e-4
search:
  method: grid
  metric: {name: eval_loss, goal: minimize}
  parameters:
    learning_rate: {values: [1.0e-5, 1.0e-4]}
    _: [{lora_rank: 8, lora_alpha: 16}, {lora_rank: 32, lora_alpha: 64}]
chunks: {num_chunks: 8}
```

`gswarm experiment validate FILE` prints the canonical form and every run; nothing is submitted.

A file with neither `experiment` nor `base` is a plain LLaMA-Factory file: one run, named after the file.

## How values are read

- Unknown keys are refused, with the nearest known one. All problems of a file are listed together.
- `1e-5` is a number and `"8"` is an integer; `true` is neither. NaN and infinity are refused.
- A key that is null counts as not given.
- A model or data set that exists relative to the file becomes an absolute path; `path:` in front says that it is one.
- YAML tags, keys that are given twice, several documents and files that multiply themselves through aliases are refused.
- What this version does not carry out is refused when the file is validated, not when it trains.
"""

_SEARCH = """\
`search.parameters` maps keys of the run to what is tried:

- `{values: [1.0e-5, 1.0e-4]}`: each of these;
- `{distribution: D, min: A, max: B}`: drawn from the range, with `method: random` only. D is `uniform`, `log_uniform_values` (uniform
  in the logarithm) or `int_uniform` (both ends included);
- the key `_` lists mappings of values that go together; each entry counts as one value.

A grid is the product of all values in the order of the file, the last one varying fastest; `run_cap` keeps the first so many.
`random` draws `run_cap` configurations without repeating one. The same file always expands to the same runs, and an experiment
has at most 10,000 of them.
"""

_TOP = """\
| key | what |
|---|---|
| `experiment` | Name: 1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or a digit. |
| `base` | The configuration that every run starts from. |
| `search` | What is tried; without it there is one run. |
| `chunks` | The quantum that is scheduled, or `auto`. |
| `resources` | Whose turn it is. |
| `checkpoint` | What is kept. |
| `report_to` | Experiment trackers; only `none` in this version. |
| `export` | What is written when runs are done; only `when: never` in this version. |
| `labels` | Words of your own, kept with the experiment. |
"""


def render() -> str:
    """The whole page as Markdown."""
    aliases: dict[str, list[str]] = {}
    for alias in ALIASES.values():
        aliases.setdefault(alias.key, []).append(alias.name)
    parts = [
        _INTRODUCTION,
        "## Top level\n\n" + _TOP,
        "## `base`\n\n`model_name_or_path` and `dataset` are required.\n\n" + _table(table.RUN_KEYS, RunSpec, aliases),
        "## `search`\n\n" + _table(table.SEARCH_KEYS, Search) + "\n" + _SEARCH,
    ]
    sections: tuple[tuple[str, dict[str, Key], Any], ...] = (
        ("search.metric", table.METRIC_KEYS, Metric),
        ("search.early_stop", table.EARLY_STOP_KEYS, EarlyStop),
        ("chunks", table.CHUNK_KEYS, Chunks),
        ("resources", table.RESOURCE_KEYS, Resources),
        ("checkpoint", table.CHECKPOINT_KEYS, CheckpointPolicy),
        ("export", table.EXPORT_KEYS, Export),
    )
    parts += [f"## `{path}`\n\n{_table(keys, owner)}" for path, keys, owner in sections]
    return "\n".join([*parts, _alias_part(), _ignored_part()])


def _table(keys: dict[str, Key], owner: Any, aliases: dict[str, list[str]] | None = None) -> str:
    defaults = {item.name: item.default for item in dataclasses.fields(owner)}
    lines = ["| key | type | default | also | what |", "|---|---|---|---|---|"]
    for key in keys.values():
        also = ", ".join(f"`{name}`" for name in (aliases or {}).get(key.name, []))
        lines.append(f"| `{key.name}` | {_type(key)} | {_default(defaults[key.name])} | {also} | {_about(key)} |")
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return "required" if value is dataclasses.MISSING else f"`{value_text(value)}`"


def _type(key: Key) -> str:
    parts = [key.kind.value]
    if key.low is not None:
        parts.append(f">= {key.low:g}")
    if key.above is not None:
        parts.append(f"> {key.above:g}")
    if key.high is not None:
        parts.append(f"<= {key.high:,.15g}")
    if key.below is not None:
        parts.append(f"< {key.below:g}")
    text = " ".join(parts[:1]) + (" " + ", ".join(parts[1:]) if len(parts) > 1 else "")
    return f"{text} ({key.unit})" if key.unit else text


def _about(key: Key) -> str:
    text = key.about
    if key.allowed:
        text += f" One of {', '.join(f'`{name}`' for name in key.allowed)}."
    if key.available:
        text += f" In this version only {', '.join(f'`{value_text(value)}`' for value in key.available)}."
    return text


def _alias_part() -> str:
    lines = [
        "## Names of other trainers",
        "",
        "A key under another name becomes the canonical one; both with different values are refused.",
        "",
    ]
    lines += ["| name | key | from |", "|---|---|---|"]
    for alias in ALIASES.values():
        values = ", ".join(f"`{value_text(old)}` is `{value_text(new)}`" for old, new in alias.values)
        lines.append(f"| `{alias.name}` | `{alias.key}`{': ' + values if values else ''} | {alias.source} |")
    return "\n".join(lines) + "\n"


def _ignored_part() -> str:
    always = ", ".join(f"`{name}`" for name, harmless in IGNORED.items() if harmless is None)
    off = ", ".join(f"`{name}`" for name, harmless in IGNORED.items() if harmless is not None)
    return (
        f"## Keys that mean nothing here\n\nThese are accepted and listed as ignored:\n{always}.\n\n"
        "These are passed over as long as they ask for nothing (null, `false`, or LLaMA-Factory's default) and refused otherwise:\n"
        f"{off}.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(render())
