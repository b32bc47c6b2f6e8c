"""What tests about files from outside share: a pickle that shows when it runs, and models to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gswarm.domain.spec import RunSpec

GGUF_NAMES = {
    "model.layers.": "blk.",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Parts of a tensor's name: what transformers says for a Llama, and what GGUF says."""


class Canary:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def change(path: Path, **values: object) -> None:
    """Sets keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spec_of(folder: Path, root: Path, **keys: Any) -> RunSpec:
    return RunSpec(model_name_or_path=str(folder), dataset=str(root / "chat.jsonl"), per_device_train_batch_size=2, **keys)


def write_gguf(path: Path, folder: Path, template: str) -> Path:
    """The tiny Llama of a folder as a GGUF file, with another chat template."""
    from gguf import GGUFWriter
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(model["vocab"], key=model["vocab"].__getitem__))
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_chat_template(template)
    for name, tensor in load_file(folder / "model.safetensors").items():
        renamed = name
        for theirs, ours in GGUF_NAMES.items():
            renamed = renamed.replace(theirs, ours)
        writer.add_tensor(renamed, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
