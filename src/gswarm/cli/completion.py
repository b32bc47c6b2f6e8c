"""``gswarm completion``: the shell's help with typing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="For which shell.")] = Shell.BASH) -> None:
    """Print a completion script: eval "$(gswarm completion bash)"."""
    from typer.completion import get_completion_script

    print(get_completion_script(prog_name="gswarm", complete_var="_GSWARM_COMPLETE", shell=shell.value))
