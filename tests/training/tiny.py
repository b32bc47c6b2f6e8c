"""Tiny models and data for tests, made on the spot: a random model of a real architecture, a tokenizer trained here, a chat template.

As a command: ``python tests/training/tiny.py OUT [--family llama|qwen2|gpt2] [--rows N] [--hidden N] [--layers N]`` writes
``OUT/model`` and ``OUT/chat.jsonl``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FAMILIES = ("llama", "qwen2", "gpt2")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<unk>", "<|im_start|>", "<|im_end|>", "<pad>"]


def rows(count: int) -> list[dict[str, Any]]:
    """Sums as chats, every third with a second exchange, so that lengths differ."""
    made = []
    for number in range(count):
        a, b = number % 13, number // 13 % 17
        turns = [("user", f"what is {a} plus {b}?"), ("assistant", f"{a} plus {b} is {a + b}.")]
        if number % 3 == 0:
            turns += [("user", "thanks, and twice that?"), ("assistant", f"twice that is {2 * (a + b)}, of course.")]
        made.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return made


def write_dataset(path: Path, count: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    return path


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator([json.dumps(row) for row in rows(60)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write_model(folder: Path, family: str = "llama", hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Writes a randomly initialised model with its tokenizer, as ``save_pretrained`` does."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

    tokenizer = make_tokenizer()
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        **special,
    }
    configs = {
        "llama": lambda: LlamaConfig(**small),
        "qwen2": lambda: Qwen2Config(**small, tie_word_embeddings=True),
        "gpt2": lambda: GPT2Config(vocab_size=len(tokenizer), n_embd=hidden, n_layer=layers, n_head=4, n_positions=256, **special),
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(configs[family]())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args()
    write_model(options.out / "model", options.family, options.hidden, options.layers)
    write_dataset(options.out / "chat.jsonl", options.rows)


if __name__ == "__main__":
    main()
