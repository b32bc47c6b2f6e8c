"""``gswarm completion``: the shell's help with typing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_GSWARM_COMPLETE"
"""Set by the script when the shell asks for completions."""


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def answer_shell() -> None:
    """Lets typer answer the shells that it knows. Only needed when a shell asks."""
    from typer._completion_classes import completion_init

    completion_init()


def completion(shell: Annotated[Shell, typer.Argument(help="For which shell.")] = Shell.BASH) -> None:
    """Print a completion script: eval "$(gswarm completion bash)"."""
    from typer._completion_shared import get_completion_script

    print(get_completion_script(prog_name="gswarm", complete_var=VARIABLE, shell=shell.value))
