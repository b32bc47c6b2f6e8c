"""Renders chat templates: the one place that does. A template is a program that came with a model.

transformers runs it in Jinja's immutable sandbox, which keeps it from files, processes and Python's own objects; what the sandbox does not
bound is bounded here: the template's length, its time and what it writes. Memory is bounded for the whole job process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gswarm.domain.errors import GswarmError, InvalidInputError
from gswarm.training.bounds import processor_time

TEMPLATE_CHARS_MAX = 512 * 1024
"""The longest of known models have about 30,000."""
RENDER_TIME_MAX_S = 5.0
"""Of one conversation, its compilation included; real ones take milliseconds."""
RENDERED_CHARS_MAX = 64 * 1024 * 1024


def render(tokenizer: Any, turns: Sequence[dict[str, str]], *, prompt: bool) -> str:
    """The conversation by the tokenizer's template.

    Args:
        turns: role and content of each; none are rendered as nothing.
        prompt: also what asks the assistant to speak.

    Raises:
        InvalidInputError: there is no template, it does what the sandbox forbids, it fails, or it needs too much time or room.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise InvalidInputError(
            "the model's tokenizer has no chat template", "use text or prompt-completion rows, or an instruction-tuned model"
        )
    if not turns:
        return ""
    texts = template.values() if isinstance(template, dict) else (template,)
    if not all(isinstance(text, str) and len(text) <= TEMPLATE_CHARS_MAX for text in texts):
        raise InvalidInputError(f"the chat template is no text of at most {TEMPLATE_CHARS_MAX} characters", "use another model")
    try:
        with processor_time(RENDER_TIME_MAX_S, "the chat template"):
            rendered = str(tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=prompt))
    except (GswarmError, MemoryError):
        raise
    except Exception as error:  # a template raises whatever Python can
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InvalidInputError(
            f"the chat template cannot be used: {reason}", "check the model's template and the roles in the data"
        ) from error
    if len(rendered) > RENDERED_CHARS_MAX:
        raise InvalidInputError(f"the chat template made {len(rendered)} characters of one row", f"the limit is {RENDERED_CHARS_MAX}")
    return rendered
