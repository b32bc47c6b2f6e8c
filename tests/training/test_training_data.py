"""What is learned of a row, and that prepared data is the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from gswarm.training.formats import Chat, Text

pytestmark = pytest.mark.train

CHAT = Chat((("user", "what is 1 plus 2?"), ("assistant", "1 plus 2 is 3."), ("user", "thanks"), ("assistant", "welcome")))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer()


def learned(row: tuple[list[int], list[int]], tokenizer: Any) -> str:
    ids, labels = row
    assert len(ids) == len(labels)
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
    return str(tokenizer.decode([label for label in labels if label != -100]))


def test_every_assistant_turn_is_learned_with_its_end(tokenizer: Any) -> None:
    from gswarm.training.data import tokenize

    row = tokenize(CHAT, tokenizer, train_on_prompt=False)
    assert learned(row, tokenizer) == "1 plus 2 is 3.<|im_end|>\nwelcome<|im_end|>\n"
    assert tokenizer.decode(row[0]) == tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in CHAT.messages], tokenize=False
    )


def test_only_the_completion_of_a_conversation_is_learned(tokenizer: Any) -> None:
    from gswarm.training.data import tokenize

    assert learned(tokenize(Chat(CHAT.messages, learn_from=3), tokenizer, train_on_prompt=False), tokenizer) == "welcome<|im_end|>\n"


def test_a_text_ends_with_the_end_token_and_its_prompt_is_not_learned(tokenizer: Any) -> None:
    from gswarm.training.data import tokenize

    assert learned(tokenize(Text("1 plus 2 is", " 3"), tokenizer, train_on_prompt=False), tokenizer) == " 3<|im_end|>"
    # The space at the prompt's end is one token with the 3: it belongs to the answer, as in TRL.
    assert learned(tokenize(Text("1 plus 2 is ", "3"), tokenizer, train_on_prompt=False), tokenizer) == " 3<|im_end|>"
    assert learned(tokenize(Text("1 plus 2 is ", "3"), tokenizer, train_on_prompt=True), tokenizer) == "1 plus 2 is 3<|im_end|>"


def test_a_template_that_rewrites_the_past_has_its_last_turn_learned(tokenizer: Any) -> None:
    """As reasoning models' templates do, which drop the thoughts of turns before the last."""
    from gswarm.training.data import tokenize

    forgetful = tiny.make_tokenizer()
    forgetful.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}..."
        "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert learned(tokenize(CHAT, forgetful, train_on_prompt=False), forgetful) == "welcome<|im_end|>\n"


def test_masks_agree_with_trl(tokenizer: Any, tmp_path: Path) -> None:
    """One exchange as prompt-completion: TRL's own preparation labels the same tokens."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    from gswarm.training.data import tokenize

    tiny.write_model(tmp_path / "model")
    messages = [{"role": role, "content": content} for role, content in CHAT.messages[:2]]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tmp_path / "model"),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": messages[:1], "completion": messages[1:]}]),
        args=SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none"),
    )
    ids, labels = tokenize(Chat(CHAT.messages[:2]), tokenizer, train_on_prompt=False)
    assert (trainer.train_dataset[0]["input_ids"], trainer.train_dataset[0]["labels"]) == (ids, labels)
